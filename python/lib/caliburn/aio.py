"""The same pool, awaited from asyncio.

    pool = caliburn.Pool(psycopg.connect, ["dbname=songs"])

    async with caliburn.aio.connection(pool) as conn:
        ...

A wait is a future of the pool's own: it needs no thread, and stands in the same line as the threads
that wait. A wait that is cancelled leaves the line at once. Connects, checks and resets are made by
the pool's threads, so that none of them blocks the event loop. What you do with the connection
does, if its driver blocks: use `asyncio.to_thread` for queries that take long.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

from . import errors
from .pool import Pool

C = TypeVar("C")

__all__ = ["connection", "getconn", "putconn"]


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class _Bell:
    """Tells a task of an event loop, on whatever thread it is rung."""

    __slots__ = ("_is_rung", "_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: asyncio.Future[None] | None = None
        self._is_rung = False

    def ring(self) -> None:
        self._is_rung = True
        waiting = self._waiting
        if waiting is not None:
            # Raises if the loop is closed; then nothing waits there any more.
            self._loop.call_soon_threadsafe(_wake, waiting)

    async def wait(self) -> None:
        """Waits for a ring since the last `hush`."""
        waiting = self._waiting = self._loop.create_future()
        if self._is_rung:
            return
        try:
            await waiting
        finally:
            self._waiting = None

    def hush(self) -> None:
        self._is_rung = False


async def getconn(pool: Pool[C], *, timeout: float | None = None) -> C:
    """Borrows a connection, within `timeout` seconds or else the pool's `checkout_timeout`."""
    bell = _Bell(asyncio.get_running_loop())
    wait = pool._wait(bell.ring, timeout=timeout)
    connection = wait.poll()
    try:
        while connection is None:
            await bell.wait()
            bell.hush()
            connection = wait.poll()
    finally:
        # Leaves the line if the task was cancelled.
        wait.cancel()
    task = asyncio.current_task()
    if task is not None:
        # A name may be any text, even one that has no encoding.
        name = task.get_name().encode(errors="replace").decode()
        pool.set_label(connection, name)
    return connection


def putconn(pool: Pool[C], connection: C) -> None:
    """Gives a connection back; if a transaction is open, a thread of the pool rolls it back."""
    pool.putconn(connection, background=True)


class _Loan(AbstractAsyncContextManager[C], Generic[C]):
    __slots__ = ("_connection", "_is_entered", "_pool", "_timeout")

    def __init__(self, pool: Pool[C], timeout: float | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._connection: Any = None
        # Before the wait, in which another task may come.
        self._is_entered = False

    async def __aenter__(self) -> C:
        if self._is_entered:
            raise errors.Error("this loan is in use; call connection() for each block")
        self._is_entered = True
        try:
            self._connection = await getconn(self._pool, timeout=self._timeout)
        except BaseException:
            self._is_entered = False
            raise
        return self._connection  # type: ignore[no-any-return]

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        connection, self._connection = self._connection, None
        self._is_entered = False
        if self._pool.is_lent(connection):
            putconn(self._pool, connection)


def connection(pool: Pool[C], *, timeout: float | None = None) -> AbstractAsyncContextManager[C]:
    """Lends a connection for the length of an `async with` block."""
    return _Loan(pool, timeout)
