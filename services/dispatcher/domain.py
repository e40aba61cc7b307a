"""The dispatcher's own rules: who posts receipts."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from shared.config import Network, ReceiptDoor

Address = IPv4Address | IPv6Address


def has_the_token(door: ReceiptDoor, given: str | None) -> bool:
    """Return whether the path of a receipt call ends as ``door`` wants it: with its token, or with none."""
    wanted = "" if door.token is None else door.token.get_secret_value()
    return hmac.compare_digest((given or "").encode("utf-8", "replace"), wanted.encode())


def caller_of(peer: str | None, forwarded: Sequence[str], proxies: Iterable[Network]) -> Address | None:
    """Return the address that a call comes from; None where nobody can tell.

    ``forwarded`` are its ``X-Forwarded-For`` headers. Anybody can write one, so it is read from its end, and only as
    far as those who wrote it are among ``proxies``: the first address that is no proxy of ours is the caller.
    """
    trusted = tuple(proxies)
    hops = [hop.strip() for hop in ",".join(forwarded).split(",")] if forwarded else []
    address = _address(peer)
    while address is not None and hops and is_listed(address, trusted):
        address = _address(hops.pop())
    return address


def is_listed(address: Address | None, networks: Iterable[Network]) -> bool:
    """Return whether ``address`` lies in one of ``networks``."""
    return address is not None and any(address in network for network in networks)


def _address(text: str | None) -> Address | None:
    try:
        address = ip_address(text or "")
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address  # a socket of both kinds shows 203.0.113.9 as ::ffff:203.0.113.9
