"""Tells what happened to a message in plain words (promise P12). No I/O."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from shared.clock import SEOUL
from shared.contracts.states import AttemptState, MessageState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.ingest.reading import Step, Story

_CHANNELS = {"alimtalk": "AlimTalk", "friendtalk": "brand message", "sms": "SMS", "lms": "LMS", "mms": "MMS"}

_REASONS = {
    "not_kakao_user": "the number has no KakaoTalk",
    "inactive_kakao_user": "KakaoTalk cannot reach this person now (long unused, or the phone was changed)",
    "blocked_channel": "the person has blocked this channel or AlimTalk",
    "unsupported_client": "the person's KakaoTalk is too old",
    "safe_number": "a 050 safe number gets no AlimTalk",
    "invalid_phone": "the phone number does not exist",
    "template_not_found": "the dealer does not know the template",
    "template_not_approved": "Kakao has not approved the template, or stopped it",
    "template_mismatch": "the text differs from the template that Kakao approved",
    "button_mismatch": "the buttons differ from the template that Kakao approved",
    "content_too_long": "the text is too long for the channel",
    "sender_profile_invalid": "the sender key is wrong or not configured",
    "sender_profile_blocked": "Kakao has blocked the sender's channel",
    "sender_number_unregistered": "the sender number is not registered with the dealer",
    "no_balance": "the account at the dealer has no money left",
    "quota_exceeded": "the account's quota is used up",
    "rate_limited": "the dealer was asked too fast",
    "dealer_unavailable": "the dealer could not take it",
    "dealer_error": "the dealer failed",
    "kakao_unavailable": "Kakao was not available",
    "delivery_uncertain": "nobody knows whether it arrived",
    "result_timeout": "no receipt came in time",
    "expired": "its deadline passed before it could be sent",
    "cancelled": "it was cancelled",
    "frequency_cap": "the person has had as many messages as a cap allows",
    "spam_blocked": "a spam filter stopped it",
    "opted_out": "the person does not want such messages",
    "handset_unreachable": "the phone was off, busy or out of coverage",
    "no_subscriber": "the number is not in service",
    "receipts_silent": "receipts have stopped coming",
    "unknown": "the dealer gave a code that bongsu does not know",
}

_WAITS = {
    "send_at": "its rule sends it at a moment that the event names",
    "delay": "its rule sends it after a delay",
    "hours": "its rule sends it within certain hours of the day",
    "quiet_hours": "of hours of rest, in which nobody is disturbed",
    "order": "an earlier message to the same person goes first",
    "taken_late": "the dealer, who had searched for it in vain, says now that it took it: its word is awaited",
}

_STOPPED = {
    "dealer": "the dealer {dealer} is stopped for everybody",
    "profile": "this profile's channel is stopped at {dealer}",
    "sender": "this profile's sender number is stopped at {dealer}",
    "template": "its template is stopped at {dealer}",
    "receipts": "no receipts come from {dealer}, and a campaign is not sent blind",
}

_NO_FALLBACK = {
    "profile_without_text": "the profile has no SMS sender number",
    "unknown_profile": "the profile is not configured any more",
    "forgotten": "what should have decided on it was lost",
}


def in_seoul(moment: datetime | str) -> str:
    """Return a time as people in Korea read it."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return f"{moment.astimezone(SEOUL):%Y-%m-%d %H:%M:%S} (Seoul)"


def reason_in_words(reason: str | None) -> str:
    """Return what a reason of our taxonomy means."""
    if reason is None:
        return "no reason was given"
    return _REASONS.get(reason, reason.replace("_", " "))


class Entry(NamedTuple):
    """An entry of the timeline."""

    at: datetime
    state: str
    detail: str


def timeline(story: Story) -> Iterator[Entry]:
    """Yield what happened. The first row of a message says two things: that it was accepted, and its first state."""
    for step in story.steps:
        if step.was is None:
            yield Entry(step.at, MessageState.ACCEPTED, _accepted(step))
        yield Entry(step.at, step.state, detail_of(step))


def detail_of(step: Step) -> str:
    """Return what happened in one step, in sentences."""
    return " ".join(_sentences(step))


def explain(story: Story) -> str:
    """Return the whole story as a few sentences: why it was made, why it went as it did, where it stands."""
    born = [_accepted(step) for step in story.steps if step.was is None]
    told = [detail_of(step) for step in story.steps if not _is_small(step)]
    return " ".join([*born, *told, _standing(story)])


def _is_small(step: Step) -> bool:
    """Return whether the summary can do without ``step``: it says no more than the next one."""
    return step.state == MessageState.SENDING or (
        step.state == MessageState.QUEUED
        and step.attempt is None
        and not step.detail.keys() & {"fallback_after", "stop", "images"}
    )


def _standing(story: Story) -> str:
    summary = story.summary
    cost = f" It has cost {summary.cost_krw:,} KRW." if summary.cost_krw else " It has cost nothing."
    match summary.state:
        case MessageState.DELIVERED:
            last = "The person has it."
        case MessageState.FAILED if summary.final:
            last = "The person has not got it, and nothing more is tried."
        case MessageState.FAILED:
            last = "Whether a text follows is being decided."
        case MessageState.SENT:
            last = "The dealer has it, and its receipt is awaited."
        case MessageState.UNCERTAIN:
            last = "The dealer is being asked what became of it."
        case MessageState.SCHEDULED if summary.due_at is not None:
            last = f"It waits until {in_seoul(summary.due_at)}."
        case MessageState.QUEUED:
            last = f"It waits for its turn on the {summary.lane} lane."
        case MessageState.SENDING:
            last = "It is being handed to the dealer."
        case _:
            last = "Nothing more happens to it."
    return last + cost


def _sentences(step: Step) -> Iterator[str]:
    if "leg_of" in step.detail:
        yield _leg(step)
    elif step.attempt_state is not None and step.attempt_was is not None and step.was == step.state:
        yield _attempt_alone(step)
    else:
        yield _move(step)
    if step.detail.get("double_contact"):
        yield "The person has it twice now, over two channels: an earlier attempt was delivered late."
    if (said := step.detail.get("said")) and isinstance(said, str):
        yield f'The dealer said: "{said}".'
    if isinstance(told := step.detail.get("by_hand"), dict):
        words = str(told.get("as")).replace("-", " ")
        yield f'That was said by hand: {told.get("by")} ended the doubt as {words}, because "{told.get("why")}".'


def _attempt_alone(step: Step) -> str:
    about = f"Attempt {step.attempt} over {_channel(step)}"
    return f"News of an earlier try: {about} is {step.attempt_state}{_code(step)}; the message stays {step.state}."


def _leg(step: Step) -> str:
    told = f"The dealer followed attempt {step.detail['leg_of']} by a message of its own over {_channel(step)}"
    if step.attempt_state == AttemptState.DELIVERED:
        return f"{told}, which was delivered, as was learnt at {in_seoul(step.at)}{_code(step)}."
    return f"{told}, which failed: {reason_in_words(step.reason)}{_code(step)}."


def _move(step: Step) -> str:
    teller = _TELLERS.get(step.state)
    return f"It became {step.state}: {reason_in_words(step.reason)}." if teller is None else teller(step)


def _attempt(step: Step) -> str:
    return f"Attempt {step.attempt} over {_channel(step)} through {step.dealer}"


def _attempt_failed(step: Step) -> str:
    return f"{_attempt(step)} failed: {reason_in_words(step.reason)}{_code(step)}."


def _scheduled(step: Step) -> str:
    until = in_seoul(step.detail["due_at"]) if "due_at" in step.detail else "later"
    if "held_by" in step.detail:
        return _held(step, until)
    if "moved_to" in step.detail:
        return f"{_attempt_failed(step)} It moves to another dealer, {step.detail['moved_to']}."
    if step.attempt_state == AttemptState.FAILED:
        return f"{_attempt_failed(step)} It is tried again at {until}."
    because = _WAITS.get(str(step.detail.get("why")), "it is not its time yet")
    return f"{_after_kakao(step)}It waits until {until}, because {because}."


def _held(step: Step, until: str) -> str:
    if step.detail.get("why") == "not_approved":
        return (
            "It is held, because no dealer of its profile has approved its template. It goes on once one has, "
            f"and expires at {until}."
        )
    failed = f"{_attempt_failed(step)} " if step.attempt_state == AttemptState.FAILED else ""
    stop = str(step.detail["held_by"])
    why = _stopped(stop, step)
    over = "somebody resumes it" if stop.startswith("pause/") else "somebody mends that or a probe succeeds"
    goes_on = f"It goes on once {over}, and expires at {until}."
    return f"{failed}{_after_kakao(step)}It is held, because {why}. {goes_on}"


def _stopped(stop: str, step: Step) -> str:
    scope, _, rest = stop.partition("/")
    if scope == "pause":
        what, _, name = rest.partition("/")
        return f"somebody paused the {what} {name}"
    words = _STOPPED.get(scope, "{dealer} is stopped").format(dealer=rest.partition("/")[0])
    reason = step.detail.get("stopped_for") or step.reason
    return f"{words} ({reason_in_words(str(reason))})" if reason else words


def _queued(step: Step) -> str:
    way = f"to go by {_channel(step)} through {step.dealer}"
    if step.detail.get("why") == "stopped":
        return f"It took another way, because {_stopped(str(step.detail.get('stop')), step)}; it stands in line, {way}."
    if step.detail.get("why") == "not_approved":
        return f"Its template is not approved at {step.detail.get('dealer')}: it stands in line, {way}."
    if step.detail.get("why") == "route_gone":
        return f"The profile's route through {step.detail.get('dealer')} was taken out: it stands in line, {way}."
    if step.detail.get("why") == "not_brought":
        return f"{step.detail.get('dealer')} does not bring it: it stands in line, {way}."
    if step.detail.get("images") == "refused":
        return f"The dealer refused its images, so it goes without them; it stands in line, {way}."
    return f"{_after_kakao(step)}It stands in line, {way}."


def _uncertain(step: Step) -> str:
    if step.detail.get("why") == "unconfirmed":
        return f"{_attempt(step)}: Kakao sent it and has no confirmation{_code(step)}; it may yet arrive."
    return f"{_attempt(step)}: the dealer may have it or not. It is asked, and nothing is sent again meanwhile."


def _accepted(step: Step) -> str:
    facts = step.detail
    if "rule" not in facts:
        return f"It was accepted at {in_seoul(step.at)}."
    told = (
        f"An event {facts.get('event_type')} came at {in_seoul(step.at)}, and the rule {facts['rule']} "
        f"(revision {facts.get('rule_revision')}) made this message of it, from the template {facts.get('template')} "
        f"(revision {facts.get('template_revision')})."
    )
    if (why := facts.get("no_fallback")) is not None:
        told += f" No text can follow it: {_NO_FALLBACK.get(why, why)}."
    return told


def _failed(step: Step) -> str:
    if (why := step.detail.get("no_fallback")) is not None:
        words = _NO_FALLBACK.get(str(why), str(why).replace("_", " "))
        return f"No text follows ({words}): {reason_in_words(step.reason)}."
    if step.detail.get("why") == "not_brought":
        return "It failed: no dealer of its profile brings such a message."
    if step.attempt is None:
        return f"It failed: {reason_in_words(step.reason)}."
    return _attempt_failed(step)


def _suppressed(step: Step) -> str:
    if "cap" not in step.detail:
        return f"It is not sent: {reason_in_words(step.reason)}."
    return (
        f"It is not sent, because the person has had as many messages as a cap allows: {step.detail['cap']}. "
        f"That cap has room again from {in_seoul(str(step.detail['opens']))}."
    )


def _after_kakao(step: Step) -> str:
    reason = step.detail.get("fallback_after")
    if reason is None:
        return ""
    without = ", without its images, which that dealer does not bring" if "images" in step.detail else ""
    return f"As Kakao could not bring it ({reason_in_words(str(reason))}), it goes by {_channel(step)}{without}. "


def _channel(step: Step) -> str:
    return _CHANNELS.get(step.channel or "", step.channel or "no channel")


def _code(step: Step) -> str:
    return f" (code {step.code})" if step.code else ""


_TELLERS: dict[str, Callable[[Step], str]] = {
    MessageState.SCHEDULED: _scheduled,
    MessageState.QUEUED: _queued,
    MessageState.SENDING: lambda s: f"{_attempt(s)} is written down, and the dealer is called.",
    MessageState.UNCERTAIN: _uncertain,
    MessageState.SENT: lambda s: (
        f"{_attempt(s)} was taken by the dealer at {in_seoul(s.at)}; that is not yet delivered."
    ),
    MessageState.DELIVERED: lambda s: f"{_attempt(s)} was delivered, as was learnt at {in_seoul(s.at)}{_code(s)}.",
    MessageState.FAILED: _failed,
    MessageState.SUPPRESSED: _suppressed,
    MessageState.EXPIRED: lambda s: (
        f"It expired at {in_seoul(s.at)}: {reason_in_words('expired')}."
        + (" What should have sent it was lost." if s.detail.get("why") == "forgotten" else "")
    ),
    MessageState.CANCELLED: lambda s: (
        f"It was cancelled at {in_seoul(s.at)}, before it was sent"
        + (f", with others (cancellation {s.detail['cancellation']})." if "cancellation" in s.detail else ".")
    ),
}
