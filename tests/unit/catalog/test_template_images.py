"""Images that templates name: found beside the file, checked, known by their hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from bongsu.apply import BadCatalog, read_directory
from shared.catalog.images import MAX_BYTES, extension_of, hash_of, problem_with
from shared.catalog.template import Template, text_message
from shared.contracts.states import Channel
from shared.dealers.base import ImageUse

JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
ONE = """
templates:
  - {code: A, text: "글 #{이름}", text_message: 글, images: [%s]}
"""


def write(directory: Path, *images: str) -> Path:
    (directory / "one.yaml").write_text(ONE % ", ".join(images), encoding="utf-8")
    return directory


def test_an_image_is_known_by_its_hash(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "쿠폰 1.jpg").write_bytes(JPEG)
    files = read_directory(write(tmp_path, "images/쿠폰 1.jpg"))
    expected = hashlib.sha256(JPEG).hexdigest()
    [image] = files.templates["A"].images
    assert (image.file, image.sha256, hash_of(JPEG)) == ("images/쿠폰 1.jpg", expected, expected)
    assert files.images == {expected: JPEG}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        pytest.param("no.jpg", None, "one.yaml: templates[0].images[0]: no.jpg: cannot be read", id="missing"),
        pytest.param("../out.jpg", JPEG, "stands outside of the directory", id="outside"),
        pytest.param("/etc/passwd", None, "stands outside of the directory", id="absolute"),
        pytest.param("a.jpg", PNG, "an image of an MMS is a JPEG", id="png"),
        pytest.param("a.jpg", JPEG + bytes(300_000), "300,104 bytes where dealers take 300,000", id="large"),
    ],
)
def test_an_image_that_cannot_be_used_is_named(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    directory = tmp_path / "rules"
    directory.mkdir()
    if content is not None:
        (directory / name).write_bytes(content)
    with pytest.raises(BadCatalog, match=said.replace("[", r"\[").replace(".", r"\.")):
        read_directory(write(directory, name))


@pytest.mark.parametrize(
    ("image", "use", "usable"),
    [
        (JPEG, ImageUse.MMS, True),
        (JPEG, ImageUse.BRAND, True),
        (PNG, ImageUse.BRAND, True),
        (b"GIF89a", ImageUse.BRAND, False),
        (JPEG + bytes(MAX_BYTES[ImageUse.BRAND]), ImageUse.BRAND, False),
        (b"", ImageUse.MMS, False),
    ],
)
def test_what_may_be_used(image: bytes, use: ImageUse, *, usable: bool) -> None:
    assert (problem_with(image, use) is None) is usable


def test_what_an_image_is_shows_in_its_first_bytes() -> None:
    assert [extension_of(image) for image in (JPEG, PNG, b"GIF89a")] == ["jpg", "png", None]


@pytest.mark.parametrize(
    "changed", [{"images": ["a.jpg"]}, {"images": ["a.jpg"] * 4, "text_message": "글"}, {"images": [{"sha256": "x"}]}]
)
def test_images_go_beside_a_text_message(changed: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Template.model_validate({"code": "T", "text": "글", **changed})


def test_a_text_with_images_is_an_mms_and_has_a_subject_however_short() -> None:
    body = {"code": "T", "text": "글", "text_message": "짧은 글", "subject": "제목", "images": ["a.jpg"]}
    template = Template.model_validate(body)
    channel, content = text_message(template, "02", {}, ["F1"])
    assert (channel, content.subject, content.images) == (Channel.MMS, "제목", ("F1",))
    channel, content = text_message(template, "02", {})
    assert (channel, content.subject, content.images) == (Channel.SMS, None, ())
