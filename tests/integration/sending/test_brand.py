"""A brand message goes through a dealer that brings it, in its hours, and nothing follows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalog.images import hash_of
from shared.catalog.repository import save_images, save_templates
from shared.catalog.template import Template
from shared.config import Config
from shared.contracts.states import Category, Channel
from shared.crypto import Vault
from shared.dealers.base import (
    BrandMessage,
    Button,
    Capabilities,
    ImageUse,
    LookupMeans,
    NotTaken,
    Outgoing,
    Refused,
    SendResult,
    Uploaded,
)
from tests.integration.sending.world import FakeDealer, HandClock, Insert, World, build

JPEG = b"\xff\xd8\xff" + b"sale"
HASH = hash_of(JPEG)
BRAND: dict[str, Any] = {
    "template": "SALE",
    "channel": Channel.FRIENDTALK,
    "category": Category.ADVERTISING,
    "fallback": "none",
}


@dataclass
class BrandDealer(FakeDealer):
    """A dealer of brand messages; ``images`` of them too, if told so."""

    lookup_means: LookupMeans = LookupMeans.BY_KEY
    brand: bool = True
    images: bool = True
    sent: tuple[Outgoing, ...] = ()

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]  # tests change what it can do
        can = super().capabilities
        uploads = frozenset({ImageUse.BRAND}) if self.images else frozenset[ImageUse]()
        channels = frozenset({Channel.ALIMTALK, *([Channel.FRIENDTALK] if self.brand else [])})
        return replace(can, channels=channels, uploads=uploads)

    async def upload(self, use: ImageUse, name: str, image: bytes) -> Uploaded | Refused | NotTaken:
        if not self.images:
            return await super().upload(use, name, image)
        return Uploaded(f"{self.name}:{use}")

    def _take(self, outgoing: Outgoing) -> SendResult:
        self.sent = (*self.sent, outgoing)
        return super()._take(outgoing)


@pytest.fixture
def dealer() -> BrandDealer:
    return BrandDealer()


@pytest.fixture
def other() -> BrandDealer:
    return BrandDealer(name="nhn")


@pytest.fixture
def config(config: Config) -> Config:
    body = config.model_dump(by_alias=True)
    body["dealers"]["nhn"] = {**body["dealers"]["solapi"], "kind": "nhn"}
    body["profiles"]["shop"]["routes"] = [
        {"dealer": "solapi", "sender_key": "KEY"},
        {"dealer": "nhn", "sender_key": "OTHER"},
    ]
    body["profiles"]["shop"]["quiet_hours"] = {}
    return Config.model_validate(body)


@pytest.fixture
async def world(
    database: AsyncEngine,
    dealer: BrandDealer,
    other: BrandDealer,
    config: Config,
    vault: Vault,
    clock: HandClock,
) -> World:
    body = {
        "code": "SALE",
        "kind": "brand",
        "text": "#{name}님, 세일",
        "image": {"file": "sale.jpg", "sha256": HASH},
        "buttons": [{"kind": "WL", "name": "보기", "url_mobile": "https://shop.example.kr/"}],
    }
    async with database.begin() as connection:
        await save_images(connection, {HASH: JPEG}, now=clock.now())
        await save_templates(connection, [Template.model_validate(body)], now=clock.now())
    return build(database, dealer, config, vault, clock, other)


async def test_it_goes_with_its_image_as_that_dealer_calls_it(
    world: World, insert: Insert, dealer: BrandDealer
) -> None:
    [message] = await insert(**BRAND)
    await world.send(await world.jobs())
    assert [(each.channel, each.content) for each in dealer.sent] == [
        (
            Channel.FRIENDTALK,
            BrandMessage(
                sender_key="KEY",
                text="김하나님, 세일",
                buttons=(Button("WL", "보기", url_mobile="https://shop.example.kr/"),),
                image="solapi:brand",
                sender="0212345678",
            ),
        )
    ]
    assert (await world.message(message))["state"] == "sent"


@pytest.mark.parametrize("lacks", ["brand", "images"])
async def test_it_takes_the_route_whose_dealer_brings_it(
    world: World, insert: Insert, dealer: BrandDealer, other: BrandDealer, lacks: str
) -> None:
    setattr(dealer, lacks, False)
    [message] = await insert(**BRAND)
    for _ in range(2):
        await world.send(await world.jobs())
    assert dealer.sent == ()
    [sent] = other.sent
    assert isinstance(sent.content, BrandMessage)
    assert (sent.content.sender_key, sent.content.image) == ("OTHER", "nhn:brand")
    assert [s["detail"] for s in await world.timeline(message) if s["detail"]] == [
        {"why": "not_brought", "dealer": "solapi"}
    ]


async def test_it_fails_where_no_dealer_brings_it(
    world: World, insert: Insert, dealer: BrandDealer, other: BrandDealer
) -> None:
    dealer.brand = other.brand = False
    [message] = await insert(**BRAND)
    await world.send(await world.jobs())
    row = await world.message(message)
    assert (row["state"], row["final"], row["reason"]) == ("failed", True, "not_permitted")


async def test_after_a_failure_of_its_dealer_it_does_not_move_to_one_that_brings_none(
    world: World, insert: Insert, dealer: BrandDealer, other: BrandDealer
) -> None:
    other.brand = False
    dealer.answer = lambda _: Refused("no_balance", "1")
    [message] = await insert(**BRAND)
    await world.send(await world.jobs())
    row = await world.message(message)
    assert (row["state"], row["final"], row["dealer"]) == ("failed", True, "solapi")


async def test_it_rests_at_night(world: World, insert: Insert, dealer: BrandDealer) -> None:
    """P6: planned by day, its turn came after eight in the evening."""
    [message] = await insert(**BRAND)
    jobs = await world.jobs()
    world.clock.pass_(hours=8, minutes=1)
    await world.send(jobs)
    row = await world.message(message)
    assert (row["state"], row["due_at"]) == ("scheduled", world.clock.now() + timedelta(hours=11, minutes=59))
    assert dealer.sent == ()
