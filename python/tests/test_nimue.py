"""Each row of Nimue's own tests, and what else its documentation promises."""

from __future__ import annotations

import contextlib
import gc
import sqlite3
import time
import weakref

import pytest
from fakes import Server, Thread, eventually

import caliburn
from caliburn import nimue
from caliburn.nimue import NimueConnection, NimueConnectionPool, callback
from caliburn.nimue.error import (
    NimueDBModuleFailure,
    NimueInvalidParameterValue,
    NimueNoConnectionAvailable,
    NimuePoolClosedError,
)


@pytest.fixture
def database(tmp_path):
    return str(tmp_path / "songs.db")


@pytest.fixture
def build(database):
    """Builds pools, and closes them."""
    with contextlib.ExitStack() as stack:

        def build(**settings):
            settings.setdefault("connargs", [database])
            settings.setdefault("connkwargs", {"check_same_thread": False})
            pool = NimueConnectionPool(sqlite3.connect, **settings)
            return stack.enter_context(pool)

        yield build


def figures(pool):
    stats = pool.poolstats()
    return (stats.poolsize, stats.poolused, stats.poolfree)


def clean_until(pool, expected):
    """Cleans up until the figures are as expected."""

    def holds():
        pool._cleanpool()
        return figures(pool) == expected

    eventually(holds, f"{expected}, now {figures(pool)},")


# The rows, in Nimue's order.


def test_getters_echo_what_was_given(build, database):
    pool = build(poolmin=1, poolmax=2)
    assert pool.connfunc is sqlite3.connect
    assert pool.connargs == [database]
    assert pool.connkwargs == {"check_same_thread": False}
    assert (pool.poolmin, pool.poolmax) == (1, 2)
    assert (pool.cleanup_interval, pool.idle_timeout) == (60, 300)
    assert pool.healthcheck_callback is callback.healthcheck_callback_std


def test_setters_refuse_what_makes_no_sense(build):
    pool = build(poolmin=2, poolmax=4)
    for name, value in (("poolmin", -1), ("poolmin", 5), ("poolmax", 0), ("poolmax", 1)):
        with pytest.raises(NimueInvalidParameterValue, match=name):
            setattr(pool, name, value)
    assert (pool.poolmin, pool.poolmax) == (2, 4)


def test_the_initial_size_is_the_minimum(build):
    assert figures(build(poolmin=3, poolmax=5)) == (3, 0, 3)


def test_the_initial_size_is_what_was_given(build):
    assert figures(build(poolinit=4, poolmin=2, poolmax=5)) == (4, 0, 4)


def test_the_pool_grows_to_its_maximum(build):
    pool = build(poolmin=2, poolmax=4)
    held = [pool.getconnection() for _ in range(4)]
    assert figures(pool) == (4, 4, 0)
    for connection in held:
        connection.close()


def test_a_cleanup_closes_what_is_idle_down_to_the_minimum(build):
    pool = build(poolmin=2, poolmax=4, idle_timeout=0)
    for connection in [pool.getconnection() for _ in range(4)]:
        connection.close()
    clean_until(pool, (2, 0, 2))
    assert pool.poolstats().connections_cleaned_idle == 2


def test_a_lowered_maximum_closes_free_connections(build):
    pool = build(poolmin=2, poolmax=10, poolinit=10)
    pool.poolmax = 4
    eventually(lambda: figures(pool) == (4, 0, 4))
    pool.idle_timeout = 0
    clean_until(pool, (2, 0, 2))


def test_a_lowered_maximum_leaves_those_in_use_alone(build):
    pool = build(poolmin=2, poolmax=10)
    held = [pool.getconnection() for _ in range(10)]
    pool.poolmax = 4
    pool._cleanpool()
    pool._cleanpool()
    assert figures(pool) == (10, 10, 0)
    for connection in held:
        connection.execute("SELECT 1")
        connection.close()
    eventually(lambda: figures(pool) == (4, 0, 4))


def test_the_defaults_are_nimues(build):
    pool = build()
    assert pool.poolinit is None
    assert (pool.poolmin, pool.poolmax) == (10, 20)
    assert (pool.cleanup_interval, pool.idle_timeout) == (60, 300)


def test_parameters_that_contradict_each_other_are_refused(build):
    for bad in (
        {"poolmin": -1},
        {"poolinit": 1, "poolmin": 2},
        {"poolmin": 0, "poolmax": 0},
        {"poolinit": 5, "poolmin": 2, "poolmax": 4},
        {"poolmin": 5, "poolmax": 4},
        {"cleanup_interval": 0},
        {"idle_timeout": -1},
        {"healthcheck_callback": "SELECT 1"},
    ):
        with pytest.raises(NimueInvalidParameterValue):
            build(**bad)
    pool = build(poolmin=5, poolmax=10)
    held = [pool.getconnection() for _ in range(10)]
    with pytest.raises(NimueInvalidParameterValue):
        pool.poolmin = 12
    pool.poolmax = 20
    pool.poolmin = 12
    with pytest.raises(NimueInvalidParameterValue):
        pool.poolmax = 2
    assert (pool.poolmin, pool.poolmax) == (12, 20)
    with pytest.raises(NimueInvalidParameterValue):
        pool.cleanup_interval = 0
    with pytest.raises(NimueInvalidParameterValue):
        pool.idle_timeout = -1
    assert (pool.cleanup_interval, pool.idle_timeout) == (60, 300)
    for connection in held:
        connection.close()


def test_a_get_brings_the_wrapper(build):
    pool = build(poolmin=1, poolmax=1)
    with contextlib.closing(pool.getconnection()) as connection:
        assert type(connection) is NimueConnection
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_get_with_none_free_opens_one_more(build, blocking):
    pool = build(poolmin=1, poolmax=3)
    assert figures(pool) == (1, 0, 1)
    first = pool.getconnection(blocking=blocking)
    assert figures(pool) == (1, 1, 0)
    second = pool.getconnection(blocking=blocking)
    assert figures(pool) == (2, 2, 0)
    first.close()
    second.close()


@pytest.mark.parametrize("blocking", [True, False])
def test_a_new_connection_that_fails_its_check_is_discarded(build, blocking):
    first = []

    def check(connection, dbmodule):
        if not first:
            first.append(connection)
        return connection is first[0]

    pool = build(poolmin=1, poolmax=3, healthcheck_callback=check)
    held = pool.getconnection()
    with pytest.raises(NimueNoConnectionAvailable):
        pool.getconnection(blocking=blocking)
    assert figures(pool) == (1, 1, 0)
    held.close()
    assert figures(pool) == (1, 0, 1)


def test_a_get_with_no_time_fails_at_the_maximum_and_each_get_is_counted(build):
    pool = build(poolmin=1, poolmax=5)
    held = []
    for number in range(1, 6):
        held.append(pool.getconnection(timeout=0))
        assert figures(pool) == (number, number, 0)
    with pytest.raises(NimueNoConnectionAvailable):
        pool.getconnection(timeout=0)
    for connection in held:
        connection.close()


def test_a_get_at_the_maximum_waits_its_time(build):
    pool = build(poolmin=1, poolmax=1)
    held = pool.getconnection()
    begun = time.monotonic()
    with pytest.raises(NimueNoConnectionAvailable):
        pool.getconnection(timeout=0.25)
    assert 0.24 <= time.monotonic() - begun < 2
    held.close()


def test_a_get_that_does_not_block_fails_at_the_maximum(build):
    pool = build(poolmin=1, poolmax=1)
    held = pool.getconnection()
    for timeout in (None, 0, 5):
        with pytest.raises(NimueNoConnectionAvailable):
            pool.getconnection(blocking=False, timeout=timeout)
    held.close()


def test_a_thread_that_waits_gets_the_first_one_returned(build):
    pool = build(poolmin=5, poolmax=5)
    held = [Thread(pool.getconnection).outcome() for _ in range(5)]
    raw = held[2]._conn
    sixth = Thread(pool.getconnection)
    eventually(lambda: pool._pool.stats().waiting == 1)
    held.pop(2).close()
    connection = sixth.outcome()
    assert connection._conn is raw
    for each in [*held, connection]:
        each.close()
    assert figures(pool) == (5, 0, 5)


def test_a_close_restores_the_free_count(build):
    pool = build(poolmin=2, poolmax=2)
    connection = pool.getconnection()
    assert figures(pool) == (2, 1, 1)
    connection.close()
    connection.close()
    assert figures(pool) == (2, 0, 2)


def test_a_connection_stays_usable_after_its_pool_was_closed(build):
    pool = build(poolmin=1, poolmax=1)
    connection = pool.getconnection()
    raw = connection._conn
    cursor = connection.cursor()
    pool.close()
    cursor.execute("SELECT 1")
    assert cursor.fetchone() == (1,)
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError):
        raw.execute("SELECT 1")
    pool.close()
    with pytest.raises(NimuePoolClosedError):
        pool.getconnection()


def test_the_standard_check_is_true_where_a_select_needs_no_table(build):
    with contextlib.closing(build(poolmin=1).getconnection()) as connection:
        assert callback.healthcheck_callback_std(connection, sqlite3) is True


def test_the_check_for_oracle_is_true_only_where_there_is_dual(build):
    with contextlib.closing(build(poolmin=1).getconnection()) as connection:
        assert callback.healthcheck_callback_oracle(connection, sqlite3) is False
        connection.execute("CREATE TABLE dual (dummy)")
        connection.commit()
        assert callback.healthcheck_callback_oracle(connection, sqlite3) is True


def test_a_check_leaves_no_transaction_open(build):
    with contextlib.closing(build(poolmin=1).getconnection()) as connection:
        connection.isolation_level = "DEFERRED"
        connection.execute("CREATE TABLE IF NOT EXISTS song (title)")
        connection.execute("INSERT INTO song VALUES ('x')")
        assert callback.healthcheck_callback_std(connection, sqlite3) is True
        assert not connection.in_transaction


# What else it promises, and what went wrong there.


def test_the_drivers_own_exception_leaves_the_constructor(tmp_path):
    with pytest.raises(sqlite3.OperationalError):
        NimueConnectionPool(sqlite3.connect, [str(tmp_path)])
    with pytest.raises(TypeError):
        NimueConnectionPool(sqlite3.connect)
    with pytest.raises(TypeError, match="connfunc"):
        NimueConnectionPool("songs.db")


def test_the_drivers_own_exception_leaves_a_get_if_nothing_is_open(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    arguments = [str(folder / "songs.db")]
    with NimueConnectionPool(
        sqlite3.connect, arguments, {"check_same_thread": False}, poolmin=0
    ) as pool:
        assert figures(pool) == (0, 0, 0)
        (folder / "songs.db").unlink(missing_ok=True)
        folder.rmdir()
        with pytest.raises(sqlite3.OperationalError):
            pool.getconnection()


def test_the_module_of_a_users_subclass_is_its_drivers(database):
    class Mine(sqlite3.Connection):
        pass

    seen = []

    def check(connection, dbmodule):
        seen.append(dbmodule)
        return True

    with NimueConnectionPool(
        sqlite3.connect,
        [database],
        {"factory": Mine, "check_same_thread": False},
        poolmin=1,
        healthcheck_callback=check,
    ) as pool:
        pool.getconnection().close()
    assert seen and all(module is sqlite3 for module in seen)


def test_a_class_of_no_driver_is_told_at_once():
    for poolmin in (0, 2):
        with pytest.raises(NimueDBModuleFailure):
            NimueConnectionPool(Server().connect, poolmin=poolmin)


def test_a_callback_with_a_logger_gets_one(build):
    loggers = []

    def check(connection, dbmodule, logger):
        loggers.append(logger.name)
        return True

    build(poolmin=1, healthcheck_callback=check).getconnection().close()
    assert loggers == ["caliburn.nimue.pool"]


def test_a_callback_that_raises_costs_the_connection_and_no_slot(build, caplog):
    def check(connection, dbmodule):
        raise OSError("what a day")

    pool = build(poolmin=1, poolmax=2, healthcheck_callback=check)
    for _ in range(5):
        with pytest.raises(NimueNoConnectionAvailable):
            pool.getconnection(timeout=5)
    assert "what a day" in caplog.text
    assert figures(pool)[1] == 0


def test_an_old_connection_that_fails_its_check_is_replaced(build):
    dead = []
    pool = build(poolmin=1, poolmax=1, healthcheck_callback=lambda conn, _: conn not in dead)
    with contextlib.closing(pool.getconnection()) as connection:
        dead.append(connection._conn)
    with contextlib.closing(pool.getconnection()) as connection:
        assert connection._conn not in dead


def test_a_cleanup_replaces_the_dead(build):
    dead = []
    pool = build(
        poolmin=2,
        poolmax=2,
        healthcheck_on_getconnection=False,
        healthcheck_callback=lambda conn, _: conn not in dead,
    )
    held = [pool.getconnection() for _ in range(2)]
    dead.extend(connection._conn for connection in held)
    for connection in held:
        connection.close()
    pool._cleanpool()
    eventually(lambda: pool.poolstats().connections_cleaned_dead == 2)
    eventually(lambda: figures(pool) == (2, 0, 2))
    assert pool.poolstats().cleanup_cycles >= 1
    with contextlib.closing(pool.getconnection()) as connection:
        assert connection._conn not in dead


def test_without_a_check_on_get_none_is_made(build):
    calls = []
    pool = build(
        poolmin=1,
        healthcheck_on_getconnection=False,
        healthcheck_callback=lambda conn, _: calls.append(conn) or True,
    )
    pool.getconnection().close()
    assert calls == []


def test_a_wrapper_passes_on_reads_writes_and_transactions(build):
    pool = build(poolmin=1, poolmax=1)
    with contextlib.closing(pool.getconnection()) as connection:
        connection.row_factory = sqlite3.Row
        assert connection._conn.row_factory is sqlite3.Row
        connection.execute("CREATE TABLE song (title)")
        with connection as same:
            assert same is connection
            connection.execute("INSERT INTO song VALUES ('kept')")
        with pytest.raises(KeyError):
            with connection:
                connection.execute("INSERT INTO song VALUES ('lost')")
                raise KeyError
        rows = connection.execute("SELECT title FROM song").fetchall()
        assert [row["title"] for row in rows] == ["kept"]
    with pytest.raises(AttributeError, match="its pool's again"):
        connection.execute("SELECT 1")
    with pytest.raises(AttributeError, match="its pool's again"):
        connection.row_factory = None


def test_a_close_rolls_back(build):
    pool = build(poolmin=1, poolmax=1)
    with contextlib.closing(pool.getconnection()) as connection:
        connection.execute("CREATE TABLE song (title)")
    with contextlib.closing(pool.getconnection()) as connection:
        connection.execute("INSERT INTO song VALUES ('lost')")
    with contextlib.closing(pool.getconnection()) as connection:
        assert connection.execute("SELECT count(*) FROM song").fetchone() == (0,)


def test_a_wrapper_that_is_collected_comes_home_with_a_warning(build, caplog):
    pool = build(poolmin=1, poolmax=1)
    connection = pool.getconnection()
    del connection
    assert "without explicit close" in caplog.text
    assert figures(pool) == (1, 0, 1)


def test_waiters_are_woken_by_a_close(build):
    pool = build(poolmin=1, poolmax=1)
    held = pool.getconnection()
    waiter = Thread(pool.getconnection)
    eventually(lambda: pool._pool.stats().waiting == 1)
    pool.close()
    with pytest.raises(NimuePoolClosedError):
        waiter.outcome()
    held.close()


def test_a_discarded_connection_makes_room_for_those_who_wait(build):
    """Nimue wakes nobody when it removes a dead connection."""
    dead = []
    pool = build(poolmin=1, poolmax=1, healthcheck_callback=lambda conn, _: conn not in dead)
    held = pool.getconnection()
    waiters = [Thread(pool.getconnection) for _ in range(2)]
    eventually(lambda: pool._pool.stats().waiting == 2)
    dead.append(held._conn)
    held.close()
    for _ in range(2):
        eventually(lambda: any(not waiter.is_alive() for waiter in waiters))
        [done] = [waiter for waiter in waiters if not waiter.is_alive()][:1]
        waiters.remove(done)
        done.outcome().close()


def test_values_of_the_wrong_type_are_refused_by_name(build):
    for name in ("poolmin", "poolmax", "poolinit", "cleanup_interval", "idle_timeout"):
        with pytest.raises(TypeError, match=name):
            build(**{name: "7"})
    pool = build(poolmin=1)
    with pytest.raises(TypeError, match="timeout"):
        pool.getconnection(timeout="7")
    with pytest.raises(NimueInvalidParameterValue, match="timeout"):
        pool.getconnection(timeout=-1)
    with pytest.raises(NimueInvalidParameterValue, match="capacity"):
        pool.poolmax = 101


def test_its_exceptions_are_caliburns():
    assert issubclass(NimuePoolClosedError, caliburn.PoolClosed)
    assert issubclass(NimueNoConnectionAvailable, caliburn.PoolTimeout)
    assert issubclass(NimueInvalidParameterValue, ValueError)
    assert nimue.error.NimueDBModuleFailure is NimueDBModuleFailure


def test_a_pool_that_nobody_closes_is_collected_and_closes_its_connections(database):
    """Nimue's cleanup thread keeps it for good."""

    class Seen(sqlite3.Connection):
        pass

    def alive():
        gc.collect()
        return sum(isinstance(thing, Seen) for thing in gc.get_objects())

    kwargs = {"factory": Seen, "check_same_thread": False}
    pool = NimueConnectionPool(sqlite3.connect, [database], kwargs, poolmin=3)
    pool.getconnection().close()
    gone = weakref.ref(pool)
    assert alive() == 3
    del pool
    eventually(lambda: alive() == 0)
    assert gone() is None


def test_a_check_that_is_interrupted_keeps_no_place(build):
    interrupts = []

    def check(connection, dbmodule):
        if interrupts:
            raise interrupts.pop()
        return True

    pool = build(poolmin=0, poolmax=1, healthcheck_callback=check)
    pool.getconnection(timeout=5).close()
    interrupts.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as caught:
        pool.getconnection(timeout=5)
    pool.getconnection(timeout=5).close()
    assert pool.poolstats().poolused == 0
    del caught
