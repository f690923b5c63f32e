"""A pool for SQLAlchemy's engines.

    create_engine(url, poolclass=CaliburnPool, pool_size=16)

It takes the parameters of `QueuePool`, and those of `caliburn.Pool` in `caliburn`, a dictionary.
SQLAlchemy resets, pings and recycles connections itself, as it does with its own pools; who waits
is served in order, and no connect keeps others.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping
from typing import Any

from sqlalchemy import exc
from sqlalchemy import pool as sa_pool

from . import errors
from .pool import Pool

__all__ = ["CaliburnPool"]


def _is_permanent(error: BaseException) -> bool:
    """A connect that fails is told to those who wait for it, as SQLAlchemy does."""
    return not isinstance(error, ConnectionError)


class CaliburnPool(sa_pool.Pool):
    """See the module.

    pool_size, max_overflow
        `pool_size + max_overflow` connections are open at most; -1 means no overflow limit, which
        is taken as 1,000 more. Those beyond `pool_size` are closed once they are idle.
    timeout
        Seconds that a checkout may wait.
    caliburn
        Parameters of `caliburn.Pool`.
    """

    def __init__(
        self,
        creator: Any,
        pool_size: int = 5,
        max_overflow: int = 10,
        timeout: float | None = 30.0,
        use_lifo: bool = False,
        caliburn: Mapping[str, Any] | None = None,
        **kw: Any,
    ) -> None:
        super().__init__(creator, **kw)
        # Which connection is lent next is the core's choice, and always one used a moment ago.
        del use_lifo
        self._pool_size = pool_size
        self._max_overflow = max_overflow
        self._timeout = timeout
        self._settings = dict(caliburn or {})
        # A child of a fork may inherit it locked, so it is of one process.
        self._replacing = (os.getpid(), threading.Lock())
        #: Disposed of, with connections that are lent still.
        self._former: list[Pool[Any]] = []
        self._core = self._new_core()

    def _new_core(self) -> Pool[Any]:
        overflow = 1_000 if self._max_overflow < 0 else self._max_overflow
        settings: dict[str, Any] = {
            "max_size": (self._pool_size or 1_000) + overflow,
            "checkout_timeout": self._timeout,
            "health": None,
            "fail_fast": True,
            "is_permanent": _is_permanent,
            **self._settings,
        }
        return Pool(self._create_connection, reset=None, close=_close, **settings)

    @property
    def core(self) -> Pool[Any]:
        """The pool beneath: its stats, holders and settings. `dispose` replaces it."""
        return self._core

    def _do_get(self) -> Any:
        while True:
            core = self._core
            try:
                return core.getconn()
            except errors.PoolForked:
                # The engine is the parent's, too, but what it opens from now on is this process's.
                self._replace(core)
                continue
            except errors.PoolClosed:
                if core is self._core:
                    raise
                # Disposed of while this borrower waited: it waits for what comes after.
                continue
            except errors.PoolTimeout as error:
                if error.__cause__ is None or error.phase != "connect":
                    raise exc.TimeoutError(str(error), code="3o7r") from error
                own = errors.drivers_own(error)
            except errors.ConnectError as error:
                own = errors.drivers_own(error)
            raise own

    def _do_return_conn(self, record: Any) -> None:
        core = self._lender(record)
        if record.dbapi_connection is None:
            # It was invalidated. A thread of the pool opens another one.
            core.discard(record)
        else:
            core.putconn(record)

    def _lender(self, record: Any) -> Pool[Any]:
        """The pool that has lent it, which may have been disposed of since."""
        # In this order: whoever replaces it notes it before.
        core = self._core
        return next((former for former in self._former if former.is_lent(record)), core)

    def _replace(self, core: Pool[Any]) -> None:
        """Puts another pool in the place of `core`, unless that is done."""
        if self._replacing[0] != os.getpid():
            self._replacing = (os.getpid(), threading.Lock())
        with self._replacing[1]:
            if core is not self._core:
                return
            self._former = [old for old in self._former if old.stats().lent > 0]
            self._former.append(core)
            self._core = self._new_core()
        core.close()

    def dispose(self) -> None:
        """Closes idle connections now, and the others when they come back.

        Who waits, or comes later, is served with new ones.
        """
        self._replace(self._core)

    def recreate(self) -> CaliburnPool:
        self.logger.info("Pool recreating")
        return self.__class__(
            self._creator,
            pool_size=self._pool_size,
            max_overflow=self._max_overflow,
            timeout=self._timeout,
            caliburn=self._settings,
            recycle=self._recycle,
            echo=self.echo,
            pre_ping=self._pre_ping,
            logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return,
            _dispatch=self.dispatch,
            dialect=self._dialect,
        )

    def size(self) -> int:
        """The number of connections kept open, as `QueuePool` has it."""
        return self._pool_size

    def checkedin(self) -> int:
        """Idle connections."""
        return self._core.stats().idle

    def checkedout(self) -> int:
        """Connections on loan."""
        return self._core.stats().lent

    def overflow(self) -> int:
        """Connections beyond `pool_size`."""
        return self._core.stats().size - self._pool_size

    def timeout(self) -> float:
        """Seconds that a checkout may wait."""
        return math.inf if self._timeout is None else self._timeout

    def status(self) -> str:
        stats = self._core.stats()
        return (
            f"Pool size: {self._pool_size}  Connections in pool: {stats.idle} "
            f"Current Overflow: {stats.size - self._pool_size} "
            f"Current Checked out connections: {stats.lent}"
        )


def _close(record: Any) -> None:
    if record.dbapi_connection is not None:
        record.close()
