"""What ``bongsu limits`` does: reads and changes what dealers allow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bongsu.cli.operating import database
from bongsu.cli.output import in_seoul
from shared.config import load_config
from shared.errors import BongsuError
from shared.sending.limit_standing import Standing, change_limits, standings


async def listed(database_url: str, config_path: Path) -> list[dict[str, Any]]:
    """Return how each limit stands."""
    config = load_config(config_path)
    async with database(database_url) as engine, engine.connect() as connection:
        found = await standings(connection, {name: each.limits for name, each in config.dealers.items()})
    return [_as_json(each) for each in found]


async def changed(
    database_url: str,
    config_path: Path,
    dealer: str,
    profile: str | None,
    changes: Mapping[str, int] | None,
    by: str,
) -> dict[str, int]:
    """Change limits, or take all changes back (None); return what was changed by hand then."""
    config = load_config(config_path)
    if dealer not in config.dealers:
        raise BongsuError(f"{dealer!r} is no dealer of {config_path}: {', '.join(config.dealers)}")
    if profile is not None and profile not in config.profiles:
        raise BongsuError(f"{profile!r} is no profile of {config_path}: {', '.join(config.profiles)}")
    limits = config.dealers[dealer].limits
    if profile is not None and not limits.is_per_profile:
        raise BongsuError(f"{dealer} does not limit each profile: {config_path} has no limits.per_profile")
    if changes is not None and not changes:
        raise BongsuError("name a limit, as --messages-per-second 50")
    async with database(database_url) as engine, engine.begin() as connection:
        return await change_limits(connection, dealer, profile, changes, by)


def row_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a limit as a table shows it."""
    by = f"{row['changed_by']}, {in_seoul(row['changed_at'])}" if row["changed_at"] else ""
    return {
        "dealer": row["dealer"] if row["profile"] is None else f"{row['dealer']}, profile {row['profile']}",
        "limit": "\n".join(
            f"{each['used']} of {each['limit']} {each['what']}{' (by hand)' if each['by_hand'] else ''}"
            for each in row["limits"]
        ),
        "warm-up": "" if row["warm_up_share"] is None else f"{row['warm_up_share']:.0%}",
        "paused until": in_seoul(row["paused_until"]) if row["paused_until"] else "",
        "changed by": by,
    }


def _as_json(standing: Standing) -> dict[str, Any]:
    return {
        "dealer": standing.dealer,
        "profile": standing.profile,
        "limits": [
            {"what": each.name, "limit": each.most, "used": each.used, "by_hand": each.by_hand}
            for each in standing.limits
        ],
        "warm_up_share": standing.share if standing.share < 1 else None,
        "paused_until": standing.paused_until and standing.paused_until.isoformat(),
        "changed_by": standing.changed_by,
        "changed_at": standing.changed_at and standing.changed_at.isoformat(),
    }
