"""A stop is named as operators write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sending.stops import Scope, StopKey

names = st.text(min_size=1, max_size=20)


@given(scope=st.sampled_from(Scope), dealer=names.filter(lambda name: "/" not in name), name=names)
def test_what_is_written_is_read_back(scope: Scope, dealer: str, name: str) -> None:
    key = StopKey(scope, dealer, "" if scope is Scope.DEALER else name)
    assert StopKey.parse(str(key)) == key


@pytest.mark.parametrize("text", ["", "dealer", "dealer/", "dealer/a/b", "template/a", "template/a/", "approval/a/b"])
def test_what_is_no_stop_is_none(text: str) -> None:
    assert StopKey.parse(text) is None
