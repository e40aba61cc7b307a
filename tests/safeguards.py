"""What keeps the promises, piece by piece: how each is taken out, and the tests that must notice.

``tests/mutants.py`` takes them out one at a time. A text to be replaced stands exactly once in its file, so that a
safeguard which moved is found missing here (``tests/contract/test_safeguards.py``) and not passed over.
"""

from __future__ import annotations

from dataclasses import dataclass

SENDER = "shared/sending/sender.py"
LANES = "shared/sending/lanes.py"
RECONCILE = "shared/sending/reconcile.py"
RECEIPTS = "shared/sending/receipts.py"
POLICY = "shared/sending/policy.py"
STOPS = "shared/sending/stops.py"
STATES = "shared/contracts/states.py"
INGEST = "services/ingest/repository.py"
LOG = "shared/sending/limit_log.py"
ADMISSION = "tests/unit/sending/test_admission.py"
_CLOCK = "tests/unit/sending/test_limit_rules.py::test_the_rows_time_never_goes_back_and_never_leaps_for_who_watched"
RETENTION = "services/metrics/retention.py"

SENDING = "tests/integration/sending"
FORGETTING = "tests/integration/metrics/test_retention.py"
DEALERS = "tests/contract/dealers"
TWICE = "tests/unit/ledger/test_book.py::test_news_of_which_one_is_a_delivery_end_delivered_in_any_order"


@dataclass(frozen=True, slots=True)
class Change:
    """A text of a file, and what stands in its place without the safeguard."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Safeguard:
    """``without`` completes "without it …"; ``tests`` are pytest's node ids, run in this order until one fails."""

    name: str
    without: str
    changes: tuple[Change, ...]
    tests: tuple[str, ...]


def _one(name: str, without: str, path: str, old: str, new: str, *tests: str) -> Safeguard:
    return Safeguard(name, without, (Change(path, old, new),), tests)


_CRASHES = f"{SENDING}/test_reconcile.py::test_a_crash_at_any_step_loses_nothing_and_doubles_nothing"

CLAIM = (
    Safeguard(
        "claim before call",
        "attempts are committed after the call, with its results",
        (
            Change(
                SENDER,
                "            await save(connection, book)\n"
                "            await self._load_templates(connection, _keys_of(c",
                "            if claimed:\n                _LATE.append(book)\n            else:\n"
                "                await save(connection, book)\n"
                "            await self._load_templates(connection, _keys_of(c",
            ),
            Change(
                SENDER,
                "            book = await load(connection, [attempt.message_id for attempt in attempts], now=now)",
                "            while _LATE:\n                await save(connection, _LATE.pop())\n"
                "            book = await load(connection, [attempt.message_id for attempt in attempts], now=now)",
            ),
            Change(
                SENDER,
                "\n\n@dataclass(frozen=True, slots=True)\nclass Job:",
                "\n\n_LATE: list[Book] = []\n\n\n@dataclass(frozen=True, slots=True)\nclass Job:",
            ),
        ),
        (f"{SENDING}/test_sender.py::test_an_attempt_is_committed_before_the_dealer_is_called",),
    ),
    _one(
        "one open attempt",
        "the database takes a second open attempt over the same channel",
        "shared/db/migrations/versions/0001_ledger.py",
        "CREATE UNIQUE INDEX attempts_one_open",
        "CREATE INDEX attempts_one_open",
        f"{SENDING}/test_safeguards.py::test_the_database_has_the_last_word_on_a_second_open_attempt",
    ),
    _one(
        "void jobs",
        "a job that is read again after its message moved on and came back opens another attempt",
        SENDER,
        " or message.seq != job.seq:",
        ":",
        "tests/unit/sending/test_claim.py",
    ),
    _one(
        "handle committed with the claim",
        "a crash leaves attempts that nobody can find at a two-phase dealer",
        SENDER,
        "book.open_attempt(message, handle=handle, check_at=check_at)",
        "book.open_attempt(message, handle=None, check_at=check_at)",
        _CRASHES,
    ),
    _one(
        "last check: hours of rest",
        "a job that waited goes out at night",
        SENDER,
        "    opens = next_allowed(book.now, message.category, profile, lane=message.lane)\n",
        "    opens = book.now\n",
        "tests/unit/sending/test_claim.py",
    ),
    _one(
        "last check: order",
        "a message overtakes an earlier one to the same person",
        SENDER,
        "order.holds(message, book, leaving, held)",
        "False",
        f"{SENDING}/test_order.py",
    ),
    _one(
        "last check: called off",
        "what somebody called off while a claim waited for it leaves",
        SENDER,
        "        if message is None or message.state is not MessageState.QUEUED or message.seq != job.seq:\n",
        "        if message is None:\n",
        f"{SENDING}/test_last_step.py::test_what_is_called_off_while_a_claim_waits_does_not_leave",
    ),
    _one(
        "last check: pauses and cancellations are read with each claim",
        "what somebody paused or cancelled goes on until a process is restarted",
        SENDER,
        "        stops, is_cancelling = await load_orders(connection)\n",
        "        stops, is_cancelling = dict[StopKey, Stop](), False\n",
        f"{SENDING}/test_last_step.py::test_once_a_pause_is_answered_no_claim_begins_anywhere",
    ),
    _one(
        "last check: a message in line at nine",
        "what was queued, tried, failed or found again before the hours of rest leaves in them",
        SENDER,
        "    if opens > book.now:\n        book.move(message, MessageState.SCHEDULED, due_at=opens",
        "    if False:\n        book.move(message, MessageState.SCHEDULED, due_at=opens",
        f"{SENDING}/test_last_step.py::test_what_was_under_way_before_the_hours_of_rest_waits_for_the_morning",
    ),
    _one(
        "last check: cancelled with many others",
        "what was in a dispatcher's hands, or waits for its time, leaves after a campaign was cancelled",
        SENDER,
        "        if (by := gate.cancelled.get(message.id)) is not None:\n",
        "        if (by := gate.cancelled.get(message.id)) is not None and False:\n",
        f"{SENDING}/test_cancellations.py::test_it_is_seen_though_it_comes_after_the_job_was_read",
    ),
    _one(
        "a cancellation outlasts its walk",
        "what a dealer had comes back when all seems done, and is tried again",
        "shared/sending/cancellations.py",
        "SET walk_at = greatest(walk_at, last_deadline)",
        "SET walk_at = walk_at",
        f"{SENDING}/test_cancellations.py::test_what_a_dealer_had_is_neither_tried_again_nor_followed_by_a_text",
    ),
    _one(
        "a cancellation is walked through twice",
        "what was being written when it was ordered is sent when its time comes",
        "shared/sending/cancellations.py",
        "_WALKS = 2\n",
        "_WALKS = 1\n",
        f"{SENDING}/test_cancellations.py"
        "::test_what_was_planned_before_and_written_after_it_is_found_by_the_second_walk",
    ),
    _one(
        "last check: frequency caps",
        "a person gets more than a cap allows",
        SENDER,
        "        elif (full := contacts.full(message, book.now)) is not None:\n",
        "        elif (full := NO_CAPS.full(message, book.now)) is not None:\n",
        f"{SENDING}/test_caps.py::test_a_thousand_messages_to_one_person_from_two_dispatchers_and_the_fallback",
    ),
    _one(
        "last check: one claim at a time for each person",
        "two who claim for one person at once both count before either has sent",
        SENDER,
        "            await lock_people(connection, people)\n",
        "",
        f"{SENDING}/test_caps.py::test_of_two_claims_at_once_one_waits_and_counts_the_other",
    ),
    _one(
        "what may have arrived counts",
        "a message that nobody knows the end of leaves its place to another",
        "shared/sending/contacts.py",
        " OR a.reason = ANY(CAST(:doubts AS text[]))",
        " OR (false AND a.reason = ANY(CAST(:doubts AS text[])))",
        f"{SENDING}/test_caps.py::test_what_nobody_knows_the_end_of_counts",
    ),
    _one(
        "a message that may yet go on keeps its place",
        "another message leaves while the first waits for its text, which is the second then",
        "shared/sending/contacts.py",
        " OR NOT m.final)",
        ")",
        f"{SENDING}/test_caps.py::test_a_text_a_retry_and_another_dealer_are_no_second_contact",
    ),
    _one(
        "what the bus lost",
        "a message whose job was lost waits for ever",
        "services/dispatcher/repository.py",
        "AND state IN ('queued', 'failed')",
        "AND false",
        f"{SENDING}/test_survival.py::test_what_the_bus_lost_ends_after_its_deadline",
    ),
    _one(
        "last check: after the locks",
        "the hours of rest are those of before a lock was waited for",
        SENDER,
        "            book.now = self.clock.now()  # locks",
        "            # locks",
        f"{SENDING}/test_safeguards.py::test_the_last_look_at_the_hours_is_after_the_locks",
    ),
    Safeguard(
        "last check: deadline",
        "an order confirmation goes out a day late",
        (
            Change(SENDER, "    if book.now >= message.deadline:\n", "    if False:\n"),
            Change(SENDER, "    if opens >= message.deadline:\n", "    if opens > book.now >= message.deadline:\n"),
        ),
        ("tests/unit/sending/test_claim.py",),
    ),
    _one(
        "lease: a sender that stood still",
        "a process that was suspended calls when it wakes, whatever happened meanwhile",
        SENDER,
        "                if lease.is_over(self.clock.now(), self.monotonic()):",
        "                if False:",
        f"{SENDING}/test_sender.py::test_a_process_that_slept_past_its_lease_does_not_call",
    ),
    _one(
        "lease: by a clock that is not set back",
        "a process that was suspended calls when it wakes, because the clock was set back meanwhile",
        SENDER,
        "        return now >= self.until or monotonic >= self.until_monotonic",
        "        return now >= self.until",
        f"{SENDING}/test_clock_steps.py::test_a_process_that_slept_does_not_call_though_the_clock_was_set_back",
    ),
    _one(
        "ids that grow",
        "a person's second message is older by its id, and goes before the first",
        "shared/ids.py",
        "        if first < self._next < first + _STEP_BACK:",
        "        if False:",
        "tests/unit/test_ids.py",
    ),
    _one(
        "leases of before a clock was set back",
        "what a dead member owned is nobody's until the clock has caught up",
        "shared/bus/embedded.py",
        "               OR lease_until > now() + make_interval(secs => 2 * CAST(:lease AS float)))",
        "               OR false)",
        "tests/integration/bus/test_embedded.py::test_a_clock_that_steps_back_leaves_no_partition_with_the_dead",
    ),
    _one(
        "lease: a call under way",
        "an attempt is asked about, and closed, while its sender calls",
        SENDER,
        "            lease = book.now + self.clock.stretch(self.policy.lease)",
        "            lease = book.now",
        f"{SENDING}/test_safeguards.py::test_a_call_under_way_is_not_asked_about",
    ),
)

DOUBT = (
    Safeguard(
        "lookup before resend: a lost answer",
        "a lost answer is tried again blindly",
        (
            Change(
                SENDER,
                "                book.unsure(attempt, check_at=self.ask_at(book, attempt), why=storable(detail))",
                "                then = RetryAt(book.now)\n"
                '                book.failed(attempt, reason="dealer_unavailable", then=then)',
            ),
        ),
        (f"{SENDING}/test_reconcile.py::test_a_lost_answer_is_looked_up_and_never_sent_blindly",),
    ),
    _one(
        "taken after all",
        "a dealer that was searched in vain while a sender stood still in its call gets the message again",
        SENDER,
        "        if waits and message.attempt == attempt.n:\n",
        "        if False:\n",
        f"{SENDING}/test_reconcile.py::test_a_dealer_that_says_late_that_it_took_it_is_believed",
    ),
    _one(
        "probes for who can leave",
        "a message in its hours of rest uses up the probe of a stop, and all that it holds waits for the next",
        SENDER,
        " and _may_leave(book, message, self.config, contacts)\n",
        "\n",
        f"{SENDING}/test_stops.py::test_a_message_in_its_hours_of_rest_uses_up_no_probe",
    ),
    Safeguard(
        "lookup before resend: a dead sender",
        "what a dead process was sending is sent again when its lease is over",
        (
            Change(
                RECONCILE,
                '                    book.unsure(attempt, check_at=now, why="the sender did not come back")',
                '                    book.failed(attempt, reason="dealer_unavailable", then=RetryAt(now))\n'
                "                    continue",
            ),
        ),
        (_CRASHES,),
    ),
    _one(
        "lost is not refused",
        "a connection that is cut after the request left counts as one that was never made",
        "shared/dealers/http.py",
        "            return Lost(detail) if progress.connected else NotReached(detail)",
        "            return NotReached(detail)",
        f"{DEALERS}/test_solapi_send.py",
    ),
    _one(
        "not found: after the index's time",
        "a dealer's list that lags behind frees a message that was taken",
        RECONCILE,
        "                if age < self.sender.clock.stretch(dealer.capabilities.not_found_after):",
        "                if age < timedelta():",
        f"{SENDING}/test_reconcile.py::test_not_found_counts_only_after_the_index_had_time_and_twice",
    ),
    _one(
        "not found: twice",
        "one empty answer frees a message",
        RECONCILE,
        "NOT_FOUND_TWICE = 2",
        "NOT_FOUND_TWICE = 1",
        f"{SENDING}/test_reconcile.py::test_not_found_counts_only_after_the_index_had_time_and_twice",
    ),
    _one(
        "not found: never what has an id",
        "a message that the dealer named is sent again because a list lacks it",
        RECONCILE,
        "        if attempt.state is AttemptState.SENT:\n            return",
        "        if False:\n            return",
        f"{SENDING}/test_safeguards.py::test_what_the_dealer_named_is_not_sent_again_because_a_list_lacks_it",
    ),
    _one(
        "not found: never what Kakao had",
        "a message that Kakao had and does not confirm is sent again because a list lacks it",
        RECONCILE,
        "        if attempt.is_unconfirmed:\n            return  # Kakao",
        "        if False:\n            return  # Kakao",
        f"{SENDING}/test_doubt.py::test_what_kakao_had_is_not_sent_again_because_a_list_lacks_it",
    ),
    _one(
        "a group is closed before it counts as not sent",
        "a late call sends what was freed already",
        "shared/dealers/solapi/lookup.py",
        "            group = await self._close(handle)",
        "            return _all(attempts, NotTakenForSure())",
        f"{DEALERS}/test_solapi_lookup.py",
    ),
    _one(
        "the request key of a replay",
        "a replay carries a new key, and is a second message",
        SENDER,
        "                again = await self._still_in_doubt(some)\n",
        "                again = await self._still_in_doubt(some)\n"
        '                again = [(replace(one, request_key=one.request_key + "x"), of) for one, of in again]\n',
        f"{SENDING}/test_doubt.py::test_a_replay_settles_what_a_lost_answer_left_open",
    ),
    _one(
        "a replay only of what is in doubt",
        "a receipt that came meanwhile does not stop a replay",
        SENDER,
        "                if in_doubt and means_of(case)",
        "                if means_of(case)",
        f"{SENDING}/test_safeguards.py::test_what_was_settled_meanwhile_is_not_replayed",
    ),
    _one(
        "a replay's last check: hours of rest",
        "a replay delivers at night",
        SENDER,
        " is Means.REPLAY and case.replays_at is None:",
        " is Means.REPLAY:",
        f"{SENDING}/test_safeguards.py::test_a_replay_that_the_dealer_would_still_know_waits_for_the_morning",
    ),
    _one(
        "a replay's last check: deadline",
        "a replay delivers what nobody wants any more",
        POLICY,
        " and remembers and case.now < case.deadline:",
        " and remembers:",
        "tests/unit/sending/test_policy.py",
    ),
    Safeguard(
        "a replay's last check: its lease",
        "a process that stood still after the check replays when it wakes, at night or after a word by hand",
        (
            Change(
                SENDER,
                "                lease = self._lease(self.clock.now(), self.monotonic())  # counted from the last"
                " check\n",
                "",
            ),
            Change(
                SENDER,
                "                named = await self._name_images(dealer, wanted)\n",
                "                named = await self._name_images(dealer, wanted)\n"
                "                lease = self._lease(self.clock.now(), self.monotonic())\n",
            ),
        ),
        (f"{SENDING}/test_safeguards.py::test_a_replay_that_stood_still_after_its_last_check_is_not_made",),
    ),
    _one(
        "a replay only while the dealer remembers",
        "a replay after the dealer forgot the key is a second message",
        POLICY,
        " is LookupMeans.REPLAY and remembers and",
        " is LookupMeans.REPLAY and",
        "tests/unit/sending/test_policy.py",
    ),
    _one(
        "a replay that is refused proves nothing",
        "the refusal of a replay counts as the first request's",
        SENDER,
        "                if isinstance(result, Accepted | AlreadyTaken)\n",
        "",
        f"{SENDING}/test_doubt.py::test_a_replay_that_is_refused_says_nothing_of_the_first_request",
    ),
    _one(
        "the default never resends",
        "what stays unknown is sent again over the same channel",
        "shared/config.py",
        "        default = Uncertain.HOLD if category is Category.ADVERTISING else Uncertain.FALLBACK\n",
        "        default = Uncertain.RESEND\n",
        "tests/unit/sending/test_policy.py::test_by_default_nothing_is_resent_and_kakao_is_waited_for",
    ),
    _one(
        "unconfirmed waits",
        "a text follows an AlimTalk that Kakao delivers a minute later",
        POLICY,
        "            return Await(case.opened_at + (case.capabilities.unconfirmed_for",
        "            return GiveUp() if case else Await(case.opened_at + (case.capabilities.unconfirmed_for",
        f"{SENDING}/test_doubt.py::test_what_kakao_does_not_confirm_is_waited_for",
    ),
)

RECEIVED = (
    _one(
        "a receipt is stored before it is answered",
        "a database that is away loses receipts that the dealer never repeats",
        "services/dispatcher/api.py",
        "            if not (is_away(error) or isinstance(error, Overloaded)):\n                raise\n",
        "            if is_away(error):\n                return Response(adapter.answer_receipts(reports))\n",
        f"{SENDING}/test_safeguards.py::test_a_receipt_that_could_not_be_stored_is_not_answered_as_if",
    ),
    _one(
        "dedupe of receipts",
        "the same report twice is two deliveries, and twice the cost",
        STATES,
        "    _A.DELIVERED: frozenset(),",
        "    _A.DELIVERED: frozenset({_A.DELIVERED}),",
        "tests/unit/ledger/test_book.py",
    ),
    _one(
        "dedupe of receipts: failures",
        "the same failure twice is two failures in the statistics, and two decisions",
        STATES,
        "    _A.FAILED: frozenset({_A.DELIVERED}),",
        "    _A.FAILED: frozenset({_A.DELIVERED, _A.FAILED}),",
        "tests/unit/ledger/test_book.py",
    ),
    _one(
        "sticky delivered",
        "a failure that comes late overrides a delivery, and a text follows",
        STATES,
        "    _A.DELIVERED: frozenset(),",
        "    _A.DELIVERED: frozenset({_A.FAILED}),",
        TWICE,
    ),
    _one(
        "a late success counts",
        "a success after a failure is dropped",
        STATES,
        "    _A.FAILED: frozenset({_A.DELIVERED}),",
        "    _A.FAILED: frozenset(),",
        TWICE,
    ),
    _one(
        "a receipt waits for its attempt",
        "a receipt that overtakes the record of its sending is dropped",
        RECEIPTS,
        '                    "apply_at": [None if attempt else self._next_try(receipt) for receipt, attempt in done],',
        '                    "apply_at": [None for _ in done],',
        f"{SENDING}/test_receipts.py::test_a_receipt_that_matches_nothing_yet_is_kept_until_it_does",
    ),
    _one(
        "a receipt of another dealer",
        "whoever may post one dealer's receipts ends another's messages",
        RECEIPTS,
        "        if attempt is None or attempt.dealer != receipt.dealer:\n",
        "        if attempt is None:\n",
        f"{SENDING}/test_receipts.py::test_a_receipt_of_another_dealer_changes_nothing",
    ),
    _one(
        "a failure is asked about once more",
        "a dealer that takes a failure back, and is not heard, leaves it standing",
        RECEIPTS,
        "                confirm = book.now + CONFIRM_AFTER if",
        "                confirm = None if",
        f"{SENDING}/test_receipts.py::test_a_failure_is_asked_about_once_more",
    ),
    _one(
        "an unknown code is no success",
        "a code that a dealer invents tomorrow is a delivery",
        "shared/dealers/codes.py",
        "_UNMAPPED = Meaning(delivered=False, reason=UNKNOWN, known=False)",
        "_UNMAPPED = Meaning(delivered=True, known=False)",
        "tests/unit/dealers/test_codes.py",
    ),
)

ROUTES = (
    _one(
        "the first few: a campaign does not become texts",
        "an account without balance turns a campaign into paid texts",
        STOPS,
        "        return GiveUp() if first < enough(reason) else Hold(str(key), message.deadline)",
        "        return GiveUp()",
        "tests/unit/sending/test_stops.py",
    ),
    _one(
        "the first few: the rest is held",
        "every message of a campaign is tried, and refused",
        SENDER,
        "        elif (stop := gate.bars(message)) is not None:",
        "        elif (stop := gate.bars(message)) is not None and False:",
        f"{SENDING}/test_stops.py::test_no_balance_fails_a_few_and_holds_the_rest",
    ),
    _one(
        "one probe for all replicas",
        "each replica sends a probe of its own into a dealer that fails",
        "shared/sending/stop_store.py",
        " AND probe_at <= :now\n",
        "\n",
        f"{SENDING}/test_safeguards.py::test_of_two_that_saw_a_probe_due_one_sends_it",
    ),
    Safeguard(
        "only certain failures move: a doubt stays",
        "what one dealer may have is sent through another",
        (
            Change(
                SENDER,
                "                book.unsure(attempt, check_at=self.ask_at(book, attempt), why=storable(detail))",
                '                refused = Refused("dealer_unavailable", "")\n'
                "                then = self.after_failure(book, attempt, refused, verdicts)\n"
                '                book.failed(attempt, reason="dealer_unavailable", then=then)',
            ),
        ),
        (f"{SENDING}/test_stops.py::test_what_is_in_doubt_never_moves",),
    ),
    _one(
        "only certain failures move: a reported one stays",
        "what a dealer took, and reported as failed, is sent through another; the report may be taken back",
        RECEIPTS,
        "        return verdicts.on(message, attempt.dealer, attempt.channel, reason, profile=None, tried=())",
        "        profile = self.sender.config.profiles.get(message.profile)\n"
        "        return verdicts.on(message, attempt.dealer, attempt.channel, reason, profile, {attempt.dealer})",
        f"{SENDING}/test_safeguards.py::test_what_a_dealer_took_never_moves_though_it_failed",
    ),
)


def _partial(dealer: str, path: str, old: str, new: str, *tests: str) -> Safeguard:
    without = "one recipient's answer is every recipient's"
    return _one(f"partial acceptance: {dealer}", without, f"shared/dealers/{path}", old, new, *tests)


def _key(dealer: str, path: str, old: str, new: str, *tests: str) -> Safeguard:
    without = "a lost answer can never be resolved there"
    return _one(f"request key on the wire: {dealer}", without, f"shared/dealers/{path}", old, new, *tests)


def _failover(dealer: str, path: str, old: str, new: str, *tests: str) -> Safeguard:
    without = "the dealer texts by itself, and so do we"
    return _one(f"the dealer's own failover is off: {dealer}", without, f"shared/dealers/{path}", old, new, *tests)


ADAPTERS = (
    _one(
        "the request key is an attempt's own",
        "every try of a message has one key, and a dealer takes a retry for the try before",
        "shared/contracts/keys.py",
        "_LETTERS[channel] + _written(generation)",
        "_LETTERS[channel] + _written(1)",
        "tests/unit/ledger/test_book.py",
    ),
    _key(
        "solapi",
        "solapi/content.py",
        '        "customFields": {KEY_FIELD: outgoing.request_key},\n',
        "",
        f"{DEALERS}/test_solapi_golden.py",
    ),
    _key(
        "nhn",
        "nhn/wire.py",
        '    recipient["recipientGroupingKey"] = outgoing.request_key\n',
        "",
        f"{DEALERS}/nhn/test_nhn_golden.py",
    ),
    _key(
        "luna",
        "luna/wire.py",
        '        "message_key": outgoing.request_key,',
        '        "message_key": "",',
        f"{DEALERS}/luna/test_luna_golden.py",
    ),
    _key("bizgo", "bizgo/content.py", '        "idempotencyKey": key,\n', "", f"{DEALERS}/bizgo/test_bizgo_golden.py"),
    _key(
        "popbill",
        "popbill/wire.py",
        '        "requestnum": outgoing.request_key,\n',
        "",
        f"{DEALERS}/popbill/test_popbill_golden.py",
    ),
    _key(
        "bizppurio",
        "bizppurio/wire.py",
        '        "refkey": outgoing.request_key,\n',
        "",
        f"{DEALERS}/bizppurio/test_bizppurio_golden.py",
    ),
    _key(
        "gabia",
        "gabia/wire.py",
        '        "refkey": outgoing.request_key,\n',
        "",
        f"{DEALERS}/gabia/test_gabia_golden.py",
    ),
    _partial(
        "solapi",
        "solapi/adapter.py",
        '        if meaning.delivered is False:\n            return Refused(meaning.reason or "unknown", item.code',
        '        if False:\n            return Refused(meaning.reason or "unknown", item.code',
        f"{DEALERS}/test_solapi_send.py::test_each_recipient_is_refused_by_its_own_code",
    ),
    _partial(
        "nhn",
        "nhn/adapter.py",
        '        if told.code != "0":\n',
        "        if False:\n",
        f"{DEALERS}/nhn/test_nhn_answers.py::test_acceptance_is_per_recipient",
    ),
    _partial(
        "sens",
        "sens/adapter.py",
        '        if code == "A000" and not said_failed:\n',
        "        if code:\n",
        f"{DEALERS}/sens/test_sens_sandbox.py::test_chance_refuses_single_messages",
    ),
    _partial(
        "aligo",
        "aligo/adapter.py",
        "        case (taken, 0 | None) if taken == n:\n",
        "        case (taken, _) if taken:\n",
        f"{DEALERS}/aligo/test_aligo_answers.py::test_what_a_count_says",
    ),
    _failover(
        "solapi",
        "solapi/content.py",
        '        "disableSms": True,\n    }\n',
        "    }\n",
        f"{DEALERS}/test_solapi_golden.py",
    ),
    _failover(
        "nhn",
        "nhn/wire.py",
        '_NO_FAILOVER = {"isResend": False}',
        '_NO_FAILOVER = {"isResend": True}',
        f"{DEALERS}/nhn/test_nhn_golden.py",
    ),
    _failover(
        "aligo", "aligo/wire.py", '("failover", "N")', '("failover", "Y")', f"{DEALERS}/aligo/test_aligo_golden.py"
    ),
    _failover(
        "popbill",
        "popbill/wire.py",
        '        "altSendType": None,\n        "msgs": [message],',
        '        "altSendType": "C",\n        "msgs": [message],',
        f"{DEALERS}/popbill/test_popbill_golden.py",
    ),
)

AROUND = (
    _one(
        "an event is taken in once",
        "an event that is sent twice makes two messages",
        INGEST,
        "        WHERE event_id IN (SELECT event_id FROM taken)\n",
        "",
        "tests/integration/ingest/test_intake.py::test_the_same_event_again_answers_with_the_first_messages",
    ),
    _one(
        "a batch is written in its order",
        "the groups of a batch are written at once",
        "services/ingest/handlers.py",
        """            for start in range(0, len(submissions), _TOGETHER):
                group = submissions[start : start + _TOGETHER]
                outcomes = await self.groups.submit_together([each for _, each in group])
                answers |= {n: _of_batch(outcome) for (n, _), outcome in zip(group, outcomes, strict=True)}
""",
        """            waits = []
            for start in reversed(range(0, len(submissions), _TOGETHER)):
                group = submissions[start : start + _TOGETHER]
                waits.append((group, asyncio.ensure_future(self.groups.submit_together([each for _, each in group]))))
            for group, wait in waits:
                answers |= {n: _of_batch(outcome) for (n, _), outcome in zip(group, await wait, strict=True)}
""",
        "tests/e2e/test_batches.py::test_messages_to_one_person_stand_in_the_order_of_their_events",
    ),
    _one(
        "a body comes at a least pace",
        "a client that trickles keeps its place",
        "shared/http/body.py",
        "            async with asyncio.timeout(min(left, bodies.grace_seconds)):",
        "            async with asyncio.timeout(bodies.grace_seconds if left else None):",
        "tests/unit/http/test_body.py::test_one_that_trickles_is_let_go_and_a_far_one_is_not",
    ),
    _one(
        "an Idempotency-Key replays its answer",
        "a repeated request is a new one",
        INGEST,
        "        if each.claim and each.claim.key in before",
        "        if each.claim and each.claim.key in before and False",
        "tests/integration/ingest/test_intake.py::test_the_same_key_replays_the_same_bytes",
    ),
    _one(
        "an Idempotency-Key belongs to one body",
        "another request under a used key gets the answer to the first",
        INGEST,
        "    return Replayed(response) if request == claim.request else KeyReused()",
        "    return Replayed(response)",
        "tests/integration/ingest/test_intake.py::test_a_key_under_another_body_keeps_nothing",
    ),
    Safeguard(
        "offsets after the work",
        "a batch whose handler died is never read again",
        (
            Change(
                "shared/bus/loop.py",
                "        good, poison = _decode(batch, decode)\n",
                "        await _commit(source, batch)\n        good, poison = _decode(batch, decode)\n",
            ),
            Change(
                "shared/bus/loop.py",
                "                reason=each.reason,\n            )\n        await _commit(source, batch)\n",
                "                reason=each.reason,\n            )\n",
            ),
        ),
        ("tests/unit/bus/test_loop.py::test_an_error_of_the_handler_goes_through_uncommitted",),
    ),
    Safeguard(
        "the relay's cursor after the broker",
        "records that the broker did not take are passed over",
        (
            Change(
                "shared/bus/relay.py",
                "            await producer.publish(await _batches(producer, page.entries))\n"
                "            cursor = await _move(bus, cursor, page.entries[-1].place)\n",
                "            cursor = await _move(bus, cursor, page.entries[-1].place)\n"
                "            await producer.publish(await _batches(producer, page.entries))\n",
            ),
        ),
        ("tests/integration/bus/test_ledger_order.py::test_a_broker_that_dies_before_it_took_a_batch_gets_it_again",),
    ),
    _one(
        "what has not ended is not dropped",
        "a week goes by its age, with messages that wait in it",
        RETENTION,
        "        if (message := await not_ended(connection, week)) is not None:",
        "        if (message := await not_ended(connection, week)) is not None and False:",
        f"{FORGETTING}::test_a_week_is_kept_while_a_message_of_it_has_not_ended",
    ),
    _one(
        "what was not read is not dropped",
        "changes go that a reader of the ledger has not come to, and are never counted or published",
        RETENTION,
        "        if await is_unread(connection, week):",
        "        if await is_unread(connection, week) and False:",
        f"{FORGETTING}::test_a_week_is_kept_until_every_reader_has_read_it",
    ),
    _one(
        "figures outlive what they count",
        "a week goes without having been counted for good, and a recount lacks it",
        RETENTION,
        "                    await count_for_good(transaction, week, now=self.clock.now())",
        "                    pass",
        f"{FORGETTING}::test_the_statistics_of_a_dropped_week_stay_and_can_be_recounted",
    ),
    _one(
        "looked at again once nothing changes",
        "a change that came in while a week was being detached goes with it",
        RETENTION,
        "                if not await self._is_over(connection, week):  # a change that came in between",
        "                if False:",
        f"{FORGETTING}::test_a_change_that_comes_while_a_week_leaves_brings_it_back",
    ),
    _one(
        "the ledger's order",
        "a reader passes rows of transactions that commit late, and never sees them",
        "shared/bus/ledger.py",
        "          AND t.xid < pg_snapshot_xmin(pg_current_snapshot())\n",
        "",
        "tests/integration/bus/test_ledger_order.py",
    ),
    _one(
        "what is due: one replica at a time",
        "two replicas part what one moment brings, and a person's second message is queued before the first",
        "services/dispatcher/handlers.py",
        '            if not await is_alone(connection, f"due/{self.lane}"):',
        "            if False:",
        f"{SENDING}/test_survival.py::test_replicas_do_not_part_what_is_due_at_one_moment",
    ),
)

_WINDOWS = f"{ADMISSION}::test_no_window_ever_holds_more_than_the_limit"
_FLOORS = f"{ADMISSION}::test_what_someone_more_urgent_waits_for_is_left_to_it_down_to_a_floor"

LIMIT = (
    _one(
        "a row is written once for each reading",
        "two replicas that read the same are both given the last room",
        "shared/sending/limit_store.py",
        "    WHERE dealer = $1 AND version = $2\n",
        "    WHERE dealer = $1 AND $2::bigint IS NOT NULL\n",
        f"{SENDING}/test_limits.py::test_two_that_read_the_same_are_not_both_granted",
    ),
    _one(
        "what is uncertain of a call",
        "a call that arrived late counts as if it had arrived early",
        LOG,
        "        until = min(ended.end, now) - early + WINDOW + MARGIN\n",
        "        until = ended.at + WINDOW + MARGIN\n",
        _WINDOWS,
    ),
    _one(
        "calls that are out",
        "a call counts only when it came back",
        "shared/sending/admission.py",
        "            self._held[grant.rank] += amount\n",
        "",
        _WINDOWS,
    ),
    _one(
        "a path is measured before it is believed",
        "the first call says how long the way is",
        LOG,
        "        if self.calls < ENOUGH_CALLS:\n",
        "        if False:\n",
        f"{ADMISSION}::test_the_least_duration_is_believed_after_some_calls_and_forgotten_after_some_time",
    ),
    _one(
        "room for who is more urgent",
        "a campaign takes what a code waits for",
        "shared/sending/admission.py",
        "        urgent = sum(self._wants[: self._rank])\n",
        "        urgent = 0\n",
        _FLOORS,
    ),
    _one(
        "a floor for who waits",
        "a lane starves while a more urgent one has a backlog",
        "shared/sending/admission.py",
        "        room = max(free - urgent - floors, own) - self._before_me\n",
        "        room = free - urgent - self._before_me\n",
        _FLOORS,
    ),
    _one(
        "pieces of a limit",
        "a campaign takes a whole second at once, and a code waits for the next",
        "shared/sending/admission.py",
        "            piece = self._piece if room >= self._piece + self._worth else room\n",
        "            piece = room\n",
        f"{ADMISSION}::test_lanes_that_can_wait_take_a_tenth_at_a_time_and_codes_all",
    ),
    _one(
        "a clock that is set back",
        "the row's time goes back with it, and all counts for as much longer",
        "shared/sending/row_clock.py",
        "    now = max(now, log.told)\n",
        "",
        _CLOCK,
    ),
    _one(
        "a clock that is set forward",
        "all windows are over at once",
        "shared/sending/row_clock.py",
        "        now = min(now, received + reading.widened(received).high)\n",
        "        pass\n",
        _CLOCK,
    ),
    _one(
        "a dealer that has enough",
        "its 429 pauses nobody",
        "shared/sending/limits.py",
        "            if pause is not None and pause > now:\n",
        "            if False:\n",
        f"{SENDING}/test_limits.py::test_a_pause_holds_for_all_replicas_and_is_never_shortened",
    ),
)

WAITING = (
    _one(
        "draw with the claim",
        "a crash between a draw and its claim loses what was drawn",
        SENDER,
        "            brought = await jobs(connection)\n",
        "            async with self.engine.begin() as apart:\n                brought = await jobs(apart)\n",
        f"{SENDING}/test_lanes.py::test_a_crash_at_any_step_of_the_backlog_loses_nothing_and_doubles_nothing",
    ),
    _one(
        "put away before the commit",
        "the bus forgets jobs that wait for tokens and stand nowhere",
        LANES,
        "                await put_away(connection, late)\n",
        "                pass\n",
        f"{SENDING}/test_lanes.py::test_a_handler_returns_once_all_is_claimed_or_put_away",
    ),
    _one(
        "bounded calls",
        "a slow dealer has as many calls under way as there are jobs",
        LANES,
        "        return self.sender.config.dealers[line.dealer].limits.calls\n",
        "        return 1000\n",
        f"{SENDING}/test_lanes.py::test_no_more_calls_are_under_way_than_allowed",
    ),
    _one(
        "errors of the background",
        "a call that died in the background is noticed by nobody",
        LANES,
        "            self._errors.append(error)\n",
        "",
        f"{SENDING}/test_lanes.py::test_what_a_background_call_dies_of_ends_the_process",
    ),
    _one(
        "profiles take turns",
        "one shop's campaign holds another's messages",
        "shared/sending/backlog.py",
        "share_out(rest, shares, turn)",
        "share_out(rest, dict.fromkeys(sorted(shares)[:1], 1), turn)",
        f"{SENDING}/test_lanes.py::test_one_shops_5000_do_not_hold_anothers_ten",
    ),
    _one(
        "codes expire while they wait",
        "a code is sent an hour late, when the dealer wants messages again",
        "shared/sending/backlog.py",
        "WHERE deadline <= :now ORDER",
        "WHERE false AND deadline <= :now ORDER",
        f"{SENDING}/test_lanes.py::test_a_code_that_waits_past_its_life_expires_though_no_token_comes",
    ),
)

SAFEGUARDS = (*CLAIM, *WAITING, *DOUBT, *RECEIVED, *ROUTES, *ADAPTERS, *AROUND, *LIMIT)
