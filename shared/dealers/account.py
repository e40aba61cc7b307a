"""What an adapter is built from: an account of the configuration, with its secrets checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials a dealer knows, by their names in the configuration."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """Return all of them."""
        return frozenset((*self.required, *self.optional))


@dataclass(frozen=True, slots=True)
class Account:
    """An account at a dealer."""

    name: str
    """its name in ``BONGSU_CONFIG``"""
    base_url: str
    urls: Mapping[str, str]
    """further hosts, where a dealer has more than one"""
    credentials: Mapping[str, str]
    timeout_seconds: float
    batch: int
    now: Callable[[], datetime]
    """the world's time: what a dealer compares with its own, however fast our rules' clock runs"""

    def url(self, which: str = "") -> str:
        """Return the host ``which``, or the one for all."""
        return self.urls.get(which, self.base_url)
