"""A driver to play with, and ways to wait for what happens on other threads."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

LONG = 20.0


def eventually(holds: Callable[[], Any], what: str = "the condition") -> Any:
    """Waits until it holds, which is soon, and returns what it answered."""
    deadline = time.monotonic() + LONG
    while True:
        answer = holds()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.001)


class Cursor:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def execute(self, query: str) -> None:
        self.connection.use()
        self.connection.queries.append(query)

    def fetchall(self) -> list[tuple[int]]:
        return [(1,)]

    def close(self) -> None:
        pass


class Connection:
    """A connection of no known driver."""

    numbers = itertools.count()

    def __init__(self) -> None:
        self.number = next(self.numbers)
        self.is_dead = False
        self.closes = 0
        self.rollbacks = 0
        self.rollback_threads: list[str] = []
        self.queries: list[str] = []

    def use(self) -> None:
        if self.is_dead or self.closes:
            raise OSError("the connection is dead")

    def cursor(self) -> Cursor:
        self.use()
        return Cursor(self)

    def rollback(self) -> None:
        self.use()
        self.rollbacks += 1
        self.rollback_threads.append(threading.current_thread().name)

    def commit(self) -> None:
        self.use()

    def close(self) -> None:
        self.closes += 1


class Server:
    """Opens connections, or fails to."""

    def __init__(self) -> None:
        self.opened: list[Connection] = []
        self.error: BaseException | None = None
        self.delay = 0.0

    def connect(self) -> Connection:
        if self.delay:
            time.sleep(self.delay)
        if self.error is not None:
            raise self.error
        connection = Connection()
        self.opened.append(connection)
        return connection


class Thread(threading.Thread):
    """A thread whose result, or exception, is there after `join`."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error

    def outcome(self) -> Any:
        self.join(LONG)
        assert not self.is_alive(), "the thread did not end"
        if self.error is not None:
            raise self.error
        return self.result


def python(code: str, *args: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code), *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
