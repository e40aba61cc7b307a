"""``bongsu apply DIR``: rules and templates from YAML files into the database, all of them or none.

A file holds ``templates:`` and ``rules:``, each a list; which file a thing stands in does not matter. An image that a
template names stands beside its file, and goes into the database as well, by its SHA-256.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from shared.catalog.check import disagreements
from shared.catalog.images import hash_of, problem_with
from shared.catalog.parts import TemplateImage
from shared.catalog.repository import load_catalog, retire, save_images, save_rules, save_templates
from shared.catalog.rule import Rule
from shared.catalog.template import Template
from shared.dealers.base import ImageUse
from shared.errors import BongsuError

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncEngine

SHOP = Path(__file__).parent / "shop"
"""The shipped set, for a shop."""


class BadCatalog(BongsuError):
    """Files that cannot be used: ``problems`` says file, path and what, one a line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Files:
    """What a directory holds, and in which file and place each thing stands."""

    templates: dict[str, Template]
    rules: dict[str, Rule]
    places: dict[tuple[str, str], str]
    images: dict[str, bytes]
    """by their SHA-256, in hex"""


@dataclass(frozen=True, slots=True)
class Applied:
    """What changed: templates and rules with a new revision, and those taken out of use."""

    templates: list[str]
    rules: list[str]
    retired: list[str]


class _Loader(yaml.SafeLoader):
    """YAML 1.2 in what matters here: ``on`` is a word, and ``09:00`` no number in base 60."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":int", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile("-?[0-9]+$"), list("-0123456789"))


def read_directory(directory: Path) -> Files:
    """Read every ``*.yaml`` below ``directory``. Raises ``BadCatalog`` with all that is wrong."""
    files = Files({}, {}, {}, {})
    problems: list[str] = []
    paths = sorted(path for pattern in ("*.yaml", "*.yml") for path in directory.rglob(pattern))
    if not paths:
        raise BadCatalog([f"{directory}: holds no *.yaml"])
    for path in paths:
        _read_file(path, directory, files, problems)
    if problems:
        raise BadCatalog(problems)
    return files


def _read_file(path: Path, directory: Path, files: Files, problems: list[str]) -> None:
    name = str(path.relative_to(directory))
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problems.append(f"{name}: {' '.join(str(error).split())}")
        return
    if not isinstance(content, dict):
        problems.append(f"{name}: wants `templates:` and `rules:`")
        return
    unknown = sorted(map(str, content.keys() - {"templates", "rules"}))
    problems.extend(f"{name}: {key}: unknown; only `templates` and `rules` stand here" for key in unknown)
    for key in ("templates", "rules"):
        items = content.get(key) or []
        if not isinstance(items, list):
            problems.append(f"{name}: {key}: wants a list")
            continue
        for n, item in enumerate(items):
            place = f"{name}: {key}[{n}]"
            try:
                _keep(key, item, place, files, lambda file, use: read_image(path.parent / file, directory, use))
            except ValidationError as error:
                problems += [f"{place}{_path(e['loc'])}: {_words(e['msg'])}" for e in error.errors(include_input=False)]
            except BadCatalog as error:
                problems += error.problems


ImageReader = Callable[[str, ImageUse], bytes]
"""from a path, as it stands in a template, to its bytes; raises ``ValueError`` with what is wrong"""


def read_image(path: Path, directory: Path, use: ImageUse) -> bytes:
    """Read an image below ``directory``. Raises ``ValueError`` with what is wrong with it."""
    if not path.resolve().is_relative_to(directory.resolve()):
        raise ValueError("stands outside of the directory")
    try:
        image = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    if problem := problem_with(image, use):
        raise ValueError(problem)
    return image


def _with_images(template: Template, place: str, files: Files, read: ImageReader) -> Template:
    """Return ``template`` with the hashes of the images it names, which go to ``files``. Raises ``BadCatalog``."""
    problems: list[str] = []

    def known(image: TemplateImage, use: ImageUse, where: str) -> TemplateImage:
        try:
            content = read(image.file, use)
        except ValueError as error:
            problems.append(f"{place}.{where}: {image.file}: {error}")
            return image
        files.images[hash_of(content)] = content
        return TemplateImage(file=image.file, sha256=hash_of(content))

    images = tuple(known(each, ImageUse.MMS, f"images[{n}]") for n, each in enumerate(template.images))
    image = None if template.image is None else known(template.image, ImageUse.BRAND, "image")
    if problems:
        raise BadCatalog(problems)
    found = {"images": images, "image": image}
    return template.model_copy(update={name: value for name, value in found.items() if value})


def _keep(key: str, item: Any, place: str, files: Files, read: ImageReader) -> None:  # noqa: ANN401 - whatever YAML holds
    name: str
    if key == "templates":
        template = _with_images(Template.model_validate(item), place, files, read)
        name, known = template.code, template.code in files.templates
        files.templates[name] = template
    else:
        rule = Rule.model_validate(item)
        name, known = rule.name, rule.name in files.rules
        files.rules[name] = rule
    if known:
        raise BadCatalog([f"{place}: {name!r} stands already in {files.places[key, name]}"])
    files.places[key, name] = place


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _words(message: str) -> str:
    return message.removeprefix("Value error, ")


async def apply_directory(engine: AsyncEngine, directory: Path, *, now: datetime, prune: bool = False) -> Applied:
    """Make the rules and templates of ``directory`` the active ones, in one transaction. Calling twice is safe.

    What is active and not in ``directory`` stays, unless ``prune``. Raises ``BadCatalog``, and then changes nothing.
    """
    files = read_directory(directory)
    async with engine.begin() as connection:
        await save_images(connection, files.images, now=now)
        saved = Applied(
            await save_templates(connection, list(files.templates.values()), now=now),
            await save_rules(connection, list(files.rules.values()), now=now),
            [],
        )
        catalog = await load_catalog(connection)
        if prune:
            rules = [rule.name for rule in catalog.rules if rule.name not in files.rules]
            templates = [code for code in catalog.templates if code not in files.templates]
            await retire(connection, rules=rules, templates=templates)
            saved.retired.extend(rules + templates)
            catalog = await load_catalog(connection)
        problems = [
            f"{files.places.get(('rules', rule.name), f'rule {rule.name!r}, active already')}: {problem}"
            for rule in catalog.rules
            for problem in disagreements(rule, catalog.templates)
        ]
        if problems:
            raise BadCatalog(problems)
    return saved
