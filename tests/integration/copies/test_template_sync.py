"""The life of a template at three dealers, and what becomes of messages meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from bongsu.sandbox import CallFault, Operation
from services.ingest.refusals import Kind, Refusal
from shared.copies.sync import TemplateSync
from shared.dealers.templates import TemplateStatus
from tests.integration.copies.copies_world import DEALERS, World, sender_key, world_of

WORDS = "변수의 예시가 없습니다."
ALONE: dict[str, Mapping[str, Any]] = {"nhn": {}}
TWO: dict[str, Mapping[str, Any]] = {"nhn": {}, "luna": {}}


@asynccontextmanager
async def approved(engine: AsyncEngine, *dealers: str) -> AsyncIterator[World]:
    """Run a world in which each of ``dealers`` has approved the template."""
    async with world_of(engine, {dealer: {} for dealer in dealers}) as world:
        for dealer in dealers:
            await world.register(dealer)
            world.inspect(dealer, "approved")
        await world.look()
        yield world


def gauge(dealer: str, status: str) -> float | None:
    return REGISTRY.get_sample_value("bongsu_template_copies", {"dealer": dealer, "status": status})


# -- where it stands -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dealer", DEALERS)
async def test_a_template_is_rejected_in_the_reviewers_words_corrected_and_approved(
    database: AsyncEngine, dealer: str
) -> None:
    async with world_of(database, {dealer: {}}) as world:
        await world.look()
        assert (await world.copy(dealer)).status is TemplateStatus.MISSING
        refusal = await world.order()
        assert isinstance(refusal, Refusal)
        assert refusal.kind is Kind.TEMPLATE_NOT_APPROVED

        await world.register(dealer)
        await world.look()
        assert (await world.copy(dealer)).status is TemplateStatus.INSPECTING

        world.inspect(dealer, "rejected", WORDS)
        await world.look()
        copy = await world.copy(dealer)
        assert (copy.status, copy.comments[-1], copy.template) == (TemplateStatus.REJECTED, WORDS, "PAID")
        assert isinstance(await world.order(), Refusal)

        await world.register(dealer)  # the new wording, handed in again
        world.inspect(dealer, "approved")
        await world.look()
        assert (await world.copy(dealer)).status is TemplateStatus.APPROVED
        message = await world.order()
        await world.send()
        assert await world.message(message) == ("sent", dealer, None)


@pytest.mark.parametrize("dealer", DEALERS)
@pytest.mark.parametrize("status", [TemplateStatus.DORMANT, TemplateStatus.BLOCKED])
async def test_what_falls_dormant_or_is_blocked_is_not_sent_any_more(
    database: AsyncEngine, dealer: str, status: TemplateStatus
) -> None:
    async with approved(database, dealer) as world:
        early = await world.order()
        world.inspect(dealer, status.value)
        await world.look()
        assert (await world.copy(dealer)).status is status
        refusal = await world.order()
        assert isinstance(refusal, Refusal)
        assert "'PAID'" in refusal.detail

        await world.send()  # what was accepted before waits; it does not fail, and no text is paid for
        assert await world.message(early) == ("scheduled", dealer, "approval/shop/PAID")
        world.inspect(dealer, "approved")
        await world.look()
        await world.send()
        assert await world.message(early) == ("sent", dealer, None)


async def test_a_held_message_tells_why_and_goes_where_it_is_approved_first(database: AsyncEngine) -> None:
    async with world_of(database, TWO) as world:
        await world.load_rule(unapproved="hold")
        await world.register("nhn")
        await world.look()
        message = await world.order()
        await world.send()
        assert await world.message(message) == ("scheduled", "nhn", "approval/shop/PAID")
        [row] = await world.rows("SELECT due_at = deadline AS kept FROM messages")
        assert row.kept, "at its deadline it expires"
        [detail] = await world.rows("SELECT detail FROM transitions WHERE state = 'scheduled'")
        assert (detail.detail["why"], detail.detail["held_by"]) == ("not_approved", "approval/shop/PAID")
        await world.send()
        assert len(await world.rows("SELECT 1 FROM transitions")) == 2, "nothing happens while nothing changes"

        await world.register("luna")
        world.inspect("luna", "approved")
        await world.look()
        await world.send()  # let go, and on its way round NHN
        await world.send()
        assert await world.message(message) == ("sent", "luna", None)


async def test_a_held_message_expires_at_its_deadline(database: AsyncEngine) -> None:
    async with world_of(database, ALONE) as world:
        await world.load_rule(unapproved="hold", deadline="2h")
        await world.look()
        message = await world.order()
        await world.send()
        world.clock.time += timedelta(hours=2)
        await world.send()
        assert (await world.message(message))[0] == "expired"


async def test_a_route_is_left_out_where_its_dealer_has_not_approved(database: AsyncEngine) -> None:
    async with world_of(database, TWO) as world:
        await world.register("luna")
        world.inspect("luna", "approved")
        await world.look()
        message = await world.order()
        assert await world.message(message) == ("queued", "luna", None)
        await world.send()
        assert await world.message(message) == ("sent", "luna", None)


async def test_a_message_that_is_under_way_goes_round_a_dealer_that_withdrew(database: AsyncEngine) -> None:
    async with approved(database, "nhn", "luna") as world:
        message = await world.order()
        assert (await world.message(message))[1] == "nhn"
        world.inspect("nhn", "blocked", "스팸 신고")
        await world.look()
        await world.send()
        assert await world.message(message) == ("queued", "luna", None)
        await world.send()
        assert await world.message(message) == ("sent", "luna", None)
        assert await world.rows("SELECT 1 FROM attempts WHERE dealer = 'nhn'") == []


# -- what is not known ---------------------------------------------------------------------------------------------


async def test_a_dealer_that_was_not_asked_yet_is_taken_to_have_approved(database: AsyncEngine) -> None:
    async with world_of(database, ALONE) as world:
        assert not isinstance(await world.order(), Refusal)


async def test_a_dealer_without_a_template_api_is_taken_to_have_approved(database: AsyncEngine) -> None:
    async with world_of(database, {"bizppurio": {}}) as world:
        assert world.dealers["bizppurio"].templates is None
        await world.look()
        assert not isinstance(await world.order(), Refusal)
        assert await world.rows("SELECT 1 FROM template_copies") == []


async def test_a_trusted_dealer_is_not_asked_and_what_was_known_is_forgotten(database: AsyncEngine) -> None:
    async with world_of(database, ALONE) as world:
        await world.look()
        assert (await world.copy("nhn")).status is TemplateStatus.MISSING
    async with world_of(database, {"nhn": {"templates": "trusted"}}) as world:
        await world.look()
        assert await world.rows("SELECT 1 FROM template_copies") == []
        assert not isinstance(await world.order(), Refusal)


@pytest.mark.parametrize("fault", [CallFault.ERROR_BEFORE, CallFault.GARBLED, CallFault.KEY_REFUSED])
async def test_a_dealer_that_does_not_answer_changes_nothing(database: AsyncEngine, fault: CallFault) -> None:
    async with approved(database, "nhn") as world:
        before = await world.copy("nhn")
        world.sandbox.arrange(Operation.LOOKUP, fault, 10, "nhn")
        found = await world.sync.now()
        assert set(found.failures) == {("nhn", sender_key("nhn"))}
        assert await world.copy("nhn") == before
        assert not isinstance(await world.order(), Refusal)


async def test_a_list_that_came_short_does_not_stop_an_approved_template(database: AsyncEngine) -> None:
    async with approved(database, "nhn") as world:
        api = world.api("nhn")

        class Short:
            asked = 0

            async def every(self, _: str) -> list[Any]:
                return []

            async def get(self, key: str, code: str) -> Any:  # noqa: ANN401 - as the API's
                self.asked += 1
                return await api.get(key, code)

        short: Any = Short()
        sync = TemplateSync(database, {"nhn": short}, world.config, world.clock, pause_seconds=0)
        assert (await sync.now()).changes == []
        assert (await world.copy("nhn")).status is TemplateStatus.APPROVED
        assert short.asked == 1


async def test_an_adapter_that_stumbles_does_not_take_the_sender_down(database: AsyncEngine) -> None:
    async with approved(database, "nhn") as world:

        class Broken:
            async def every(self, _: str) -> list[Any]:
                raise KeyError("code")

        broken: Any = Broken()
        assert await TemplateSync(database, {"nhn": broken}, world.config, world.clock, timedelta())() == 0
        assert (await world.copy("nhn")).status is TemplateStatus.APPROVED


# -- when it is asked ----------------------------------------------------------------------------------------------


async def test_dealers_are_asked_every_ten_minutes_by_one_replica(database: AsyncEngine) -> None:
    async with approved(database, "nhn") as world:
        replica = TemplateSync(database, world.sync.apis, world.config, world.clock)

        async def asked() -> int:
            before = world.sandbox.book.counted[f"calls_{Operation.LOOKUP}"]
            await asyncio.gather(world.sync(), replica())
            return world.sandbox.book.counted[f"calls_{Operation.LOOKUP}"] - before

        assert await asked() == 0, "it was asked a moment ago"
        world.clock.time += timedelta(minutes=10)
        once = await asked()
        assert once > 0
        assert await asked() == 0
        world.clock.time += timedelta(minutes=10)
        assert await asked() == once, "the work of one"


async def test_a_new_template_is_asked_for_at_once(database: AsyncEngine) -> None:
    async with world_of(database, ALONE) as world:
        await world.sync()
        assert (await world.copy("nhn")).status is TemplateStatus.MISSING


async def test_a_list_that_could_not_be_had_is_asked_for_again_after_a_minute(database: AsyncEngine) -> None:
    async with world_of(database, ALONE) as world:
        world.sandbox.arrange(Operation.LOOKUP, CallFault.ERROR_BEFORE, 1, "nhn")
        await world.sync()
        await world.sync()
        assert await world.rows("SELECT 1 FROM template_copies") == []
        world.clock.time += timedelta(minutes=1)
        await world.sync()
        assert (await world.copy("nhn")).status is TemplateStatus.MISSING


# -- what is shown -------------------------------------------------------------------------------------------------


async def test_copies_are_counted_and_a_change_is_told_without_the_reviewers_words(database: AsyncEngine) -> None:
    async with approved(database, "nhn") as world:
        await world.sync()
        assert gauge("nhn", "approved") == 1
        world.inspect("nhn", "rejected", WORDS)
        world.clock.time += timedelta(minutes=10)
        with capture_logs() as logs:
            await world.sync()
        [told] = [entry for entry in logs if entry["event"] == "templates.changed"]
        assert (told["was"], told["status"], told["log_level"]) == ("approved", "rejected", "warning")
        assert WORDS not in str(logs)
        await world.sync()
        assert (gauge("nhn", "approved"), gauge("nhn", "rejected")) == (None, 1)


async def test_a_month_before_a_template_falls_dormant_there_is_one_warning(database: AsyncEngine) -> None:
    async with approved(database, "nhn") as world:
        await world.execute("UPDATE template_copies SET changed_at = NULL")
        hour = world.clock.now() - timedelta(days=1)
        statistics = """
            INSERT INTO stats_attempts (hour, profile, template, channel, dealer, state, reason, n, cost_krw)
            VALUES (:hour, 'shop', 'PAID', 'alimtalk', 'nhn', 'delivered', '', 3, 39)
        """
        await world.execute(statistics, hour=hour)
        await world.sync.now()
        assert (await world.copy("nhn")).last_sent_at == hour

        async def warned() -> int:
            await world.execute(
                "UPDATE template_copies SET changed_at = NULL, checked_at = :now", now=world.clock.now()
            )
            with capture_logs() as logs:
                await world.sync()
            return sum(entry["event"] == "templates.dormant_soon" for entry in logs)

        world.clock.time = hour + timedelta(days=334)
        assert await warned() == 0
        world.clock.time = hour + timedelta(days=336)
        assert await warned() == 1
        assert await warned() == 0, "it is said once"
        assert REGISTRY.get_sample_value("bongsu_template_dormant_soon", {"dealer": "nhn"}) == 1


# -- the sandbox's inspector -----------------------------------------------------------------------------------------


async def test_the_sandboxs_inspector_is_steered_over_http(database: AsyncEngine) -> None:
    async with world_of(database, ALONE) as world, aiohttp.ClientSession() as http:
        await world.register("nhn")

        async def inspect(**body: str) -> tuple[int, str]:
            async with http.post(f"{world.sandbox.origin}/_sandbox/inspect", json=body) as answer:
                return answer.status, await answer.text()

        assert (await inspect(dealer="nhn", code="PAID", status="rejected", comment=WORDS))[0] == 200
        await world.look()
        assert (await world.copy("nhn")).comments == (WORDS,)
        for wrong in (
            {"dealer": "nhn", "code": "OTHER", "status": "approved"},
            {"dealer": "nhn", "code": "PAID", "status": "liked"},
            {"dealer": "nhn", "code": "PAID", "status": "missing"},
            {"dealer": "bizppurio", "code": "PAID", "status": "approved"},
            {"dealer": "nobody", "code": "PAID", "status": "approved"},
        ):
            status, said = await inspect(**wrong)
            assert status == 400, said
