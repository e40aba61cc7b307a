"""An image is uploaded to a dealer once, refreshed before it forgets it, and a text goes without it where it must."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from shared.catalog.images import hash_of
from shared.catalog.repository import save_images, save_templates
from shared.catalog.template import Template
from shared.contracts.states import Channel
from shared.dealers.base import (
    Capabilities,
    ImageUse,
    LookupMeans,
    NotTaken,
    Outgoing,
    Refused,
    SendResult,
    Text,
    Uploaded,
)
from shared.ids import MessageId
from tests.integration.sending.world import FakeDealer, Insert, World

JPEG = b"\xff\xd8\xff" + b"coupon"
HASH = hash_of(JPEG)


@dataclass
class ImageDealer(FakeDealer):
    """A dealer that takes images."""

    lookup_means: LookupMeans = LookupMeans.BY_KEY
    uploaded: list[tuple[ImageUse, str, bytes]] = field(default_factory=list)
    sent: list[Outgoing] = field(default_factory=list)
    upload_answer: Callable[[], Refused | NotTaken | None] = lambda: None
    brings: bool = True

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]  # tests change what it can do
        can = super().capabilities
        return replace(
            can, channels=frozenset(Channel), mms_images=3 if self.brings else 0, uploads=frozenset(ImageUse)
        )

    async def upload(self, use: ImageUse, name: str, image: bytes) -> Uploaded | Refused | NotTaken:
        self.uploaded.append((use, name, image))
        await asyncio.sleep(0)  # others may come in between
        return self.upload_answer() or Uploaded(f"F{len(self.uploaded)}")

    def _take(self, outgoing: Outgoing) -> SendResult:
        self.sent.append(outgoing)
        return super()._take(outgoing)


@pytest.fixture
def dealer() -> ImageDealer:
    return ImageDealer()


@pytest.fixture
async def pictured(world: World, dealer: ImageDealer) -> ImageDealer:
    """The dealer, with a template ``COUPON`` whose text has an image."""
    body: dict[str, Any] = {
        "code": "COUPON",
        "text": "#{name}님",
        "text_message": "#{name}님 쿠폰",
        "subject": "쿠폰",
        "images": [{"file": "a.jpg", "sha256": HASH}],
    }
    async with world.engine.begin() as connection:
        await save_images(connection, {HASH: JPEG}, now=world.clock.now())
        await save_templates(connection, [Template.model_validate(body)], now=world.clock.now())
    return dealer


async def mms(world: World, insert: Insert, count: int = 1) -> list[MessageId]:
    ids = await insert(count, template="COUPON", channel=Channel.MMS)
    await world.send(await world.jobs())
    return ids


def images_of(dealer: ImageDealer) -> list[tuple[str, ...]]:
    return [each.content.images for each in dealer.sent if isinstance(each.content, Text)]


async def test_an_image_is_uploaded_once_for_all(world: World, insert: Insert, pictured: ImageDealer) -> None:
    ids = await mms(world, insert, 3)
    other = world.replica()
    await mms(other, insert, 2)
    assert [(use, image) for use, _, image in pictured.uploaded] == [(ImageUse.MMS, JPEG)]
    assert images_of(pictured) == [("F1",)] * 5
    assert {each.channel for each in pictured.sent} == {Channel.MMS}
    assert (await world.message(ids[0]))["state"] == "sent"


async def test_batches_at_the_same_time_upload_it_once(world: World, insert: Insert, pictured: ImageDealer) -> None:
    await insert(4, template="COUPON", channel=Channel.MMS)
    jobs = await world.jobs()
    await asyncio.gather(*(world.send([job]) for job in jobs))
    assert len(pictured.uploaded) == 1
    assert images_of(pictured) == [("F1",)] * 4


@pytest.mark.parametrize(("days", "uploads"), [(4, 1), (6, 2)])
async def test_it_is_uploaded_anew_before_the_dealer_forgets_it(
    world: World, insert: Insert, pictured: ImageDealer, days: int, uploads: int
) -> None:
    await mms(world, insert)
    older = "UPDATE dealer_images SET uploaded_at = uploaded_at - CAST(:by AS interval)"
    await world.execute(older, by=timedelta(days=days))
    await mms(world.replica(), insert)
    assert len(pictured.uploaded) == uploads
    assert images_of(pictured)[-1] == (f"F{uploads}",)
    [row] = await world.rows("SELECT dealer, purpose, hash, name FROM dealer_images")
    assert row == {"dealer": "solapi", "purpose": "mms", "hash": bytes.fromhex(HASH), "name": f"F{uploads}"}


async def test_a_text_whose_image_is_refused_goes_as_an_lms(
    world: World, insert: Insert, pictured: ImageDealer
) -> None:
    pictured.upload_answer = lambda: Refused("invalid_attachment", "X")
    [first] = await mms(world, insert)
    assert pictured.sent == []
    [second] = await insert(template="COUPON", channel=Channel.MMS)
    for _ in range(2):
        await world.send(await world.jobs())
    assert len(pictured.uploaded) == 1, "a refusal is remembered for a while"
    assert [(each.channel, each.content) for each in pictured.sent] == [
        (Channel.LMS, Text("0212345678", "김하나님 쿠폰"))
    ] * 2
    for message in (first, second):
        [attempt] = await world.attempts(message)
        assert (attempt["channel"], attempt["state"]) == ("lms", "sent")
        assert [s["detail"] for s in await world.timeline(message) if s["detail"]] == [{"images": "refused"}]


async def test_an_image_that_is_not_kept_does_not_stop_its_text(
    world: World, insert: Insert, pictured: ImageDealer
) -> None:
    await world.execute("DELETE FROM images")
    await mms(world, insert)
    await world.send(await world.jobs())
    assert pictured.uploaded == []
    assert [each.channel for each in pictured.sent] == [Channel.LMS]


async def test_while_an_image_cannot_be_uploaded_its_text_waits(
    world: World, insert: Insert, pictured: ImageDealer
) -> None:
    pictured.upload_answer = lambda: NotTaken("dealer_unavailable")
    [message] = await mms(world, insert)
    assert pictured.sent == []
    row = await world.message(message)
    assert (row["state"], row["channel"]) == ("scheduled", "mms")
    pictured.upload_answer = lambda: None
    await world.execute("UPDATE messages SET state = 'queued', due_at = NULL, seq = seq + 1")
    await world.send(await world.jobs())
    assert images_of(pictured) == [("F2",)]


async def test_a_replay_brings_the_same_image(world: World, insert: Insert, pictured: ImageDealer) -> None:
    pictured.lookup_means = LookupMeans.REPLAY
    pictured.lose = lambda _: True
    [message] = await mms(world, insert)
    assert (await world.message(message))["state"] == "uncertain"
    other = world.replica()
    await other.sender.replay(pictured, [(message, 1)])
    assert [each.request_key for each in pictured.sent] == [pictured.sent[0].request_key] * 2
    assert images_of(pictured) == [("F1",)] * 2
    assert len(pictured.uploaded) == 1
