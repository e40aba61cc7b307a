from __future__ import annotations

import asyncio
from unittest.mock import Mock
from uuid import UUID, uuid4

import pytest

from shared.http.auth import ApiKeys, hash_key
from shared.http.problems import Problem


class Keys(ApiKeys):
    """Looks up nothing but counts how often."""

    asked = 0
    valid: UUID | None = uuid4()

    def expire(self) -> None:
        """Let the time of the key be up."""
        self._known[hash_key("bk")] = self.valid, 0.0

    async def _look_up(self, hashed: bytes) -> UUID | None:
        assert hashed == hash_key("bk")
        self.asked += 1
        await asyncio.sleep(0)
        return self.valid


async def test_a_key_whose_time_is_up_is_asked_of_once_and_not_by_all() -> None:
    keys = Keys(Mock())
    assert await keys.check("Bearer bk") == keys.valid
    keys.expire()
    assert await asyncio.gather(*(keys.check("Bearer bk") for _ in range(64))) == [keys.valid] * 64
    assert keys.asked == 2


async def test_a_revoked_key_is_refused_once_that_is_known() -> None:
    keys = Keys(Mock())
    await keys.check("Bearer bk")
    keys.expire()
    keys.valid = None
    for _ in range(2):
        with pytest.raises(Problem):
            await keys.check("Bearer bk")
