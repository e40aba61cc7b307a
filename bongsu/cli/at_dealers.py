"""What ``bongsu templates`` does: opens what it needs, asks the dealers, and turns what was found into rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bongsu.cli.output import in_seoul
from shared.catalog.repository import load_active_templates
from shared.catalog.template import Template
from shared.clock import clock_from
from shared.config import Config, Route, load_config
from shared.copies.draft import draft_of, words_of
from shared.copies.rules import Copy, Listed, dormant_soon
from shared.copies.store import load_copies
from shared.copies.sync import Synced, TemplateSync, template_apis
from shared.db.engine import engine_for
from shared.dealers.registry import build_dealers
from shared.dealers.templates import TemplateApi, TemplateCallFailed
from shared.errors import BongsuError


@dataclass(frozen=True, slots=True)
class Where:
    """At which dealers: of one profile, or of the only one; one of its dealers, or all that can be asked."""

    profile: str | None = None
    dealer: str | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything that a command needs."""

    config: Config
    apis: Mapping[str, TemplateApi]
    templates: Mapping[str, Template]
    sync: TemplateSync

    def template(self, code: str) -> Template:
        """Return a template by our code."""
        if code not in self.templates:
            raise BongsuError(f"no template {code!r} is active: `bongsu apply` loads them from files")
        if self.templates[code].kind == "brand":
            raise BongsuError(f"{code!r} is a brand message, which nobody inspects")
        return self.templates[code]

    def routes(self, where: Where) -> list[Route]:
        """Return the routes that ``where`` means and whose dealer can be asked."""
        names = sorted(self.config.profiles)
        if where.profile is None and len(names) > 1:
            raise BongsuError(f"say whose channel: --profile {'|'.join(names)}")
        profile = self.config.profiles.get(where.profile or names[0])
        if profile is None:
            raise BongsuError(f"no profile {where.profile!r} is configured; there are {', '.join(names)}")
        if where.dealer is not None and profile.route(where.dealer) is None:
            raise BongsuError(f"the profile has no route through {where.dealer!r}")
        routes = [route for route in profile.routes if where.dealer in {None, route.dealer}]
        found = [route for route in routes if route.dealer in self.apis]
        if not found:
            raise BongsuError(
                f"{', '.join(route.dealer for route in routes)}: templates are kept in the dealer's console, or trusted"
            )
        return found


@asynccontextmanager
async def _desk(database_url: str, config_path: Path, clock: str) -> AsyncIterator[Desk]:
    config = load_config(config_path)
    async with AsyncExitStack() as stack:
        engine = engine_for(database_url, pool_size=2)  # one holds the lock
        stack.push_async_callback(engine.dispose)
        dealers = build_dealers(config)
        for dealer in dealers.values():
            stack.push_async_callback(dealer.close)
        async with engine.connect() as connection:
            templates = {template.code: template for template in await load_active_templates(connection)}
        apis = template_apis(config, dealers)
        yield Desk(config, apis, templates, TemplateSync(engine, apis, config, clock_from(clock)))


# -- looking ---------------------------------------------------------------------------------------------------------


async def copies(database_url: str, clock: str, *, template: str | None, dealer: str | None) -> list[dict[str, Any]]:
    """Return where the copies stand, as they were found last."""
    engine = engine_for(database_url, pool_size=1)
    try:
        async with engine.connect() as connection:
            known = list((await load_copies(connection)).values())
    finally:
        await engine.dispose()
    fading = {copy.key for copy in dormant_soon(known, now=clock_from(clock).now())}
    return [
        _row(copy, soon=copy.key in fading)
        for copy in known
        if template in {None, copy.template} and dealer in {None, copy.key.dealer}
    ]


def _row(copy: Copy, *, soon: bool) -> dict[str, Any]:
    return {
        "template": copy.template,
        "dealer": copy.key.dealer,
        "sender_key": copy.key.sender_key,
        "code": copy.key.code,
        "status": copy.status.value,
        "comments": list(copy.comments),
        "changed_at": copy.changed_at and copy.changed_at.isoformat(),
        "checked_at": copy.checked_at.isoformat(),
        "last_sent_at": copy.last_sent_at and copy.last_sent_at.isoformat(),
        "dormant_at": copy.dormant_at and copy.dormant_at.isoformat(),
        "dormant_soon": soon,
    }


def copy_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``copies`` found as a table shows it."""
    dormant = f"dormant from {in_seoul(row['dormant_at'])}" if row["dormant_soon"] else ""
    said = row["comments"][-1] if row["comments"] else ""
    return {
        "template": row["template"],
        "dealer": row["dealer"],
        "code": row["code"] if row["code"] != row["template"] else "",
        "status": row["status"],
        "checked": in_seoul(row["checked_at"]),
        "last sent": in_seoul(row["last_sent_at"]) if row["last_sent_at"] else "",
        "": dormant or said,
    }


async def sync(database_url: str, config_path: Path, clock: str) -> dict[str, Any]:
    """Ask every dealer now; return what changed, and which lists could not be had."""
    async with _desk(database_url, config_path, clock) as desk:
        return _found(await desk.sync.now())


def _found(synced: Synced) -> dict[str, Any]:
    changes = [
        {
            "template": change.copy.template,
            "dealer": change.copy.key.dealer,
            "was": change.was and change.was.value,
            "status": change.copy.status.value,
            "comments": list(change.copy.comments),
        }
        for change in synced.changes
    ]
    failures = [{"dealer": dealer, "error": error} for (dealer, _), error in synced.failures.items()]
    return {"changes": changes, "failures": failures}


async def categories(database_url: str, config_path: Path, clock: str, dealer: str) -> list[dict[str, Any]]:
    """Return Kakao's categories, as ``dealer`` tells them."""
    async with _desk(database_url, config_path, clock) as desk:
        if dealer not in desk.apis:
            raise BongsuError(f"{dealer!r} cannot be asked; {', '.join(sorted(desk.apis)) or 'no dealer'} can")
        try:
            found = await desk.apis[dealer].categories()
        except TemplateCallFailed as failure:
            raise BongsuError(f"{dealer}: {failure}") from failure
    return [{"code": each.code, "group": each.group, "name": each.name} for each in found]


# -- doing -----------------------------------------------------------------------------------------------------------

Act = Callable[[TemplateApi, Route, str], Awaitable[str]]
"""what is done at one route, with the dealer's code; returns the code that the dealer has for it now"""


@dataclass(frozen=True, slots=True)
class Registration:
    """What a registration says besides the template itself; ``name`` is for people, and its code if empty."""

    name: str
    category: str
    secure: bool


async def register(
    database_url: str, config_path: Path, clock: str, code: str, where: Where, registration: Registration
) -> list[dict[str, Any]]:
    """Register a template, or its new wording after a rejection."""
    async with _desk(database_url, config_path, clock) as desk:
        template = desk.template(code)

        async def act(api: TemplateApi, route: Route, _: str) -> str:
            draft = draft_of(
                template,
                route.dealer,
                name=registration.name or template.code,
                category=registration.category,
                secure=registration.secure,
            )
            return await api.register(route.sender_key, draft)

        return await _everywhere(desk, template, desk.routes(where), act)


async def submit(
    database_url: str, config_path: Path, clock: str, code: str, where: Where, comment: str
) -> list[dict[str, Any]]:
    """Ask for inspection, or again after a rejection."""
    async with _desk(database_url, config_path, clock) as desk:
        template = desk.template(code)

        async def act(api: TemplateApi, route: Route, theirs: str) -> str:
            await api.submit(route.sender_key, theirs, comment or words_of(template))
            return theirs

        return await _everywhere(desk, template, desk.routes(where), act)


async def stop(database_url: str, config_path: Path, clock: str, code: str, where: Where) -> list[dict[str, Any]]:
    """Stop an approved template at one dealer."""
    async with _desk(database_url, config_path, clock) as desk:

        async def act(api: TemplateApi, route: Route, theirs: str) -> str:
            await api.stop(route.sender_key, theirs)
            return theirs

        return await _everywhere(desk, desk.template(code), _one(desk.routes(where)), act)


async def delete(database_url: str, config_path: Path, clock: str, code: str, where: Where) -> list[dict[str, Any]]:
    """Delete a template at one dealer."""
    async with _desk(database_url, config_path, clock) as desk:

        async def act(api: TemplateApi, route: Route, theirs: str) -> str:
            await api.delete(route.sender_key, theirs)
            return theirs

        return await _everywhere(desk, desk.template(code), _one(desk.routes(where)), act)


def _one(routes: list[Route]) -> list[Route]:
    if len(routes) > 1:
        raise BongsuError(f"say at which dealer: --dealer {'|'.join(route.dealer for route in routes)}")
    return routes


async def _everywhere(desk: Desk, template: Template, routes: list[Route], act: Act) -> list[dict[str, Any]]:
    """Do ``act`` at each route, and look what became of it; one that fails does not keep the others from it."""
    rows: list[dict[str, Any]] = []
    for route in routes:
        wanted = template.codes.get(route.dealer, template.code)
        row: dict[str, Any] = {"template": template.code, "dealer": route.dealer, "code": wanted, "status": None}
        try:
            row["code"] = await act(desk.apis[route.dealer], route, wanted)
            row["error"] = None
        except TemplateCallFailed as failure:
            row["error"] = str(failure) if str(failure) == failure.reason else f"{failure.reason}: {failure}"
        listed: Listed = (route.dealer, route.sender_key)
        found = await desk.sync.now(only=listed)
        if listed not in found.failures:
            row["status"] = await _status(desk, route, row["code"])
        rows.append(row)
    return rows


async def _status(desk: Desk, route: Route, code: str) -> str | None:
    async with desk.sync.engine.connect() as connection:
        known = await load_copies(connection)
    statuses = (
        copy.status.value
        for key, copy in known.items()
        if key.listed == (route.dealer, route.sender_key) and key.code == code
    )
    return next(statuses, None)
