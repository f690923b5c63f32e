"""A pool for SQLAlchemy's engines.

    create_engine(url, poolclass=CaliburnPool, pool_size=16)

It takes the parameters of `QueuePool`, and those of `caliburn.Pool` in `caliburn`, a dictionary.
SQLAlchemy resets, pings and recycles connections itself, as it does with its own pools; who waits
is served in order, and no connect keeps others.
"""

from __future__ import annotations

import math
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
        overflow = 1_000 if max_overflow < 0 else max_overflow
        settings: dict[str, Any] = {
            "max_size": (pool_size or 1_000) + overflow,
            "checkout_timeout": timeout,
            "health": None,
            "fail_fast": True,
            "is_permanent": _is_permanent,
            **self._settings,
        }
        self._core: Pool[Any] = Pool(self._create_connection, reset=None, close=_close, **settings)

    @property
    def core(self) -> Pool[Any]:
        """The pool beneath: its stats, holders and settings."""
        return self._core

    def _do_get(self) -> Any:
        try:
            return self._core.getconn()
        except errors.PoolTimeout as error:
            if error.__cause__ is not None and error.phase == "connect":
                raise error.__cause__ from None
            raise exc.TimeoutError(str(error), code="3o7r") from error
        except errors.ConnectError as error:
            raise (error.__cause__ or error) from None

    def _do_return_conn(self, record: Any) -> None:
        if record.dbapi_connection is None:
            # It was invalidated. A thread of the pool opens another one.
            self._core.discard(record)
        else:
            self._core.putconn(record)

    def dispose(self) -> None:
        self._core.close()

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
