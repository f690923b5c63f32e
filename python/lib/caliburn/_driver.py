"""What a pool calls: the user's callables, and what is known of some drivers.

The pool's threads run this. It is Python, not Rust, as the interpreter may end a thread that runs
Python code while it goes down.
"""

from __future__ import annotations

import logging
import operator
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .errors import Error

logger = logging.getLogger("caliburn")

#: Drivers that tell without a round trip whether a transaction is open, by their module.
_KINDS = {
    "sqlite3": "sqlite3",
    "_sqlite3": "sqlite3",
    "psycopg": "psycopg",
    "psycopg2": "psycopg2",
    "pymysql": "pymysql",
}

#: What each kind's connections must have to be asked.
_ASKED_FOR = {
    "sqlite3": "in_transaction",
    "psycopg": "pgconn",
    "psycopg2": "get_transaction_status",
    "pymysql": "server_status",
}

#: Descriptors are of C's type `int`.
_MOST_DESCRIPTORS = 2**31

#: A wrong password, no such user, no such database: in the words of SQLSTATE and of MySQL.
_PERMANENT_STATES = {"28000", "28P01", "3D000"}
_PERMANENT_CODES = {1044, 1045, 1049, 1698}
_PERMANENT_TEXTS = ("password authentication failed", "no password supplied")

#: Mistakes in the program, not on the way to the server.
_MISTAKES = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    NameError,
    ImportError,
    NotImplementedError,
)


def kind_of(connection: object) -> str:
    """The kind of a driver's connection, or of a subclass of the user's."""
    for cls in type(connection).__mro__:
        kind = _KINDS.get(str(cls.__module__).partition(".")[0])
        if kind is not None:
            return kind if hasattr(connection, _ASKED_FOR[kind]) else ""
    return ""


def descriptor_of(connection: Any) -> int | None:
    """The number of the connection's socket, if the driver tells it."""
    for name in ("", "_sock"):
        try:
            holder = getattr(connection, name) if name else connection
            number = operator.index(holder.fileno())
        except Exception:
            continue
        if 0 <= number < _MOST_DESCRIPTORS:
            return number
    return None


def run_query(connection: Any, query: str) -> None:
    """Runs a query, reads all of its answer, and leaves no transaction open."""
    cursor = connection.cursor()
    try:
        cursor.execute(query)
        cursor.fetchall()
    finally:
        cursor.close()
    connection.rollback()


def is_permanent(error: BaseException) -> bool:
    """Whether connecting will go on to fail that way."""
    if not isinstance(error, Exception) or isinstance(error, _MISTAKES):
        return True
    if any(cls.__name__ == "ProgrammingError" for cls in type(error).__mro__):
        return True
    if getattr(error, "sqlstate", None) in _PERMANENT_STATES:
        return True
    code = error.args[0] if error.args else None
    if isinstance(code, int) and not isinstance(error, OSError):
        return code in _PERMANENT_CODES
    text = str(error)
    if any(part in text for part in _PERMANENT_TEXTS):
        return True
    return "FATAL" in text and "does not exist" in text


def _crosses_threads(connection: Any) -> Exception | None:
    """Uses an sqlite3 connection on another thread; the answer is what went wrong."""
    wrong: list[Exception] = []

    def use() -> None:
        try:
            connection.cursor().close()
        except Exception as error:
            wrong.append(error)

    try:
        thread = threading.Thread(target=use, name="caliburn-sqlite3", daemon=True)
        thread.start()
    except RuntimeError:
        # The interpreter is about to end, and starts no thread.
        return None
    thread.join()
    return wrong[0] if wrong else None


class Driver:
    """The callables of one pool."""

    __slots__ = (
        "_args",
        "_check",
        "_close",
        "_connect",
        "_is_permanent",
        "_kwargs",
        "_may_cross",
        "_reset",
    )

    def __init__(
        self,
        connect: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        check: Callable[[Any], Any] | str,
        reset: Callable[[Any], Any] | None,
        close: Callable[[Any], Any] | None,
        is_permanent: Callable[[BaseException], bool],
    ) -> None:
        self._connect = connect
        self._args = args
        self._kwargs = kwargs
        self._check = check
        self._reset = reset
        self._close = close
        self._is_permanent = is_permanent
        self._may_cross = False

    def connect(self) -> tuple[Any, str, int | None]:
        connection = self._connect(*self._args, **self._kwargs)
        if connection is None:
            raise TypeError("connect returned None instead of a connection")
        try:
            return connection, self._kind_of(connection), descriptor_of(connection)
        except BaseException:
            self.close_quietly(connection)
            raise

    def _kind_of(self, connection: Any) -> str:
        """The kind of a connection that threads may pass to each other."""
        try:
            kind = kind_of(connection)
        except Exception:
            # What it raises when it is looked at is not known of any kind.
            kind = ""
        if kind == "sqlite3" and not self._may_cross:
            wrong = _crosses_threads(connection)
            if wrong is not None:
                raise ValueError(
                    "sqlite3 ties a connection to the thread that opened it, and a pool opens "
                    "connections on threads of its own: pass check_same_thread=False to "
                    "sqlite3.connect; a pool lends a connection to one borrower at a time"
                ) from wrong
            self._may_cross = True
        return kind

    def check(self, connection: Any) -> None:
        if isinstance(self._check, str):
            run_query(connection, self._check)
        elif self._check(connection) is False:
            raise Error("check returned False")

    def reset(self, connection: Any) -> None:
        if self._reset is None:
            connection.rollback()
        else:
            self._reset(connection)

    def close(self, connection: Any) -> None:
        # The collector has taken it from a pool that was a part of a cycle.
        close = getattr(self, "_close", None)
        if close is None:
            connection.close()
        else:
            close(connection)

    def close_quietly(self, connection: Any) -> None:
        """Of one that is known to be broken: only what the driver itself holds matters."""
        try:
            self.close(connection)
        except Exception:
            logger.debug("a broken connection could not be closed", exc_info=True)

    def is_permanent(self, error: BaseException) -> bool:
        return self._is_permanent(error)

    def log(self, what: str, error: BaseException) -> None:
        # In an outage there may be many of them.
        traceback = error if logger.isEnabledFor(logging.DEBUG) else None
        logger.warning("%s: %s", what, error, exc_info=traceback)
