"""What must agree between rules and templates before either is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.catalog.template import variables_of
from shared.contracts.states import Category

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.catalog.rule import Rule
    from shared.catalog.template import Template


def disagreements(rule: Rule, templates: Mapping[str, Template]) -> list[str]:
    """Return what is wrong between ``rule`` and the templates there are, each with its path in the rule."""
    template = templates.get(rule.send.template)
    if template is None:
        return [f"send.template: there is no template {rule.send.template!r}"]
    needed, given = variables_of(template), rule.send.variables
    found = [
        f"send.variables: #{{{name}}} of the template {template.code!r} is missing"
        for name in needed
        if name not in given
    ]
    found += [
        f"send.variables.{name}: the template {template.code!r} has no #{{{name}}}"
        for name in given
        if name not in needed
    ]
    if template.kind == "brand":
        found += _against_brand(rule, template)
    elif rule.fallback == "text" and template.text_message is None:
        found.append(f"fallback: the template {template.code!r} has no text_message to fall back to")
    return found


def _against_brand(rule: Rule, template: Template) -> list[str]:
    found = []
    if rule.category is not Category.ADVERTISING:
        found.append(f"category: {template.code!r} is a brand message, which is advertising always")
    if rule.fallback == "text":
        found.append(
            f"fallback: no text follows the brand message {template.code!r}: an advertisement by SMS wants (광고), the "
            "sender and a free way to refuse, which bongsu does not write yet"
        )
    return found
