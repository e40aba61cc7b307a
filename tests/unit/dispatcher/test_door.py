"""Who posts receipts: the secret end of the path, and the address behind proxies that are ours."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.dispatcher.domain import caller_of, has_the_token, is_listed
from shared.config import Network, ReceiptDoor

TOKEN = "q9-k2_Zr0aB7uLx4"  # 16 characters: the shortest
PROXIES: tuple[Network, ...] = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("token", "path", "opens"),
    [
        pytest.param(None, None, True, id="no-token-wanted"),
        pytest.param(None, TOKEN, False, id="a-token-that-nobody-set"),
        pytest.param(TOKEN, TOKEN, True, id="right"),
        pytest.param(TOKEN, None, False, id="none"),
        pytest.param(TOKEN, "", False, id="empty"),
        pytest.param(TOKEN, TOKEN[:-1], False, id="cut"),
        pytest.param(TOKEN, TOKEN.lower(), False, id="other-case"),
        pytest.param(TOKEN, "봉수\ud800", False, id="half-a-surrogate"),
    ],
)
def test_the_path_ends_with_the_token(token: str | None, path: str | None, *, opens: bool) -> None:
    assert has_the_token(ReceiptDoor.model_validate({"token": token}), path) is opens


@pytest.mark.parametrize("token", ["", "short", "a/b/c/d/e/f/g/h/i", "열여섯글자가넘는토큰입니다아아아", "x" * 201])
def test_a_token_that_is_no_part_of_a_path_is_refused(token: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ReceiptDoor.model_validate({"token": token})
    assert not token or token not in str(refused.value.errors(include_input=False))


@pytest.mark.parametrize(
    ("peer", "forwarded", "caller"),
    [
        pytest.param("203.0.113.9", [], "203.0.113.9", id="straight"),
        pytest.param("203.0.113.9", ["198.51.100.1"], "203.0.113.9", id="a-stranger-says-who-he-is"),
        pytest.param("10.0.0.1", ["198.51.100.1"], "198.51.100.1", id="our-proxy-says-who-he-is"),
        pytest.param("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1", id="a-stranger-writes-before-our-proxy"),
        pytest.param("10.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1", id="two-headers-are-one-list"),
        pytest.param("10.0.0.1", ["198.51.100.1, 10.0.0.2"], "198.51.100.1", id="two-proxies"),
        pytest.param("10.0.0.1", [], "10.0.0.1", id="a-proxy-that-says-nothing"),
        pytest.param("10.0.0.1", ["198.51.100.1, unknown"], None, id="not-an-address"),
        pytest.param("10.0.0.1", [""], None, id="empty"),
        pytest.param("::ffff:203.0.113.9", [], "203.0.113.9", id="mapped"),
        pytest.param("fd00::1", ["2001:db8::1"], "2001:db8::1", id="ipv6"),
        pytest.param(None, ["203.0.113.9"], None, id="a-unix-socket"),
    ],
)
def test_the_caller_is_the_last_who_is_not_ours(peer: str | None, forwarded: list[str], caller: str | None) -> None:
    assert caller_of(peer, forwarded, PROXIES) == (None if caller is None else ip_address(caller))


@given(st.lists(st.text(max_size=60), max_size=4))
def test_a_stranger_never_passes_for_another(forwarded: list[str]) -> None:
    assert caller_of("203.0.113.9", forwarded, PROXIES) == ip_address("203.0.113.9")


def test_nobody_is_listed_where_nobody_can_tell() -> None:
    everywhere = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert is_listed(ip_address("203.0.113.9"), everywhere)
    assert not is_listed(None, everywhere)
    assert not is_listed(ip_address("203.0.113.9"), [ip_network("203.0.113.8/32")])


@pytest.mark.parametrize("network", ["10.0.0.1/8", "somewhere", "", "203.0.113.9/33"])
def test_a_network_that_is_none_is_refused_in_plain_words(network: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ReceiptDoor.model_validate({"addresses": [network]})
    [error] = refused.value.errors()
    assert error["loc"] == ("addresses", 0)
    assert "want a network" in error["msg"]
