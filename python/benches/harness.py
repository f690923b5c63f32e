"""What the benches share: pools by name, servers, and turns so that all meet the same weather."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from servers import Postgres  # noqa: F401

# It says of each connection with an open transaction that it rolls back.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


class Peer:
    """A pool, with what a loan is in it."""

    def __init__(
        self,
        name: str,
        get: Callable[[], Any],
        put: Callable[[Any], None],
        close: Callable[[], None],
        pool: Any = None,
    ) -> None:
        self.name = name
        self.get = get
        self.put = put
        self.close = close
        self.pool = pool


def caliburn(connect: Callable[[], Any], size: int, **settings: Any) -> Peer:
    import caliburn

    pool = caliburn.Pool(
        connect, max_size=size, min_size=size, checkout_timeout=60, wait_ready=60, **settings
    )
    return Peer("caliburn", pool.getconn, pool.putconn, pool.close, pool)


def caliburn_barging(connect: Callable[[], Any], size: int) -> Peer:
    peer = caliburn(connect, size, fairness={"bounded_barging": 0.001})
    peer.name = "caliburn, barging 1 ms"
    return peer


def nimue(connect: Callable[[], Any], size: int) -> Peer:
    """Nimue of PyPI, without its check before each loan."""
    import nimue

    pool = nimue.NimueConnectionPool(
        connect, poolmin=size, poolmax=size, healthcheck_on_getconnection=False
    )
    return Peer("nimue", pool.getconnection, lambda connection: connection.close(), pool.close)


def dbutils(connect: Callable[[], Any], size: int) -> Peer:
    from dbutils.pooled_db import PooledDB

    class Creator:
        threadsafety = 2
        paramstyle = "qmark"
        Error = OperationalError = InterfaceError = InternalError = sqlite3.Error

        @staticmethod
        def connect() -> Any:
            return connect()

    pool = PooledDB(
        Creator, mincached=size, maxcached=size, maxconnections=size, blocking=True, maxshared=0
    )
    get = lambda: pool.connection(False)  # noqa: E731
    return Peer("DBUtils", get, lambda connection: connection.close(), pool.close)


def sqlalchemy(connect: Callable[[], Any], size: int) -> Peer:
    from sqlalchemy.pool import QueuePool

    pool = QueuePool(connect, pool_size=size, max_overflow=0, timeout=60)
    held = [pool.connect() for _ in range(size)]
    for connection in held:
        connection.close()
    put = lambda connection: connection.close()  # noqa: E731
    return Peer("SQLAlchemy", pool.connect, put, pool.dispose)


def psycopg_pool(url: str, size: int) -> Peer:
    from psycopg_pool import ConnectionPool

    pool = ConnectionPool(
        url, kwargs={"autocommit": True}, min_size=size, max_size=size, timeout=60, open=True
    )
    pool.wait(60)
    return Peer("psycopg_pool", pool.getconn, pool.putconn, pool.close)


def sqlite_connect() -> Any:
    return sqlite3.connect(":memory:", check_same_thread=False)


def peers_of_sqlite() -> dict[str, Callable[[int], Peer]]:
    makers = {
        "caliburn": caliburn,
        "nimue": nimue,
        "DBUtils": dbutils,
        "SQLAlchemy": sqlalchemy,
    }
    return {
        name: lambda size, make=make: make(sqlite_connect, size) for name, make in makers.items()
    }


def peers_of_postgres(url: str) -> dict[str, Callable[[int], Peer]]:
    import psycopg

    def connect() -> Any:
        return psycopg.connect(url, autocommit=True)

    makers = {
        "caliburn": caliburn,
        "nimue": nimue,
        "DBUtils": dbutils,
        "SQLAlchemy": sqlalchemy,
    }
    peers = {name: lambda size, make=make: make(connect, size) for name, make in makers.items()}
    peers["psycopg_pool"] = lambda size: psycopg_pool(url, size)
    return peers


def jain(shares: list[int]) -> float:
    """Jain's index of fairness: 1 if all are equal, 1/n if one has all."""
    total = sum(shares)
    return total * total / (len(shares) * sum(share * share for share in shares)) if total else 0.0


def table(rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print(
            "| "
            + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            + " |"
        )
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print(flush=True)


def contend(
    peer: Peer, threads: int, held: float, seconds: float, use: Callable[[Any], None] | None = None
) -> dict[str, Any]:
    """Threads borrow, hold and return for some seconds: loans, shares, and waits."""
    counts = [0] * threads
    waits: list[list[float]] = [[] for _ in range(threads)]
    begin = threading.Barrier(threads + 1)
    is_over = False
    begun_at = [0.0] * threads

    def work(number: int) -> None:
        begin.wait()
        while not is_over:
            begun = time.perf_counter()
            begun_at[number] = begun
            connection = peer.get()
            waits[number].append(time.perf_counter() - begun)
            begun_at[number] = 0.0
            if use is not None:
                use(connection)
            time.sleep(held)
            peer.put(connection)
            counts[number] += 1

    workers = [
        threading.Thread(target=work, args=(number,), daemon=True) for number in range(threads)
    ]
    for worker in workers:
        worker.start()
    begin.wait()
    begun = time.perf_counter()
    time.sleep(seconds)
    end = time.perf_counter()
    # Those who have not been served since count with what they have waited.
    starving = [end - since for since in begun_at if since]
    served = list(counts)
    is_over = True
    for worker in workers:
        worker.join(10)
    longest = max([*(max(each, default=0.0) for each in waits), *starving])
    every = sorted(wait for each in waits for wait in each)
    return {
        "loans": sum(served) / (end - begun),
        "jain": jain(served),
        "longest": longest,
        "p99": every[int(len(every) * 0.99)] if every else 0.0,
    }


def median(values: list[float]) -> float:
    return statistics.median(values)


@contextlib.contextmanager
def closing(peer: Peer) -> Iterator[Peer]:
    try:
        yield peer
    finally:
        peer.close()
