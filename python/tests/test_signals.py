"""Ctrl-C ends a wait, and keeps nobody's place."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from fakes import Server, Thread, eventually

import caliburn
from caliburn import Pool

ROUNDS = int(os.environ.get("CALIBURN_ROUNDS", "5"))


@pytest.fixture
def interrupt():
    """Sends this process a Ctrl-C once a borrower waits; returns when it was sent."""
    sent: list[float] = []

    def interrupt(pool):
        def send():
            eventually(lambda: pool.stats().waiting or pool.stats().opening)
            time.sleep(0.01)
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

        return Thread(send), sent

    return interrupt


def test_a_wait_in_line_ends_within_100_ms(interrupt):
    server = Server()
    with Pool(server.connect, max_size=1) as pool:
        held = pool.getconn()
        for _ in range(ROUNDS):
            thread, sent = interrupt(pool)
            with pytest.raises(KeyboardInterrupt):
                pool.getconn()
            took = time.monotonic() - sent[-1]
            thread.outcome()
            assert took <= 0.1
            assert pool.stats().waiting == 0
        pool.putconn(held)
        assert pool.stats().idle == 1


def test_those_behind_keep_their_places_and_the_connection_is_theirs(interrupt):
    server = Server()
    with Pool(server.connect, max_size=1) as pool:
        held = pool.getconn()
        thread, _ = interrupt(pool)
        served = []

        def borrow(number):
            with pool.connection():
                served.append(number)

        behind = []

        def join():
            eventually(lambda: pool.stats().waiting == 1)
            for number in range(3):
                behind.append(Thread(lambda number=number: borrow(number)))
                eventually(lambda: pool.stats().waiting >= len(behind))

        joiner = Thread(join)
        with pytest.raises(KeyboardInterrupt):
            pool.getconn()
        thread.outcome()
        joiner.outcome()
        eventually(lambda: pool.stats().waiting == 3)
        pool.putconn(held)
        for waiter in behind:
            waiter.outcome()
        assert served == [0, 1, 2]


@pytest.mark.parametrize("what", ["connect", "check", "ready", "close"])
def test_waits_for_the_driver_end_as_well(interrupt, what):
    gate = threading.Event()
    server = Server()

    def connect():
        if what in ("connect", "ready"):
            gate.wait(20)
        return server.connect()

    def check(connection):
        if what == "check":
            gate.wait(20)

    settings = {"check": check, "ping_timeout": 20, "connect_timeout": 20}
    if what == "ready":
        settings["min_size"] = 1
    with Pool(connect, max_size=1, **settings) as pool:

        def send():
            eventually(
                lambda: pool.stats().opening or pool.stats().maintenance or pool.stats().lent
            )
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)

        if what == "check":
            connection = pool.getconn()
            pool.suspect(connection)
            pool.putconn(connection)
        held = pool.getconn() if what == "close" else None
        thread = Thread(send)
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            if what == "ready":
                pool.wait_ready(20)
            elif what == "close":
                pool.close_within(20)
            else:
                pool.getconn()
        assert time.monotonic() - begun < 5
        thread.outcome()
        gate.set()
        if held is not None:
            pool.putconn(held)
        else:
            with pool.connection(timeout=20):
                pass


def test_a_handler_that_returns_lets_the_wait_go_on():
    server = Server()
    calls = []
    before = signal.signal(signal.SIGUSR1, lambda *_: calls.append(pool.stats().waiting))
    try:
        with Pool(server.connect, max_size=1) as pool:
            held = pool.getconn()

            def send():
                eventually(lambda: pool.stats().waiting == 1)
                os.kill(os.getpid(), signal.SIGUSR1)
                eventually(lambda: calls)
                pool.putconn(held)

            thread = Thread(send)
            assert pool.getconn(timeout=20) is held
            thread.outcome()
            assert calls == [1]
            pool.putconn(held)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_handler_may_borrow_while_its_thread_waits():
    server = Server()
    got = []

    def handler(*_):
        try:
            got.append(pool.getconn(timeout=0.05))
        except caliburn.PoolTimeout:
            got.append(None)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with Pool(server.connect, max_size=1) as pool:
            held = pool.getconn()

            def send():
                eventually(lambda: pool.stats().waiting == 1)
                os.kill(os.getpid(), signal.SIGUSR1)
                eventually(lambda: got)
                pool.putconn(held)

            thread = Thread(send)
            assert pool.getconn(timeout=20) is held
            thread.outcome()
            assert got == [None]
            pool.putconn(held)
    finally:
        signal.signal(signal.SIGUSR1, before)
