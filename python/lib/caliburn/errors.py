"""What goes wrong.

Every exception of a pool is an `Error`. If a callback's exception is the reason, it is the
`__cause__`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal


class Error(Exception):
    """The base of all exceptions of caliburn."""


class ConfigError(Error, ValueError):
    """Settings contradict each other. The text lists all problems, not only the first."""


class PoolTimeout(Error, TimeoutError):
    """No connection could be borrowed in time.

    `__cause__` is what the last connect or check raised, if that failed.
    """

    #: What the borrower was waiting for.
    phase: Literal["wait", "connect", "check"] = "wait"
    #: How long it waited, in seconds.
    waited: float = 0.0
    #: What the pool looked like: `max_size`, `idle`, `lent`, `opening`, `maintenance`,
    #: `quarantined`, `waiting`.
    counts: Mapping[str, int] = MappingProxyType({})


class PoolEmpty(PoolTimeout):
    """A borrower that would not wait found no idle connection, or others waiting for one.

    It is told of nothing more: `counts` is empty.
    """


class ConnectError(Error):
    """Connecting fails for good, or the pool was not ready in time.

    `__cause__` is what `connect` raised.
    """

    counts: Mapping[str, int] = MappingProxyType({})


class TooManyWaiters(Error):
    """As many borrowers as `max_waiters` allows wait already."""

    counts: Mapping[str, int] = MappingProxyType({})


class TurnedAway(Error):
    """The pool cannot serve all borrowers in time; see `shedding`."""

    waited: float = 0.0
    counts: Mapping[str, int] = MappingProxyType({})


class AllEvicted(Error):
    """The health strategy evicted every connection, fresh ones too."""

    counts: Mapping[str, int] = MappingProxyType({})


class PoolClosed(Error):
    """The pool is closed.

    When the interpreter ends, it closes all pools. A thread that it does not wait for gets a
    `SystemExit` instead, and so ends without a traceback.
    """


class PoolForked(Error):
    """The process was forked, and the pool is its parent's: build one in the child."""


class NotLent(Error, ValueError):
    """The object is not a connection on loan from this pool."""


def drivers_own(error: Error) -> BaseException:
    """The exception of the driver that is the cause of `error`, to be raised in its place.

    It is a copy where one can be had, as all who waited share the cause. Raise it outside of the
    handler: it keeps the causes that the driver has given it.
    """
    cause = error.__cause__
    if cause is None:
        return error
    try:
        twin = copy.copy(cause)
    except Exception:
        return cause
    if type(twin) is not type(cause) or twin is cause:
        return cause
    twin.__cause__, twin.__context__ = cause.__cause__, cause.__context__
    twin.__suppress_context__ = cause.__suppress_context__
    return twin.with_traceback(cause.__traceback__)
