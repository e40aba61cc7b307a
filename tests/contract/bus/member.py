"""A consumer that a test can kill: prints a line for each batch it read, then commits it or holds it for ever.

``python -m tests.contract.bus.member DATABASE_URL KAFKA_SERVERS GROUP TOPIC commit|hold``
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

from shared.bus import CommitRefused, TopicPartition
from shared.contracts.delivery import decode_delivery
from shared.db.engine import engine_for
from tests.contract.bus.sources import source_for


async def main(database_url: str, servers: str, group: str, topic: str, then: str) -> None:
    """Read until killed."""
    engine = engine_for(database_url, pool_size=2)
    async with source_for(engine, servers, group, [topic]) as source:
        while True:
            found = await source.getmany(timeout_seconds=0.5, max_records=20)
            ids = [str(decode_delivery(r.value).message_id) for records in found.values() for r in records]
            if not ids:
                continue
            sys.stdout.write(" ".join(ids) + "\n")
            sys.stdout.flush()
            if then == "commit":
                with suppress(CommitRefused):
                    await source.commit({TopicPartition(*at): records[-1] for at, records in found.items()})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
