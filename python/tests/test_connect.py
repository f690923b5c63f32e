"""Connects that fail, hang or bring something odd."""

from __future__ import annotations

import sqlite3
import threading
import time

import pytest
from fakes import Connection, Server, eventually

import caliburn
from caliburn import Pool


def test_a_mistake_in_connect_fails_all_who_wait_at_once_with_its_cause():
    mistake = TypeError("connect() missing 1 required argument")

    def connect():
        raise mistake

    with Pool(connect) as pool:
        begun = time.monotonic()
        with pytest.raises(caliburn.ConnectError, match="missing 1 required") as caught:
            pool.getconn()
        assert caught.value.__cause__ is mistake
        assert time.monotonic() - begun < 5


def test_a_server_that_is_away_is_the_cause_of_a_timeout_and_comes_back():
    server = Server()
    server.error = ConnectionRefusedError("nobody listens")
    with Pool(server.connect) as pool:
        with pytest.raises(caliburn.PoolTimeout, match="last connect failed") as caught:
            pool.getconn(timeout=0.3)
        assert caught.value.__cause__ is server.error
        assert caught.value.phase == "connect"
        server.error = None
        begun = time.monotonic()
        with pool.connection():
            assert time.monotonic() - begun < 2


def test_by_choice_any_failure_to_connect_is_told_at_once():
    server = Server()
    server.error = ConnectionRefusedError("nobody listens")
    with Pool(server.connect, fail_fast=True) as pool:
        with pytest.raises(caliburn.ConnectError) as caught:
            pool.getconn()
        assert caught.value.__cause__ is server.error


def test_the_user_says_which_errors_stay():
    server = Server()
    server.error = RuntimeError("bad license")
    with Pool(server.connect, is_permanent=lambda error: "license" in str(error)) as pool:
        with pytest.raises(caliburn.ConnectError, match="bad license"):
            pool.getconn()


def test_an_is_permanent_that_raises_is_logged_and_the_error_taken_as_passing(caplog):
    server = Server()
    server.error = RuntimeError("bad license")
    with Pool(server.connect, is_permanent=lambda error: 1 / 0) as pool:
        with pytest.raises(caliburn.PoolTimeout):
            pool.getconn(timeout=0.2)
        assert "is_permanent failed" in caplog.text


def test_a_connect_that_returns_none_is_a_mistake():
    with Pool(lambda: None) as pool:
        with pytest.raises(caliburn.ConnectError, match="returned None") as caught:
            pool.getconn()
        assert isinstance(caught.value.__cause__, TypeError)


def test_a_connect_that_returns_the_same_object_twice_is_a_mistake():
    connection = Connection()
    with Pool(lambda: connection, max_size=2) as pool:
        assert pool.getconn() is connection
        with pytest.raises(caliburn.ConnectError, match="open in this pool already"):
            pool.getconn()
        assert connection.closes == 0
        pool.putconn(connection)
        assert pool.getconn() is connection
        pool.putconn(connection)


def test_a_connect_that_hangs_keeps_its_slot_and_no_borrower():
    gate = threading.Event()
    server = Server()

    def connect():
        if not server.opened:
            server.opened.append(Connection())
            gate.wait(20)
        return server.connect()

    with Pool(connect, max_size=2, connect_timeout=0.1, checkout_timeout=0.3) as pool:
        # The first connect hangs, the second serves.
        connection = pool.getconn(timeout=5)
        eventually(lambda: pool.stats().quarantined == 1)
        pool.putconn(connection)
        gate.set()
        eventually(lambda: pool.stats().quarantined == 0)


def test_one_slow_connect_keeps_no_other_borrower():
    gate = threading.Event()
    server = Server()

    def connect():
        if len(server.opened) == 2:
            gate.wait(20)
        return server.connect()

    with Pool(connect, max_size=2, min_size=2, wait_ready=20) as pool:
        pool.discard(pool.getconn())
        eventually(lambda: pool.stats().opening == 1)
        for _ in range(1_000):
            with pool.connection(timeout=5):
                pass
        assert pool.stats().opening == 1 and pool.stats().waits == 0
        gate.set()
        eventually(lambda: pool.stats().size == 2)


def test_sqlites_tie_to_one_thread_is_explained():
    with Pool(sqlite3.connect, [":memory:"]) as pool:
        with pytest.raises(caliburn.ConnectError, match="check_same_thread=False") as caught:
            pool.getconn()
        assert isinstance(caught.value.__cause__, ValueError)
        assert isinstance(caught.value.__cause__.__cause__, sqlite3.ProgrammingError)


def test_the_initial_connections_are_there_when_the_constructor_returns():
    server = Server()
    with Pool(server.connect, initial_size=3, wait_ready=20) as pool:
        assert len(server.opened) == 3
        pool.wait_ready()


def test_a_pool_that_cannot_get_ready_says_why():
    server = Server()
    server.error = PermissionError("not on the list")
    with pytest.raises(caliburn.ConnectError, match="not on the list") as caught:
        Pool(server.connect, min_size=1, wait_ready=0.3)
    assert caught.value.__cause__ is server.error


def test_a_connection_whose_close_raises_is_gone_all_the_same(caplog):
    class Stubborn(Connection):
        def close(self):
            super().close()
            raise OSError("no")

    opened = []

    def connect():
        opened.append(Stubborn())
        return opened[-1]

    with Pool(connect, max_size=1) as pool:
        with pool.connection():
            pass
    eventually(lambda: opened[0].closes)
    eventually(lambda: "could not be closed" in caplog.text)
    assert pool.close_within(20).is_complete


def test_a_connection_whose_destructor_raises_harms_nobody():
    class Sore(Connection):
        def __del__(self):
            raise OSError("ouch")

    with Pool(Sore, max_size=1) as pool:
        pool.discard(pool.getconn())
        with pool.connection() as connection:
            assert connection.closes == 0


def test_a_close_of_the_users_own_is_called_once_for_each_connection():
    closed = []
    server = Server()
    with Pool(server.connect, max_size=1, close=closed.append) as pool:
        with pool.connection() as connection:
            pass
    assert pool.close_within(20).is_complete
    assert closed == [connection] and connection.closes == 0


def test_callbacks_may_use_the_pool_themselves():
    server = Server()
    seen = []

    def connect():
        seen.append(pool.stats().opening)
        with pytest.raises(caliburn.PoolEmpty):
            pool.getconn(blocking=False)
        return server.connect()

    def check(connection):
        seen.append(pool.stats())
        pool.change(idle_timeout=60)

    def reset(connection):
        seen.append(pool.holders())
        if len(server.opened) == 1:
            with pool.connection():
                pass

    with Pool(connect, max_size=2, check=check, reset=reset, health="ping_on_borrow") as pool:
        with pool.connection() as connection:
            pool.suspect(connection)
        with pool.connection():
            pass
        assert len(seen) >= 4
        pool.close()


def test_a_callback_that_closes_the_pool_ends_the_wait():
    def connect():
        pool.close()
        return Connection()

    with Pool(connect, max_size=2) as pool:
        with pytest.raises(caliburn.PoolClosed):
            pool.getconn()


class Odd(Connection):
    """What is known of connections is looked at before they are in the pool."""


class OddDescriptor(Odd):
    def fileno(self):
        return 2**40


class RaisingDescriptor(Odd):
    def fileno(self):
        raise OSError


class RaisingSocket(Odd):
    @property
    def _sock(self):
        raise RuntimeError


class OddModule(Odd):
    __module__ = 5


@pytest.mark.parametrize("kind", [OddDescriptor, RaisingDescriptor, RaisingSocket, OddModule])
def test_a_connection_of_which_nothing_can_be_told_is_lent_all_the_same(kind):
    with Pool(kind, max_size=1) as pool, pool.connection() as connection:
        assert type(connection) is kind


def test_a_connection_that_ends_the_connect_when_it_is_looked_at_is_closed():
    opened = []

    class Ending(Odd):
        def fileno(self):
            raise SystemExit

    def connect():
        opened.append(Ending())
        return opened[-1]

    with Pool(connect, max_size=1) as pool:
        with pytest.raises(caliburn.Error):
            pool.getconn(timeout=0.5)
        assert all(connection.closes == 1 for connection in opened)


def test_a_drivers_words_are_left_as_they_are():
    def connect():
        raise TypeError('connection to "::1": the manager said a::b')

    with Pool(connect) as pool:
        with pytest.raises(caliburn.ConnectError) as caught:
            pool.getconn()
        assert '"::1": the manager said a::b' in str(caught.value)
        with pytest.raises(caliburn.ConnectError) as caught:
            Pool(connect, min_size=1, wait_ready=5)
        assert '"::1": the manager said a::b' in str(caught.value)
