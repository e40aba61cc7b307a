"""The text that follows an AlimTalk brings its images where its dealer does, and goes without them elsewhere."""

from __future__ import annotations

import pytest

from services.fallback.handlers import DecideFallback, SendTexts
from shared.bus import Received, Record
from shared.catalog.images import hash_of
from shared.catalog.repository import save_images, save_templates
from shared.catalog.template import Template
from shared.contracts.delivery import Delivery
from shared.contracts.states import Category, Channel, Lane, MessageState
from shared.dealers.base import Refused, Text
from shared.ids import MessageId, PersonId
from tests.integration.sending.test_uploads import JPEG, ImageDealer
from tests.integration.sending.world import Insert, World

HASH = hash_of(JPEG)


@pytest.fixture
def dealer() -> ImageDealer:
    return ImageDealer()


async def _last(world: World, message: MessageId) -> Received[Delivery]:
    [row] = await world.rows(
        """
        SELECT t.*, t.xid::text AS xid, m.person_id, m.profile, m.rule, m.template, m.category
        FROM transitions t JOIN messages m ON m.id = t.message_id
        WHERE t.message_id = :id ORDER BY t.seq DESC LIMIT 1
        """,
        id=message,
    )
    delivery = Delivery(
        message_id=MessageId(row["message_id"]),
        person_id=PersonId(row["person_id"]),
        seq=row["seq"],
        xid=int(row["xid"]),
        position=row["position"],
        at=row["at"],
        state=MessageState(row["state"]),
        final=row["final"],
        profile=row["profile"],
        rule=row["rule"],
        template=row["template"],
        lane=Lane(row["lane"]),
        category=Category(row["category"]),
        channel=Channel(row["channel"]),
        dealer=row["dealer"],
    )
    return Received(Record("t", 0, 0, None, b""), delivery)


@pytest.mark.parametrize(
    ("brings", "channel", "images", "why"),
    [(True, Channel.MMS, ("F1",), {}), (False, Channel.SMS, (), {"images": "not_at_this_dealer"})],
)
async def test_a_text_brings_its_images_where_its_dealer_does(
    world: World,
    insert: Insert,
    dealer: ImageDealer,
    *,
    brings: bool,
    channel: Channel,
    images: tuple[str, ...],
    why: dict[str, str],
) -> None:
    body = {"code": "C", "text": "#{name}님", "text_message": "#{name} 쿠폰", "images": [{"file": "a", "sha256": HASH}]}
    async with world.engine.begin() as connection:
        await save_images(connection, {HASH: JPEG}, now=world.clock.now())
        await save_templates(connection, [Template.model_validate(body)], now=world.clock.now())
    dealer.brings = brings
    dealer.answer = lambda o: Refused("not_kakao_user", "3104") if o.channel is Channel.ALIMTALK else None
    [message] = await insert(template="C")
    await world.send(await world.jobs())

    await DecideFallback(world.engine, world.config, world.vault, world.clock, world.sender.dealers)(
        [await _last(world, message)]
    )
    assert (await world.timeline(message))[-1]["detail"] == {"fallback_after": "not_kakao_user", **why}
    await SendTexts(world.lanes)([await _last(world, message)])
    await world.lanes.idle()
    assert [(each.channel, each.content) for each in dealer.sent if each.channel.is_text] == [
        (channel, Text("0212345678", "김하나 쿠폰", images=images))
    ]
    assert (await world.message(message))["state"] == "sent"
