"""What must agree between rules and templates before either is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.catalog.template import variables_of

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
    if rule.fallback == "text" and template.text_message is None:
        found.append(f"fallback: the template {template.code!r} has no text_message to fall back to")
    return found
