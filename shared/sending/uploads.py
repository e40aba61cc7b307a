"""What a dealer calls an image: uploaded once, kept by its hash, refreshed before the dealer forgets it.

An image is uploaded before the attempts that want it are written down, so that a slow upload does not eat their lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.catalog.images import extension_of
from shared.catalog.repository import load_image
from shared.dealers.base import Dealer, ImageUse, NotTaken, Refused, Uploaded
from shared.sending.images import Wanted

REFRESH_AFTER = timedelta(days=5)
"""SENS keeps an image for six days, the shortest that is known; world time"""
REFUSED_FOR = timedelta(minutes=10)
"""how long a refusal is taken as said: the account may be mended meanwhile; world time"""


@dataclass(slots=True)
class Images:
    """What dealers call our images: in memory, in ``dealer_images``, or by an upload.

    In a process an image is uploaded once; two processes that want it first at the same time may upload it twice, which
    does no harm. All times are world time.
    """

    _known: dict[tuple[str, ImageUse, str], tuple[Uploaded | Refused, datetime]] = field(default_factory=dict)
    """by dealer, use and hash: what it is called, and until when that counts"""
    _turns: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def names(
        self, engine: AsyncEngine, dealer: Dealer, wanted: Collection[Wanted], *, now: datetime
    ) -> dict[Wanted, Uploaded | Refused | NotTaken]:
        """Return what ``dealer`` calls each of ``wanted``. No connection is held during an upload."""
        async with self._turns.setdefault(dealer.name, asyncio.Lock()):
            return {each: await self._name(engine, dealer, each, now) for each in dict.fromkeys(wanted)}

    async def _name(
        self, engine: AsyncEngine, dealer: Dealer, wanted: Wanted, now: datetime
    ) -> Uploaded | Refused | NotTaken:
        key = (dealer.name, *wanted)
        if (known := self._known.get(key)) is not None and now < known[1]:
            return known[0]
        async with engine.connect() as connection:
            found = await load_name(connection, dealer.name, *wanted, since=now - REFRESH_AFTER)
            image = None if found else await load_image(connection, wanted[1])
        if found is not None:
            name, uploaded_at = found
            self._known[key] = name, uploaded_at + REFRESH_AFTER
            return name
        if image is None:
            return Refused("invalid_attachment", "", "the image is not kept here")
        named = await dealer.upload(wanted[0], f"{wanted[1][:16]}.{extension_of(image)}", image)
        match named:
            case Uploaded():
                async with engine.begin() as connection:
                    await save_name(connection, dealer.name, *wanted, named, now=now)
                self._known[key] = named, now + REFRESH_AFTER
            case Refused():
                self._known[key] = named, now + REFUSED_FOR
            case NotTaken():
                pass  # asked again with the next message
        return named


async def load_name(
    connection: AsyncConnection, dealer: str, use: ImageUse, hash_: str, *, since: datetime
) -> tuple[Uploaded, datetime] | None:
    """Return what ``dealer`` calls the image and when it was uploaded; None if that was not after ``since``."""
    rows = await connection.execute(
        text("""
            SELECT name, uploaded_at FROM dealer_images
            WHERE dealer = :dealer AND purpose = :use AND hash = :hash AND uploaded_at > :since
        """),
        {"dealer": dealer, "use": use, "hash": bytes.fromhex(hash_), "since": since},
    )
    row = rows.one_or_none()
    return None if row is None else (Uploaded(row.name), row.uploaded_at)


async def save_name(
    connection: AsyncConnection, dealer: str, use: ImageUse, hash_: str, name: Uploaded, *, now: datetime
) -> None:
    """Keep what ``dealer`` calls the image, in place of what it called it before."""
    await connection.execute(
        text("""
            INSERT INTO dealer_images (dealer, purpose, hash, name, uploaded_at)
            VALUES (:dealer, :use, :hash, :name, :now)
            ON CONFLICT (dealer, purpose, hash) DO UPDATE SET name = excluded.name, uploaded_at = excluded.uploaded_at
            WHERE dealer_images.uploaded_at <= excluded.uploaded_at
        """),
        {"dealer": dealer, "use": use, "hash": bytes.fromhex(hash_), "name": str(name), "now": now},
    )


async def templates_of(connection: AsyncConnection, messages: Collection[object]) -> set[tuple[str, int]]:
    """Return the templates of ``messages``, with their revisions."""
    rows = await connection.execute(
        text("SELECT DISTINCT template, template_revision FROM messages WHERE id = ANY(CAST(:ids AS uuid[]))"),
        {"ids": list(messages)},
    )
    return {(row.template, row.template_revision) for row in rows}
