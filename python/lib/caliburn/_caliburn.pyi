"""The native part of caliburn."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, Self, TypeVar, final

from ._driver import Driver

C = TypeVar("C")

@final
class Loan(AbstractContextManager[C], Generic[C]):
    """A connection for the length of a `with` block."""

    def __enter__(self) -> C: ...
    def __exit__(self, kind: Any, error: Any, traceback: Any, /) -> None: ...

@final
class Wait(Generic[C]):
    """A borrower in the line, for asyncio."""

    def poll(self) -> C | None: ...
    def cancel(self) -> None: ...

class Pool(Generic[C]):
    """The native part of `caliburn.Pool`."""

    def __new__(
        cls,
        driver: Driver,
        config: str,
        reset: str,
        resets_in_background: bool,
        notes_locations: bool,
    ) -> Self: ...
    @property
    def capacity(self) -> int:
        """The number of slots, the upper bound of `max_size`."""
    @property
    def closed(self) -> bool:
        """Whether the pool is closed, or belongs to the parent process."""
    def connection(self, *, blocking: bool = True, timeout: float | None = None) -> Loan[C]:
        """Lends a connection for the length of a `with` block.

        Waits up to `timeout` seconds, by default as long as `checkout_timeout`; `math.inf` is no
        limit. If not `blocking`, lends an idle connection or raises `PoolEmpty`.
        """
    def getconn(self, *, blocking: bool = True, timeout: float | None = None) -> C:
        """Borrows a connection, as `connection`; give it back with `putconn`."""
    def putconn(self, connection: C, *, background: bool = False) -> None:
        """Gives a connection back; if `background`, a thread of the pool resets it."""
    def discard(self, connection: C) -> None:
        """Gives a connection back to be closed, as the borrower knows that it is unusable."""
    def detach(self, connection: C) -> C:
        """Takes a connection on loan out of the pool for good."""
    def suspect(self, connection: C) -> None:
        """Makes the pool check the connection before its next loan."""
    def set_label(self, connection: C, label: str) -> None:
        """Names the work that the connection is borrowed for, for `holders()`."""
    def is_lent(self, connection: object) -> bool:
        """Whether the object is a connection on loan from this pool."""
    def wait_ready(self, timeout: float = 30.0) -> None:
        """Waits until the initial connections are open, or raises `ConnectError`."""
    def sweep(self) -> None:
        """Begins a sweep over the idle connections now."""
    def invalidate(self, timeout: float = 0.0) -> int:
        """Replaces all open connections, within `timeout`; returns how many are still on loan."""
    def pause(self) -> None:
        """Lends nothing until `resume`; borrowers wait."""
    def resume(self) -> None:
        """Ends a pause."""
    def close(self) -> None:
        """Closes the pool: who waits gets `PoolClosed`, what is lent is closed on its return."""
    def _info(self, connection: C) -> dict[str, Any]: ...
    def _wait(self, notify: Callable[[], object], *, timeout: float | None = None) -> Wait[C]: ...
    def _stats(self) -> dict[str, Any]: ...
    def _holders(self) -> list[tuple[int, float, str | None, str | None]]: ...
    def _settings(self) -> dict[str, Any]: ...
    def _set(self, config: str) -> None: ...
    def _finalize(self) -> None: ...
    def _close_within(self, timeout: float) -> dict[str, Any]: ...

def close_all(timeout: float) -> None: ...
def before_fork() -> None: ...
def after_fork_in_parent() -> None: ...
def after_fork_in_child(main_thread: int) -> None: ...
def note_main_thread(number: int) -> None: ...
