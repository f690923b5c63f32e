"""Nimue's classes."""

from __future__ import annotations

import importlib
import inspect
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType, TracebackType
from typing import Any, Self

from .. import _config, errors
from ..pool import Pool
from . import callback
from .error import (
    NimueDBModuleFailure,
    NimueInvalidParameterValue,
    NimueNoConnectionAvailable,
    NimuePoolClosedError,
)

logger = logging.getLogger(__name__)

#: For how long one connect may take, in seconds; Nimue has no limit.
CONNECT_TIMEOUT = 60.0


def _invalid(text: str) -> NimueInvalidParameterValue:
    return NimueInvalidParameterValue(text)


def _number(name: str, value: Any) -> float:
    number = _config.number(name, value)
    if math.isnan(number):
        raise _invalid(f"{name} must be a number, not nan")
    return number


def _bounds(poolmin: Any, poolmax: Any) -> None:
    """Checks the sizes against each other."""
    for name, value in (("poolmin", poolmin), ("poolmax", poolmax)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
    if poolmin < 0:
        raise _invalid("poolmin cannot be less than 0")
    if poolmax < 1:
        raise _invalid("poolmax cannot be less than 1")
    if poolmax < poolmin:
        raise _invalid(f"poolmax ({poolmax}) cannot be less than poolmin ({poolmin})")


def _times(cleanup_interval: Any, idle_timeout: Any) -> None:
    if _number("cleanup_interval", cleanup_interval) <= 0:
        raise _invalid("cleanup_interval must be greater than 0")
    if _number("idle_timeout", idle_timeout) < 0:
        raise _invalid("idle_timeout cannot be less than 0")


def _takes_logger(function: Callable[..., Any]) -> bool:
    """Whether a callback is written for the older interface, with a logger."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False
    try:
        signature.bind(None, None)
    except TypeError:
        try:
            signature.bind(None, None, None)
        except TypeError:
            return False
        return True
    return False


def find_dbmodule(cls: type) -> ModuleType:
    """The driver's module: the innermost one with a `connect` above the class, or above its bases.

    A class of the user's that derives from a driver's is the driver's.
    """
    for base in cls.__mro__:
        parts = base.__module__.split(".")
        while parts:
            try:
                module = importlib.import_module(".".join(parts))
            except ImportError:
                pass
            else:
                if hasattr(module, "connect") and hasattr(module, "OperationalError"):
                    return module
            parts.pop()
    raise NimueDBModuleFailure(
        f"no module with connect and OperationalError is above {cls.__module__}.{cls.__qualname__}"
    )


class NimueConnectionPoolStats:
    """Figures of a pool.

    poolsize, poolused, poolfree: connections open, in use and free now.
    connections_cleaned_dead, connections_cleaned_idle: those that cleanups have removed.
    cleanup_cycles: number of cleanups.
    """

    __slots__ = (
        "cleanup_cycles",
        "connections_cleaned_dead",
        "connections_cleaned_idle",
        "poolfree",
        "poolsize",
        "poolused",
    )

    def __init__(
        self,
        poolsize: int,
        poolused: int,
        poolfree: int,
        connections_cleaned_dead: int,
        connections_cleaned_idle: int,
        cleanup_cycles: int,
    ) -> None:
        self.poolsize = poolsize
        self.poolused = poolused
        self.poolfree = poolfree
        self.connections_cleaned_dead = connections_cleaned_dead
        self.connections_cleaned_idle = connections_cleaned_idle
        self.cleanup_cycles = cleanup_cycles

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}={getattr(self, name)}" for name in self.__slots__)
        return f"NimueConnectionPoolStats({figures})"


class _Driver:
    """What a pool calls. It does not know the pool, which is then no cycle."""

    def __init__(
        self,
        connfunc: Callable[..., Any],
        connargs: Iterable[Any],
        connkwargs: Mapping[str, Any],
        healthcheck_callback: Callable[..., bool],
    ) -> None:
        self.connfunc = connfunc
        self.connargs = connargs
        self.connkwargs = connkwargs
        self.healthcheck_callback = healthcheck_callback
        self.takes_logger = _takes_logger(healthcheck_callback)
        self.dbmodule: ModuleType | None = None

    def connect(self) -> Any:
        connection = self.connfunc(*self.connargs, **self.connkwargs)
        if self.dbmodule is None and connection is not None:
            try:
                self.dbmodule = find_dbmodule(type(connection))
            except NimueDBModuleFailure:
                connection.close()
                raise
        return connection

    def is_healthy(self, connection: Any) -> bool:
        """Asks the callback; what it raises is logged, and means no."""
        try:
            if self.takes_logger:
                return bool(self.healthcheck_callback(connection, self.dbmodule, logger))
            return bool(self.healthcheck_callback(connection, self.dbmodule))
        except Exception:
            logger.exception("The healthcheck callback raised. Connection is invalidated.")
            return False


class NimueConnectionPool:
    """A pool of connections of a DB-API 2.0 driver.

    connfunc, connargs, connkwargs
        A callable that opens a connection, and what it is called with.
    poolinit
        Number of connections to open at the start; by default `poolmin`.
    poolmin, poolmax
        Minimum and maximum number of connections.
    cleanup_interval
        Seconds between two cleanups, which check idle connections and replace the dead.
    idle_timeout
        Seconds after which an idle connection is closed at a cleanup, down to `poolmin`.
    healthcheck_on_getconnection
        Whether a connection is checked each time that it is handed out.
    healthcheck_callback
        Checks a connection: see `nimue.callback`.
    capacity
        Not Nimue's: the upper bound of `poolmax` for the pool's whole life. By default four times
        `poolmax`, and 100 at least.
    """

    def __init__(
        self,
        connfunc: Callable[..., Any],
        connargs: Iterable[Any] | None = None,
        connkwargs: Mapping[str, Any] | None = None,
        poolinit: int | None = None,
        poolmin: int = 10,
        poolmax: int = 20,
        cleanup_interval: float = 60,
        idle_timeout: float = 300,
        healthcheck_on_getconnection: bool = True,
        healthcheck_callback: Callable[..., bool] = callback.healthcheck_callback_std,
        *,
        capacity: int | None = None,
    ) -> None:
        if not callable(connfunc):
            raise TypeError(f"connfunc must be callable, not {type(connfunc).__name__}")
        _bounds(poolmin, poolmax)
        initial = poolmin if poolinit is None else _config.count("poolinit", poolinit)
        if not poolmin <= initial <= poolmax:
            raise _invalid(f"poolinit ({initial}) must be from poolmin to poolmax")
        _times(cleanup_interval, idle_timeout)
        if not callable(healthcheck_callback):
            raise _invalid("healthcheck_callback must be callable")
        self._poolinit = poolinit
        self._cleanup_interval = cleanup_interval
        self._idle_timeout = idle_timeout
        self._checks = bool(healthcheck_on_getconnection)
        self._driver = _Driver(
            connfunc,
            [] if connargs is None else connargs,
            {} if connkwargs is None else connkwargs,
            healthcheck_callback,
        )
        if initial == 0:
            # One to be looked at and thrown away.
            self._driver.connect().close()
        self._pool: Pool[Any] = Pool(
            self._driver.connect,
            min_size=poolmin,
            max_size=poolmax,
            initial_size=initial,
            capacity=max(4 * poolmax, 100) if capacity is None else capacity,
            checkout_timeout=None,
            connect_timeout=CONNECT_TIMEOUT,
            idle_timeout=idle_timeout,
            sweep_interval=cleanup_interval,
            health=["periodic_sweep", "ping_after_failure"],
            check=self._driver.is_healthy,
            fail_fast=True,
        )
        try:
            self._pool.wait_ready(math.inf)
        except errors.ConnectError as error:
            self._pool.close()
            own = errors.drivers_own(error)
        except BaseException:
            self._pool.close()
            raise
        else:
            return
        raise own

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def connfunc(self) -> Callable[..., Any]:
        """Opens a connection. Read-only."""
        return self._driver.connfunc

    @property
    def connargs(self) -> Iterable[Any]:
        """What `connfunc` is called with. Read-only."""
        return self._driver.connargs

    @property
    def connkwargs(self) -> Mapping[str, Any]:
        """What `connfunc` is called with by name. Read-only."""
        return self._driver.connkwargs

    @property
    def healthcheck_callback(self) -> Callable[..., bool]:
        """Checks a connection. Read-only."""
        return self._driver.healthcheck_callback

    @property
    def poolinit(self) -> int | None:
        """Number of connections opened at the start, if it was given. Read-only."""
        return self._poolinit

    @property
    def poolmin(self) -> int:
        """Minimum number of connections. Raise `poolmax` first if need be."""
        return int(self._pool.settings["min_size"])

    @poolmin.setter
    def poolmin(self, value: int) -> None:
        _bounds(value, self.poolmax)
        self._change(min_size=value)

    @property
    def poolmax(self) -> int:
        """Maximum number of connections. Free ones in excess of it are closed at once."""
        return int(self._pool.settings["max_size"])

    @poolmax.setter
    def poolmax(self, value: int) -> None:
        _bounds(self.poolmin, value)
        self._change(max_size=value)

    @property
    def cleanup_interval(self) -> float:
        """Seconds between two cleanups."""
        return self._cleanup_interval

    @cleanup_interval.setter
    def cleanup_interval(self, value: float) -> None:
        _times(value, self._idle_timeout)
        self._change(sweep_interval=value)
        self._cleanup_interval = value

    @property
    def idle_timeout(self) -> float:
        """Seconds after which an idle connection may be closed."""
        return self._idle_timeout

    @idle_timeout.setter
    def idle_timeout(self, value: float) -> None:
        _times(self._cleanup_interval, value)
        self._change(idle_timeout=value)
        self._idle_timeout = value

    def _change(self, **settings: Any) -> None:
        # The core checks them against each other once more: setters may race.
        try:
            self._pool.change(**settings)
        except errors.ConfigError as error:
            raise _invalid(str(error)) from None

    def getconnection(self, blocking: bool = True, timeout: float | None = None) -> NimueConnection:
        """Returns a connection, which its `close()` gives back.

        Waits for `timeout` seconds if `blocking`, by default for ever. If not, it still opens a
        connection if the pool has room; so does a timeout of 0. Raises NimueNoConnectionAvailable
        if there is none, NimuePoolClosedError if the pool is closed, and the driver's own exception
        if no connection is open and none can be opened.
        """
        if timeout is not None and _number("timeout", timeout) < 0:
            raise _invalid("timeout must be 0 or greater")
        deadline = None
        if not blocking:
            timeout = 0
        if timeout is not None:
            deadline = time.monotonic() + timeout
        while True:
            connection = self._borrow(deadline)
            try:
                if not self._checks or self._driver.is_healthy(connection):
                    return NimueConnection(self, connection)
                is_fresh = self._pool.info(connection).uses == 1
            except BaseException:
                # Ctrl-C in the middle of a check: it is not known what the connection is at.
                self._pool.discard(connection)
                raise
            self._pool.discard(connection)
            if is_fresh:
                raise NimueNoConnectionAvailable("a new connection has failed its healthcheck")

    def _borrow(self, deadline: float | None) -> Any:
        timeout = math.inf if deadline is None else max(0.0, deadline - time.monotonic())
        if timeout == 0 and self._has_room():
            timeout = CONNECT_TIMEOUT
        try:
            return self._pool.getconn(timeout=timeout)
        except errors.PoolClosed:
            raise NimuePoolClosedError("the pool has already been closed") from None
        except errors.ConnectError as error:
            own = errors.drivers_own(error)
        except errors.PoolTimeout as error:
            raise NimueNoConnectionAvailable(str(error)) from error.__cause__
        raise own

    def _has_room(self) -> bool:
        """Whether nothing is free, but one more connection may be opened for this borrower."""
        stats = self._pool.stats()
        is_full = stats.lent + stats.opening + stats.quarantined >= stats.max_size
        return stats.idle == 0 and stats.waiting == 0 and not is_full

    def _put_back(self, connection: Any) -> None:
        if not self._pool.closed:
            self._pool.putconn(connection)
            return
        try:
            connection = self._pool.detach(connection)
        except errors.PoolForked:
            # It is the parent's, whose server must not hear of it.
            return
        connection.close()

    def _cleanpool(self) -> None:
        """Begins a cleanup now."""
        self._pool.sweep()

    def poolstats(self) -> NimueConnectionPoolStats:
        """Returns figures of this moment."""
        stats = self._pool.stats()
        return NimueConnectionPoolStats(
            poolsize=stats.idle + stats.lent,
            poolused=stats.lent,
            poolfree=stats.idle,
            connections_cleaned_dead=stats.evictions["ping failed"] + stats.evictions["broken"],
            connections_cleaned_idle=stats.evictions["idle timeout"],
            cleanup_cycles=stats.sweeps,
        )

    def close(self) -> None:
        """Closes the pool: free connections now, those in use when they are given back."""
        self._pool.close()


class NimueConnection:
    """A connection on loan. It behaves as the driver's, but `close` gives it back to the pool.

    As with the driver's, a `with` block is a transaction where the driver says so; to give the
    connection back at the end of a block use `contextlib.closing`.
    """

    __slots__ = ("__weakref__", "_conn", "_pool")

    def __init__(self, pool: NimueConnectionPool, connection: Any) -> None:
        object.__setattr__(self, "_pool", pool)
        object.__setattr__(self, "_conn", connection)

    def __getattr__(self, name: str) -> Any:
        connection = object.__getattribute__(self, "_conn")
        if connection is None:
            raise AttributeError(f"{name}: the connection was closed, and is its pool's again")
        return getattr(connection, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if self._conn is None:
            raise AttributeError(f"{name}: the connection was closed, and is its pool's again")
        setattr(self._conn, name, value)

    def __enter__(self) -> Self:
        self.__getattr__("__enter__")()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        return self.__getattr__("__exit__")(kind, error, traceback)

    def __del__(self) -> None:
        if getattr(self, "_conn", None) is not None:
            logger.warning("NimueConnection destructor reached without explicit close.")
            self.close()

    def close(self) -> None:
        """Gives the connection back to its pool. A second call does nothing."""
        connection, pool = self._conn, self._pool
        if connection is None:
            return
        object.__setattr__(self, "_conn", None)
        object.__setattr__(self, "_pool", None)
        pool._put_back(connection)
