"""A thousand tasks on four connections, awaited from asyncio.

pip install ./python
python python/examples/songs_asyncio.py
"""

from __future__ import annotations

import asyncio
import sqlite3

import caliburn
from caliburn import aio

pool = caliburn.Pool(
    sqlite3.connect,
    ["file:songs?mode=memory&cache=shared"],
    {"uri": True, "check_same_thread": False},
    max_size=4,
    min_size=1,
)


async def sing(number: int) -> int:
    async with aio.connection(pool) as conn:
        # A query that takes long goes to a thread, so that the others go on.
        rows = await asyncio.to_thread(lambda: conn.execute("SELECT ?", [number]).fetchall())
        return rows[0][0]


async def main() -> None:
    sung = await asyncio.gather(*(sing(number) for number in range(1_000)))
    stats = pool.stats()
    print(f"{len(set(sung))} songs on {stats.size} connections, {stats.waits} waited")


if __name__ == "__main__":
    with pool:
        asyncio.run(main())
