"""Rules and templates in Postgres: revisions that never change, one of each name active; images by their SHA-256."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import structlog
from pydantic import ValidationError
from sqlalchemy import text

from shared.catalog.rule import Rule
from shared.catalog.template import Template

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Catalog:
    """What is active. ``revision`` changes whenever anything in it does."""

    revision: str
    rules: tuple[Rule, ...]
    """by name"""
    templates: dict[str, Template]


async def load_templates(
    connection: AsyncConnection, wanted: Collection[tuple[str, int]]
) -> dict[tuple[str, int], Template]:
    """Return the templates of these codes and revisions, active or not; what does not exist is left out.

    So is what this version cannot read: the messages of one template must not stop those of all others.

    A revision never changes, so a caller may keep it for good.
    """
    if not wanted:
        return {}
    rows = await connection.execute(
        text("""
            SELECT code, revision, body FROM templates
            JOIN unnest(CAST(:codes AS text[]), CAST(:revisions AS int[])) AS wanted (code, revision)
            USING (code, revision)
        """),
        {"codes": [code for code, _ in wanted], "revisions": [revision for _, revision in wanted]},
    )
    found: dict[tuple[str, int], Template] = {}
    for row in rows:
        try:
            found[row.code, row.revision] = _template(row.code, row.revision, row.body)
        except ValidationError:
            structlog.get_logger().error("catalog.template_unreadable", template=row.code, revision=row.revision)
    return found


async def load_active_templates(connection: AsyncConnection) -> list[Template]:
    """Return the active templates; what this version cannot read is left out, as above."""
    rows = await connection.execute(text("SELECT code, revision FROM templates WHERE active ORDER BY code"))
    return list((await load_templates(connection, [(row.code, row.revision) for row in rows])).values())


async def catalog_revision(connection: AsyncConnection) -> str:
    """Return a word that changes whenever an active rule or template does; cheap, for caches to ask often."""
    return str(
        await connection.scalar(
            text("""
                SELECT md5(string_agg(kind || name || ' ' || revision, E'\\n' ORDER BY kind, name))
                FROM (
                    SELECT 'r' AS kind, name, revision FROM rules WHERE active
                    UNION ALL SELECT 't', code, revision FROM templates WHERE active
                ) AS active
            """)
        )
    )


async def load_catalog(connection: AsyncConnection) -> Catalog:
    """Return the active rules and templates, of one moment if the transaction is one snapshot (REPEATABLE READ)."""
    revision = await catalog_revision(connection)
    rules = await connection.execute(text("SELECT name, revision, body FROM rules WHERE active ORDER BY name"))
    templates = await connection.execute(text("SELECT code, revision, body FROM templates WHERE active"))
    return Catalog(
        revision,
        tuple(Rule.model_validate({**row.body, "name": row.name, "revision": row.revision}) for row in rules),
        {row.code: _template(row.code, row.revision, row.body) for row in templates},
    )


def _template(code: str, revision: int, body: dict[str, object]) -> Template:
    return Template.model_validate({**body, "code": code, "revision": revision})


async def save_templates(connection: AsyncConnection, templates: Sequence[Template], *, now: datetime) -> list[str]:
    """Make ``templates`` the active ones of their codes; return the codes whose body was new. Calling twice is safe."""
    bodies = [_body(template.model_dump(mode="json", exclude_unset=True), "code") for template in templates]
    return await _save(connection, "templates", "code", [template.code for template in templates], bodies, now)


async def save_rules(connection: AsyncConnection, rules: Sequence[Rule], *, now: datetime) -> list[str]:
    """Make ``rules`` the active ones of their names; return the names whose body was new. Calling twice is safe."""
    bodies = [_body(rule.model_dump(mode="json", exclude_unset=True, by_alias=True), "name") for rule in rules]
    return await _save(connection, "rules", "name", [rule.name for rule in rules], bodies, now)


def _body(dumped: dict[str, object], key: str) -> str:
    return msgspec.json.encode({k: v for k, v in dumped.items() if k not in {key, "revision"}}).decode()


async def _save(
    connection: AsyncConnection, table: str, key: str, names: list[str], bodies: list[str], now: datetime
) -> list[str]:
    given = {"names": names, "bodies": bodies}
    wanted = """
        WITH wanted AS (
            SELECT name, CAST(body AS jsonb) AS body
            FROM unnest(CAST(:names AS text[]), CAST(:bodies AS text[])) AS w (name, body)
        )
    """
    await connection.execute(text(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"))
    await connection.execute(
        text(f"""{wanted}
            UPDATE {table} t SET active = false FROM wanted w
            WHERE t.active AND t.{key} = w.name AND t.body <> w.body
        """),  # noqa: S608 - table and key come from this module alone
        given,
    )
    rows = await connection.execute(
        text(f"""{wanted}
            INSERT INTO {table} ({key}, revision, active, body, created_at)
            SELECT w.name, coalesce((SELECT max(t.revision) FROM {table} t WHERE t.{key} = w.name), 0) + 1,
                true, w.body, :now
            FROM wanted w
            WHERE NOT EXISTS (SELECT FROM {table} t WHERE t.active AND t.{key} = w.name)
            RETURNING {key}
        """),  # noqa: S608 - table and key come from this module alone
        {**given, "now": now},
    )
    return sorted(rows.scalars())


async def retire(connection: AsyncConnection, *, rules: Collection[str], templates: Collection[str]) -> None:
    """Take these rules and templates out of use; messages already planned keep their revisions."""
    for table, key, names in (("rules", "name", rules), ("templates", "code", templates)):
        await connection.execute(
            text(f"UPDATE {table} SET active = false WHERE active AND {key} = ANY(CAST(:names AS text[]))"),  # noqa: S608 - named here alone
            {"names": list(names)},
        )


async def save_images(connection: AsyncConnection, images: Mapping[str, bytes], *, now: datetime) -> None:
    """Keep ``images``, by their hashes. Calling twice is safe; what no template names any more stays."""
    if images:
        await connection.execute(
            text("""
                INSERT INTO images (hash, image, created_at)
                SELECT hash, image, :now
                FROM unnest(CAST(:hashes AS bytea[]), CAST(:images AS bytea[])) AS i (hash, image)
                ORDER BY hash
                ON CONFLICT DO NOTHING
            """),
            {"hashes": [bytes.fromhex(each) for each in images], "images": list(images.values()), "now": now},
        )


async def load_image(connection: AsyncConnection, hash_: str) -> bytes | None:
    """Return the image of this hash, None if there is none."""
    image = await connection.scalar(text("SELECT image FROM images WHERE hash = :hash"), {"hash": bytes.fromhex(hash_)})
    return None if image is None else bytes(image)
