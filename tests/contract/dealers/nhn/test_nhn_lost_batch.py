"""A batch of 300 whose answer is lost is resolved one by one, by our key, and nothing goes out again."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest

from bongsu.sandbox import CallFault, FaultProfile, Operation, Profile, start_sandbox
from bongsu.sandbox.profile import Limits
from shared.contracts.states import Channel
from shared.dealers.base import Ambiguous, LookupResult, NotFound, Report
from shared.dealers.nhn.adapter import Nhn
from tests.contract.dealers.nhn.nhn_world import CONTENTS, at_sandbox, attempt, outgoing

BATCH = 300
PROFILE = Profile(
    accept_any_template=True,
    limits=Limits(messages_per_second=0),
    faults=FaultProfile.model_validate({"registration": {"invalid_phone": 0.1}}),
    seed=7,
)


async def looked_up(dealer: Nhn, channel: Channel, amount: int) -> list[LookupResult]:
    """Look the batch up as the reconciler does."""
    asked = [attempt(outgoing(n, channel), None, datetime.now(UTC)) for n in range(1, amount + 1)]
    step = dealer.capabilities.lookup_batch
    return [said for start in range(0, amount, step) for said in await dealer.lookup(asked[start : start + step])]


@pytest.mark.parametrize("channel", CONTENTS)
@pytest.mark.parametrize("fault", [CallFault.CUT_AFTER, CallFault.ERROR_AFTER, CallFault.TRUNCATED])
async def test_a_lost_answer_of_300_is_resolved_one_by_one(fault: CallFault, channel: Channel) -> None:
    async with start_sandbox(PROFILE) as sandbox, at_sandbox(sandbox) as dealer:
        sandbox.arrange(Operation.SEND, fault, dealer="nhn")
        batch = [outgoing(n, channel) for n in range(1, BATCH + 1)]
        results = await dealer.send(None, batch)
        assert all(isinstance(said, Ambiguous) for said in results)

        taken = {sent.key for sent in sandbox.truth()}
        assert 200 < len(taken) < BATCH  # some were refused, and the answer that said so is lost as well
        sandbox.settle()
        for message, said in zip(batch, await looked_up(dealer, channel, BATCH), strict=True):
            if message.request_key in taken:
                assert isinstance(said, Report)
                assert (said.request_key, said.delivered) == (message.request_key, True)
                assert said.dealer_message_id is not None
            else:
                assert isinstance(said, NotFound)
        assert sandbox.book.counted["calls_lookup"] == BATCH
        assert sandbox.book.counted["calls_send"] == 1
        assert Counter(sent.key for sent in sandbox.truth()).most_common(1)[0][1] == 1


async def test_a_batch_that_never_arrived_is_not_found_one_by_one() -> None:
    async with start_sandbox(PROFILE) as sandbox, at_sandbox(sandbox) as dealer:
        sandbox.arrange(Operation.SEND, CallFault.CUT_BEFORE, dealer="nhn")
        results = await dealer.send(None, [outgoing(n) for n in range(1, BATCH + 1)])
        assert all(isinstance(said, Ambiguous) for said in results)
        said = await looked_up(dealer, Channel.ALIMTALK, BATCH)
        assert all(isinstance(result, NotFound) for result in said)
        assert sandbox.truth() == []


async def test_lookups_that_fail_on_the_way_are_taken_up_where_they_ended() -> None:
    async with start_sandbox(PROFILE) as sandbox, at_sandbox(sandbox) as dealer:
        sandbox.arrange(Operation.SEND, CallFault.CUT_AFTER, dealer="nhn")
        await dealer.send(None, [outgoing(n) for n in range(1, BATCH + 1)])
        sandbox.settle()
        taken = {sent.key for sent in sandbox.truth()}
        open_ones = [attempt(outgoing(n), None, datetime.now(UTC)) for n in range(1, BATCH + 1)]
        known: dict[str, LookupResult] = {}
        while len(known) < BATCH:
            sandbox.arrange(Operation.LOOKUP, CallFault.ERROR_BEFORE, dealer="nhn")
            rest = [asked for asked in open_ones if asked.request_key not in known]
            for asked, said in zip(rest[:100], await dealer.lookup(rest[:100]), strict=True):
                if isinstance(said, Report | NotFound):
                    known[asked.request_key] = said
            said_again = await dealer.lookup(rest[:100])  # the first one met the fault, and ended there
            for asked, said in zip(rest[:100], said_again, strict=True):
                if isinstance(said, Report | NotFound):
                    known[asked.request_key] = said
        assert {key for key, said in known.items() if isinstance(said, Report)} == taken
