"""The pool."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar

from . import _caliburn, _config, _driver
from .stats import CloseReport, ConnectionInfo, Holder, Stats, Times

C = TypeVar("C")


def _callable(name: str, value: Any) -> None:
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {type(value).__name__}")


class Pool(_caliburn.Pool[C], Generic[C]):
    """A pool of connections of a thread-safe DB-API 2.0 driver.

    It lends the driver's own objects, so that using one costs nothing extra:

        pool = Pool(psycopg.connect, ["dbname=songs"], max_size=16)
        with pool.connection() as conn:
            conn.execute("SELECT 1")

    A connection comes back with its transaction rolled back: commit yourself.

    connect, args, kwargs
        Opens a connection: `connect(*args, **kwargs)`, on a thread of the pool.
    max_size, min_size, min_idle, initial_size
        How many connections are open at most, at least, idle at least, and opened at the start.
    capacity
        The upper bound of `max_size` for the pool's whole life; by default `max_size`.
    checkout_timeout, connect_timeout, ping_timeout, reset_timeout, close_timeout
        Limits in seconds; of `checkout_timeout`, `None` is no limit.
    idle_timeout
        For how long a connection that is not needed for `min_size` stays open; `None`: for good.
    health
        Strategies by name: "ping_on_borrow", "ping_after_failure", "periodic_sweep",
        "age_eviction"; one, several, or a mapping such as
        `{"ping_on_borrow": 0.5, "age_eviction": {"max_lifetime": 1800}}`; `None`: none.
    check
        How a connection is pinged: a query, or a callable that raises or returns `False` if the
        connection is dead. It is called on a thread of the pool.
    reset
        "rollback": roll back on return if a transaction is open, or if the driver does not tell.
        `None`: nothing. Or a callable, called after each loan.
    reset_on
        "borrower": the thread that returns the connection resets it; "worker": a thread of the
        pool does.
    close
        How a connection is closed; by default with its `close()`.
    is_permanent
        Tells of an exception of `connect` whether it will stay (a wrong password): then all who
        wait fail at once. By default mistakes in the program and rejected logins are permanent.
    max_waiters, fairness, shedding, fail_fast, sweep_interval, leak_threshold,
    connect_concurrency, maintenance_concurrency, worker_threads
        As in the core; the README has a table.
    trace
        Notes where each connection is borrowed, for `holders()` and warnings, at some 1 µs each.
    wait_ready
        Waits in the constructor until the initial connections are open, for so many seconds.
    name
        For `repr` and logs.
    """

    __slots__ = ("_changes", "_changing", "name")

    name: str | None
    _changing: threading.RLock
    _changes: int

    def __new__(
        cls,
        connect: Callable[..., C],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        max_size: int = 10,
        min_size: int = 0,
        min_idle: int = 0,
        initial_size: int | None = None,
        capacity: int | None = None,
        checkout_timeout: float | None = 30.0,
        connect_timeout: float = 10.0,
        ping_timeout: float = 5.0,
        reset_timeout: float = 5.0,
        close_timeout: float = 5.0,
        idle_timeout: float | None = 600.0,
        health: str | Sequence[str] | Mapping[str, Any] | None = "ping_after_failure",
        check: Callable[[C], Any] | str = "SELECT 1",
        reset: Callable[[C], Any] | Literal["rollback"] | None = "rollback",
        reset_on: Literal["borrower", "worker"] = "borrower",
        close: Callable[[C], Any] | None = None,
        is_permanent: Callable[[BaseException], bool] | None = None,
        max_waiters: int | None = None,
        fairness: str | Mapping[str, float] = "fifo",
        shedding: str | Mapping[str, Any] = "off",
        fail_fast: bool = False,
        sweep_interval: float | None = None,
        leak_threshold: float | None = None,
        connect_concurrency: int = 4,
        maintenance_concurrency: int = 4,
        worker_threads: int = 32,
        trace: bool = False,
        wait_ready: float | None = None,
        name: str | None = None,
    ) -> Self:
        _callable("connect", connect)
        if isinstance(args, (str, bytes)) or not isinstance(args, Iterable):
            raise TypeError(f"args must be a sequence of arguments, not {type(args).__name__}")
        if kwargs is not None and not isinstance(kwargs, Mapping):
            raise TypeError(f"kwargs must be a mapping of arguments, not {type(kwargs).__name__}")
        if not isinstance(trace, bool):
            raise TypeError(f"trace must be a bool, not {type(trace).__name__}")
        if not isinstance(check, str):
            _callable("check", check)
        if isinstance(reset, str):
            if reset != "rollback":
                raise ValueError(f'reset must be "rollback", None or a callable, not {reset!r}')
        elif reset is not None:
            _callable("reset", reset)
        if not isinstance(reset_on, str):
            raise TypeError(f"reset_on must be a str, not {type(reset_on).__name__}")
        if reset_on not in ("borrower", "worker"):
            raise ValueError(f'reset_on must be "borrower" or "worker", not {reset_on!r}')
        if close is not None:
            _callable("close", close)
        if is_permanent is not None:
            _callable("is_permanent", is_permanent)
        settings: dict[str, Any] = {
            "max_size": max_size,
            "min_size": min_size,
            "min_idle": min_idle,
            "checkout_timeout": checkout_timeout,
            "connect_timeout": connect_timeout,
            "ping_timeout": ping_timeout,
            "reset_timeout": reset_timeout,
            "close_timeout": close_timeout,
            "idle_timeout": idle_timeout,
            "health": health,
            "max_waiters": max_waiters,
            "fairness": fairness,
            "shedding": shedding,
            "fail_fast": fail_fast,
            "sweep_interval": sweep_interval,
            "leak_threshold": leak_threshold,
            "connect_concurrency": connect_concurrency,
            "maintenance_concurrency": maintenance_concurrency,
            "worker_threads": worker_threads,
        }
        optional = {"initial_size": initial_size, "capacity": capacity}
        settings.update((key, value) for key, value in optional.items() if value is not None)
        driver = _driver.Driver(
            connect,
            tuple(args),
            {} if kwargs is None else dict(kwargs),
            check,
            None if isinstance(reset, str) else reset,
            close,
            is_permanent or _driver.is_permanent,
        )
        when = "never" if reset is None else "if_open" if isinstance(reset, str) else "always"
        self = super().__new__(
            cls, driver, _config.to_json(settings), when, reset_on == "worker", trace
        )
        # A signal's handler may call `change` within `change`.
        self._changing = threading.RLock()
        self._changes = 0
        self.name = name
        if wait_ready is not None:
            _config.time_text("wait_ready", wait_ready)
            try:
                self.wait_ready(wait_ready)
            except BaseException:
                self.close()
                raise
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Before the collector clears a cycle that the pool is a part of.
        self._finalize()

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        if self.closed:
            return f"<caliburn.Pool{name}, closed>"
        stats = self.stats()
        return (
            f"<caliburn.Pool{name}, {stats.size} of {stats.max_size} open: "
            f"{stats.idle} idle, {stats.lent} lent; {stats.waiting} waiting>"
        )

    def stats(self) -> Stats:
        """Returns a snapshot of gauges and counters."""
        figures = self._stats()
        for name in ("wait_time", "connect_time", "ping_time", "reset_time"):
            figures[name] = Times(**figures[name])
        return Stats(**figures)

    def holders(self) -> list[Holder]:
        """Returns who holds connections now, the longest first."""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        holders = [
            Holder(names.get(ident), ident, since, label, location)
            for ident, since, label, location in self._holders()
        ]
        return sorted(holders, key=lambda holder: -holder.since)

    def info(self, connection: C) -> ConnectionInfo:
        """Returns what the pool knows of a connection on loan."""
        return ConnectionInfo(**self._info(connection))

    @property
    def settings(self) -> dict[str, Any]:
        """The current settings, by the names of the constructor's parameters."""
        return self._settings()

    def change(self, **settings: Any) -> None:
        """Changes settings while the pool runs: all of those given, or none.

        A lowered `max_size` closes idle connections at once, and lent ones on their return.
        """
        with self._changing:
            before = None
            while before != self._changes:
                before = self._changes
                current = self._settings()
                for name in settings:
                    if name not in current:
                        raise TypeError(f"{name} is not a setting that can be changed")
                changed = _config.to_json({**current, **settings})
            self._changes += 1
            self._set(changed)

    def close_within(self, timeout: float) -> CloseReport:
        """Closes the pool and waits until every connection is closed, up to `timeout` seconds."""
        return CloseReport(**self._close_within(timeout))
