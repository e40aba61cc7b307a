"""Sends jobs one call after the other, for tests that look at one step at a time.

What does it in production is ``Lanes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, takewhile

from shared.sending.sender import Given, Job, Sender, together


async def send_in_turn(sender: Sender, jobs: Sequence[Job]) -> None:
    """Make the attempts that ``jobs`` ask for, in their order at each dealer, and see each call through."""
    if unknown := [job for job in jobs if job.dealer not in sender.dealers]:
        await sender.turn_away(Given(unknown))
    known = [job for job in jobs if job.dealer in sender.dealers]
    dealers = dict.fromkeys(job.dealer for job in known)
    await together(_through(sender, [job for job in known if job.dealer == dealer]) for dealer in dealers)


async def _through(sender: Sender, jobs: Sequence[Job]) -> None:
    rest = list(jobs)
    while rest:
        run = _first_call(sender, rest)
        first = run[0]
        async with sender.limits.take(
            first.dealer,
            len(run),
            first.lane,
            channel=first.channel,
            profile=first.profile,
            one_by_one=sender.is_one_by_one(first.dealer),
        ) as taken:
            given = Given(run[: taken.n])
            taken.used = await sender.attempt(sender.dealers[first.dealer], first.channel, given, taken)
        rest = rest[taken.n :]


def _first_call(sender: Sender, jobs: Sequence[Job]) -> list[Job]:
    """Return as many of the first of ``jobs`` as one call can carry."""

    def kind(job: Job) -> tuple[object, ...]:
        return job.channel, job.lane, job.profile if sender.limits.by_profile(job.dealer) else None

    alike = takewhile(lambda job: kind(job) == kind(jobs[0]), jobs)
    return list(islice(alike, sender.batch_of(jobs[0].dealer)))
