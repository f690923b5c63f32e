"""A connection pool for any thread-safe DB-API 2.0 driver: fair, bounded, lock-free.

    import caliburn, sqlite3

    pool = caliburn.Pool(sqlite3.connect, ["songs.db"], {"check_same_thread": False})
    with pool.connection() as conn:
        conn.execute("SELECT 1")

`caliburn.nimue` takes the place of Nimue, `caliburn.aio` serves asyncio, and `caliburn.sqlalchemy`
has a pool for SQLAlchemy's engines.
"""

from __future__ import annotations

import atexit as _atexit
import os as _os
import threading as _threading

from . import _caliburn
from .errors import (
    AllEvicted,
    ConfigError,
    ConnectError,
    Error,
    NotLent,
    PoolClosed,
    PoolEmpty,
    PoolForked,
    PoolTimeout,
    TooManyWaiters,
    TurnedAway,
)
from .pool import Pool
from .stats import CloseReport, ConnectionInfo, Holder, Stats, Times

__all__ = [
    "AllEvicted",
    "CloseReport",
    "ConfigError",
    "ConnectError",
    "ConnectionInfo",
    "Error",
    "Holder",
    "NotLent",
    "Pool",
    "PoolClosed",
    "PoolEmpty",
    "PoolForked",
    "PoolTimeout",
    "Stats",
    "Times",
    "TooManyWaiters",
    "TurnedAway",
]

__version__ = "0.1.0"

#: For how long the interpreter's exit waits for connections to be closed, in seconds.
EXIT_TIMEOUT = _EXIT_TIMEOUT = 1.0

_caliburn.note_main_thread(_threading.main_thread().ident or 0)


def _at_exit() -> None:
    try:
        timeout = float(EXIT_TIMEOUT)
    except (TypeError, ValueError, OverflowError):
        # Whatever it was set to: the pools are closed.
        timeout = _EXIT_TIMEOUT
    _caliburn.close_all(timeout)


def _after_fork_in_child() -> None:
    _caliburn.after_fork_in_child(_threading.get_ident())


_atexit.register(_at_exit)
if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(
        before=_caliburn.before_fork,
        after_in_parent=_caliburn.after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
