"""Which images a message brings, through which dealer. Pure; ``shared.sending.uploads`` has what dealers call them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shared.catalog.template import Template
from shared.contracts.states import Channel
from shared.dealers.base import Capabilities, ImageUse, NotTaken, Refused, Uploaded

Wanted = tuple[ImageUse, str]
"""what for, and the SHA-256 in hex"""
Named = Mapping[Wanted, Uploaded | Refused | NotTaken]
"""what a dealer calls images, or why it does not have them"""

NOTHING_NAMED: Named = {}


def may_bring_images(channel: Channel) -> bool:
    """Whether a message over ``channel`` may bring images."""
    return channel in {Channel.MMS, Channel.FRIENDTALK}


def wanted_by(template: Template, channel: Channel) -> list[Wanted]:
    """Return the images that ``template`` brings over ``channel``, in order; the hash of one never kept is empty."""
    match channel:
        case Channel.MMS:
            return [(ImageUse.MMS, image.sha256 or "") for image in template.images]
        case Channel.FRIENDTALK if template.image is not None:
            return [(ImageUse.BRAND, template.image.sha256 or "")]
        case _:
            return []


def brings_images(capabilities: Capabilities, template: Template) -> bool:
    """Whether a dealer brings every image of ``template`` beside its text; if not, the text goes without any."""
    return (
        0 < len(template.images) <= capabilities.mms_images
        and Channel.MMS in capabilities.channels
        and ImageUse.MMS in capabilities.uploads
    )


def brings_brand(capabilities: Capabilities, template: Template | None) -> bool:
    """Whether a dealer brings the brand message, with its image if it has one; None for one that cannot be read."""
    images = template is None or template.image is None or ImageUse.BRAND in capabilities.uploads
    return images and Channel.FRIENDTALK in capabilities.channels


def trouble_with(wanted: Iterable[Wanted], named: Named) -> Refused | NotTaken | None:
    """Return why the dealer does not have all that is ``wanted``, a refusal first; None if it has."""
    unhad = [each for each in (named.get(one, _NOT_ASKED) for one in wanted) if not isinstance(each, Uploaded)]
    refusals = [each for each in unhad if isinstance(each, Refused)]
    return next(iter([*refusals, *unhad]), None)


_NOT_ASKED = NotTaken("dealer_unavailable", detail="an image was not uploaded yet")
