from __future__ import annotations

from pathlib import Path

import msgspec
from sqlalchemy import text

from bongsu.apply import apply_directory
from services.ingest.repository import Answer, Stored
from tests.integration.ingest.parts import Ingest, make_event

OPENED = """
templates: [{code: OPENED, text: "[봉수상점] 매장이 열렸습니다."}]
rules: [{name: opened, on: shop.opened, send: {template: OPENED}}]
"""


async def test_a_rule_loaded_meanwhile_is_followed(ingest: Ingest, tmp_path: Path) -> None:
    (tmp_path / "opened.yaml").write_text(OPENED, encoding="utf-8")
    await apply_directory(ingest.engine, tmp_path, now=ingest.clock.now())
    await ingest.intake.rules.refresh()
    outcome = await ingest.take(make_event(type="shop.opened"), None)
    assert isinstance(outcome, Stored)
    assert [m.rule for m in msgspec.json.decode(outcome.response, type=Answer).messages] == ["opened"]


SALE = """
templates: [{code: SALE, kind: brand, text: "[봉수상점] 겨울 세일"}]
rules: [{name: sale, on: sale.started, category: advertising, send: {template: SALE}}]
"""


async def test_a_brand_message_begins_over_its_own_channel(ingest: Ingest, tmp_path: Path) -> None:
    (tmp_path / "sale.yaml").write_text(SALE, encoding="utf-8")
    await apply_directory(ingest.engine, tmp_path, now=ingest.clock.now())
    await ingest.intake.rules.refresh()
    assert isinstance(await ingest.take(make_event(type="sale.started"), None), Stored)
    async with ingest.engine.connect() as connection:
        rows = await connection.execute(text("SELECT channel, category FROM messages"))
        assert rows.all() == [("friendtalk", "advertising")]
        steps = await connection.execute(text("SELECT channel FROM transitions ORDER BY seq"))
        assert list(steps.scalars()) == ["friendtalk"]


async def test_rules_are_bound_anew_only_when_they_changed(ingest: Ingest) -> None:
    planner = ingest.intake.rules.planner
    await ingest.intake.rules.refresh()
    assert ingest.intake.rules.planner is planner


async def test_a_catalog_of_a_newer_version_leaves_the_rules_that_were(ingest: Ingest) -> None:
    planner = ingest.intake.rules.planner
    async with ingest.engine.begin() as connection:
        await connection.execute(
            text("""
                INSERT INTO rules (name, revision, active, body, created_at)
                VALUES ('newer', 1, true, '{"on": "x", "send": {"template": "T"}, "experiment": "e"}', now())
            """)
        )
    await ingest.intake.rules.follow()
    assert ingest.intake.rules.planner is planner
    outcome = await ingest.take(make_event(), None)
    assert isinstance(outcome, Stored)
