from __future__ import annotations

import pytest

from shared.catalog.template import Template
from shared.copies.draft import draft_of
from shared.dealers.templates import TemplateCallFailed


def test_a_brand_message_is_handed_in_nowhere() -> None:
    brand = Template.model_validate({"code": "SALE", "kind": "brand", "text": "세일"})
    with pytest.raises(TemplateCallFailed, match="nobody inspects it"):
        draft_of(brand, "nhn", name="세일", category="999999", secure=False)
