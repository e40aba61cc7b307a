from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from bongsu.apply import SHOP, BadCatalog, apply_directory, read_directory
from shared.catalog.images import hash_of
from shared.catalog.repository import Catalog, load_catalog, load_image, load_templates

NOW = datetime(2026, 11, 23, tzinfo=UTC)

ONE = """
templates:
  - {code: A, text: "글 #{이름}"}
rules:
  - name: a
    on: x
    send: {template: A, variables: {이름: data.name}}
"""


async def catalog(database: AsyncEngine) -> Catalog:
    async with database.connect() as connection:
        return await load_catalog(connection)


def write(directory: Path, **files: str) -> Path:
    for name, content in files.items():
        (directory / f"{name}.yaml").write_text(content, encoding="utf-8")
    return directory


async def test_applying_twice_makes_one_revision(database: AsyncEngine) -> None:
    first = await apply_directory(database, SHOP, now=NOW)
    before = await catalog(database)
    second = await apply_directory(database, SHOP, now=NOW)
    assert len(first.rules) == len(first.templates) == 6
    assert (second.rules, second.templates) == ([], [])
    assert await catalog(database) == before
    assert {template.revision for template in before.templates.values()} == {1}


async def test_a_changed_template_is_a_new_revision_and_the_old_one_stays(
    database: AsyncEngine, tmp_path: Path
) -> None:
    await apply_directory(database, write(tmp_path, one=ONE), now=NOW)
    before = await catalog(database)
    changed = await apply_directory(database, write(tmp_path, one=ONE.replace("글", "새 글")), now=NOW)
    assert (changed.templates, changed.rules) == (["A"], [])
    after = await catalog(database)
    assert after.revision != before.revision
    assert after.templates["A"].revision == 2
    async with database.connect() as connection:
        both = await load_templates(connection, {("A", 1), ("A", 2), ("A", 3), ("B", 1)})
    assert {key: template.text for key, template in both.items()} == {("A", 1): "글 #{이름}", ("A", 2): "새 글 #{이름}"}


async def test_going_back_is_a_revision_too(database: AsyncEngine, tmp_path: Path) -> None:
    for text in (ONE, ONE.replace("글", "새 글"), ONE):
        await apply_directory(database, write(tmp_path, one=text), now=NOW)
    assert (await catalog(database)).templates["A"].revision == 3


async def test_what_is_not_in_the_directory_stays_unless_pruned(database: AsyncEngine, tmp_path: Path) -> None:
    await apply_directory(database, SHOP, now=NOW)
    await apply_directory(database, write(tmp_path, one=ONE), now=NOW)
    assert len((await catalog(database)).rules) == 7
    pruned = await apply_directory(database, tmp_path, now=NOW, prune=True)
    assert len(pruned.retired) == 12
    assert [rule.name for rule in (await catalog(database)).rules] == ["a"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(ONE.replace("이름: data.name", "이름: [data"), "expected ',' or ']'", id="not-yaml"),
        pytest.param(
            ONE.replace("data.name", "data..name"),
            "bad.yaml: rules[0].send.variables: 이름: not JMESPath",
            id="bad-path",
        ),
        pytest.param(
            ONE.replace("이름: data.name", "name: data.name"),
            "bad.yaml: rules[0]: send.variables: #{이름} of the template 'A' is missing",
            id="unknown-variable",
        ),
        pytest.param(ONE.replace("template: A", "template: B"), "there is no template 'B'", id="unknown-template"),
        pytest.param(ONE.replace("on: x", "on: x\n    wehn: y"), "bad.yaml: rules[0].wehn: Extra", id="unknown-key"),
        pytest.param(ONE + "\nother: []", "bad.yaml: other: unknown", id="unknown-part"),
        pytest.param(ONE.replace("A, text", "A, txt"), "bad.yaml: templates[0].text: Field required", id="no-text"),
        pytest.param("- a", "bad.yaml: wants `templates:` and `rules:`", id="a-list"),
        pytest.param("rules: 7", "bad.yaml: rules: wants a list", id="no-list"),
    ],
)
async def test_a_bad_file_is_refused_by_place_and_changes_nothing(
    database: AsyncEngine, tmp_path: Path, content: str, said: str
) -> None:
    await apply_directory(database, SHOP, now=NOW)
    before = await catalog(database)
    with pytest.raises(BadCatalog) as refused:
        await apply_directory(database, write(tmp_path, bad=content, zgood="rules: []"), now=NOW)
    text = str(refused.value)
    assert text.startswith("bad.yaml: ")
    assert said in text
    assert await catalog(database) == before


async def test_a_template_still_in_use_cannot_be_taken_away(database: AsyncEngine, tmp_path: Path) -> None:
    await apply_directory(database, write(tmp_path, one=ONE), now=NOW)
    without_fallback = 'templates: [{code: A, text: "글 #{다른}"}]'
    with pytest.raises(BadCatalog, match=r"rule 'a', active already: send\.variables"):
        await apply_directory(database, write(tmp_path, one=without_fallback), now=NOW)


def test_one_name_twice_is_refused_with_both_places(tmp_path: Path) -> None:
    with pytest.raises(BadCatalog, match=r"two\.yaml: templates\[0\]: 'A' stands already in one\.yaml: templates\[0\]"):
        read_directory(write(tmp_path, one=ONE, two=ONE))


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCatalog, match="holds no"):
        read_directory(tmp_path)


def test_words_stay_words_in_yaml(tmp_path: Path) -> None:
    files = read_directory(
        write(tmp_path, one='templates: [{code: "1", text: "yes 글", codes: {a: no}, examples: {}}]\nrules: []')
    )
    assert files.templates["1"].codes == {"a": "no"}


async def test_an_image_comes_along_and_another_one_is_another_revision(database: AsyncEngine, tmp_path: Path) -> None:
    pictured = ONE.replace('text: "글 #{이름}"', 'text: "글 #{이름}", text_message: 글, images: [a.jpg]')
    for image, changed in ((b"\xff\xd8\xff1", ["A"]), (b"\xff\xd8\xff1", []), (b"\xff\xd8\xff2", ["A"])):
        (tmp_path / "a.jpg").write_bytes(image)
        applied = await apply_directory(database, write(tmp_path, one=pictured), now=NOW)
        assert applied.templates == changed
        [named] = (await catalog(database)).templates["A"].images
        assert named.sha256 == hash_of(image)
        async with database.connect() as connection:
            assert await load_image(connection, hash_of(image)) == image
    async with database.connect() as connection:
        assert await load_image(connection, "00" * 32) is None
