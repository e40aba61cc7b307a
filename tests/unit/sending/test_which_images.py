"""Which images a message brings, through which dealer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.catalog.template import Template
from shared.contracts.states import Channel
from shared.dealers.base import Capabilities, ImageUse, LookupMeans, NotTaken, Push, Refused, Uploaded
from shared.sending.images import brings_brand, brings_images, trouble_with, wanted_by

CAN = Capabilities(
    channels=frozenset(Channel),
    max_batch=1,
    lookup=LookupMeans.NONE,
    lookup_batch=1,
    not_found_after=timedelta(),
    push=Push.NONE,
    receipts_polled=False,
    receipt_expected_within={},
    receipt_deadline={},
    mms_images=2,
    uploads=frozenset({ImageUse.MMS}),
)
HASHES = ["a" * 64, "b" * 64]
TWO = Template.model_validate(
    {
        "code": "T",
        "text": "글",
        "text_message": "글",
        "images": [{"file": f"{h[0]}.jpg", "sha256": h} for h in HASHES],
    }
)
WANTED = [(ImageUse.MMS, each) for each in HASHES]


def test_images_go_over_mms_alone() -> None:
    assert wanted_by(TWO, Channel.MMS) == WANTED
    assert [wanted_by(TWO, channel) for channel in Channel if channel is not Channel.MMS] == [[]] * 4


@pytest.mark.parametrize(
    ("changed", "brings"),
    [
        pytest.param({}, True, id="all"),
        pytest.param({"mms_images": 1}, False, id="one-of-two-is-none"),
        pytest.param({"uploads": frozenset({ImageUse.BRAND})}, False, id="no-upload"),
        pytest.param({"channels": frozenset({Channel.SMS, Channel.LMS})}, False, id="no-mms"),
    ],
)
def test_a_dealer_brings_all_images_or_none(changed: dict[str, Any], *, brings: bool) -> None:
    assert brings_images(replace(CAN, **changed), TWO) is brings


def test_a_template_without_images_is_no_mms() -> None:
    assert not brings_images(CAN, Template.model_validate({"code": "T", "text": "글", "text_message": "글"}))


@pytest.mark.parametrize(
    ("second", "trouble"),
    [
        (Uploaded("F2"), None),
        (Refused("invalid_attachment", "1"), Refused("invalid_attachment", "1")),
        (NotTaken("dealer_unavailable"), NotTaken("dealer_unavailable")),
    ],
)
def test_one_image_that_is_not_there_is_trouble(
    second: Uploaded | Refused | NotTaken, trouble: Refused | NotTaken | None
) -> None:
    assert trouble_with(WANTED, {WANTED[0]: Uploaded("F1"), WANTED[1]: second}) == trouble


def test_a_refusal_outweighs_a_delay() -> None:
    refused = Refused("invalid_attachment", "1")
    assert trouble_with(WANTED, {WANTED[0]: NotTaken("rate_limited"), WANTED[1]: refused}) == refused
    assert isinstance(trouble_with(WANTED, {}), NotTaken)


@pytest.mark.parametrize(
    ("image", "changed", "brings"),
    [
        pytest.param(None, {}, True, id="text"),
        pytest.param("a.jpg", {}, False, id="no-upload-of-brand-images"),
        pytest.param("a.jpg", {"uploads": frozenset({ImageUse.BRAND})}, True, id="image"),
        pytest.param(None, {"channels": frozenset({Channel.ALIMTALK})}, False, id="no-brand-messages"),
    ],
)
def test_a_dealer_brings_a_brand_message_with_its_image_or_not_at_all(
    image: str | None, changed: dict[str, Any], *, brings: bool
) -> None:
    brand = Template.model_validate({"code": "T", "kind": "brand", "text": "글", "image": image})
    assert brings_brand(replace(CAN, **changed), brand) is brings
    wanted = [] if image is None else [(ImageUse.BRAND, "")]
    assert wanted_by(brand, Channel.FRIENDTALK) == wanted
