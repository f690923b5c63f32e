"""Real drivers on real servers, which are killed."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time

import pytest
from fakes import Thread, eventually
from servers import MariaDb, Postgres

import caliburn
from caliburn import Pool, nimue

SERVERS = {"psycopg": Postgres, "psycopg2": Postgres, "pymysql": MariaDb}


def connecting(name, server):
    """What opens a connection of the driver of that name."""
    driver = pytest.importorskip(name)
    if name != "pymysql":
        return lambda: driver.connect(server.url, connect_timeout=2)
    return lambda: driver.connect(
        host="127.0.0.1",
        port=server.port,
        user="app",
        password="sesame",
        database="songs",
        connect_timeout=2,
    )


def running(request, name):
    """The server of the driver of that name, which this file's tests share."""
    return request.getfixturevalue(SERVERS[name].__name__.lower())


@pytest.fixture(scope="module")
def postgres():
    if not Postgres.is_there():
        pytest.skip("PostgreSQL is not installed")
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def mariadb():
    if not MariaDb.is_there():
        pytest.skip("MariaDB is not installed")
    with MariaDb() as server:
        yield server


@pytest.fixture(params=["sqlite3", "psycopg", "psycopg2", "pymysql"])
def connect(request, tmp_path):
    """Opens a connection of a driver; the table `song` is there and empty."""
    if request.param == "sqlite3":
        path = str(tmp_path / "songs.db")

        def connect():
            return sqlite3.connect(path, check_same_thread=False, timeout=20)

    else:
        connect = connecting(request.param, running(request, request.param))

    with contextlib.closing(connect()) as connection:
        execute(connection, "DROP TABLE IF EXISTS song")
        execute(connection, "CREATE TABLE song (title VARCHAR(80))")
        connection.commit()
    return connect


def execute(connection, sql):
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else None


def count(connection):
    [(number,)] = execute(connection, "SELECT count(*) FROM song")
    return number


def test_what_is_committed_stays_and_what_is_not_is_rolled_back(connect):
    with Pool(connect, max_size=1) as pool:
        with pool.connection() as connection:
            execute(connection, "INSERT INTO song VALUES ('kept')")
            connection.commit()
        with pool.connection() as again:
            assert again is connection
            execute(connection, "INSERT INTO song VALUES ('lost')")
        with pool.connection() as again:
            assert again is connection
            assert count(connection) == 1


def test_a_rollback_in_the_background_is_done_before_the_next_loan(connect):
    with Pool(connect, max_size=1, reset_on="worker") as pool:
        for _ in range(20):
            with pool.connection() as connection:
                assert count(connection) == 0
                execute(connection, "INSERT INTO song VALUES ('lost')")


def test_a_connection_that_its_borrower_closed_is_not_lent_again(connect):
    with Pool(connect, max_size=1) as pool:
        for _ in range(3):
            with pool.connection() as connection:
                assert count(connection) == 0
                connection.close()


def test_checks_work_and_leave_no_transaction(connect):
    with Pool(connect, max_size=1, health={"ping_on_borrow": "always"}) as pool:
        for _ in range(3):
            with pool.connection() as connection:
                pool.suspect(connection)
        with pool.connection() as connection:
            assert count(connection) == 0
        assert pool.stats().pings >= 3 and pool.stats().ping_failures == 0


def test_many_threads_lose_nothing(connect):
    with Pool(connect, max_size=3, checkout_timeout=60) as pool:

        def work():
            for _ in range(10):
                with pool.connection() as connection:
                    execute(connection, "INSERT INTO song VALUES ('kept')")
                    connection.commit()

        threads = [Thread(work) for _ in range(8)]
        for thread in threads:
            thread.outcome()
        with pool.connection() as connection:
            assert count(connection) == 80
        stats = pool.stats()
        assert stats.checkouts == stats.returns == 81 and stats.size <= 3


def test_nimues_interface_serves_each_driver(connect):
    with nimue.NimueConnectionPool(connect, poolmin=1, poolmax=2) as pool:
        with contextlib.closing(pool.getconnection()) as connection:
            assert count(connection) == 0
            execute(connection, "INSERT INTO song VALUES ('lost')")
        with contextlib.closing(pool.getconnection()) as connection:
            assert count(connection) == 0


def test_a_rejected_login_is_told_at_once(mariadb):
    pymysql = pytest.importorskip("pymysql")

    def connect():
        return pymysql.connect(host="127.0.0.1", port=mariadb.port, user="app", password="wrong")

    with Pool(connect) as pool:
        with pytest.raises(caliburn.ConnectError) as caught:
            pool.getconn(timeout=20)
        assert isinstance(caught.value.__cause__, pymysql.OperationalError)


def test_a_missing_database_is_told_at_once(postgres):
    psycopg = pytest.importorskip("psycopg")
    with Pool(psycopg.connect, [postgres.url.replace("/postgres", "/nowhere")]) as pool:
        with pytest.raises(caliburn.ConnectError, match="nowhere") as caught:
            pool.getconn(timeout=20)
        assert isinstance(caught.value.__cause__, psycopg.OperationalError)


@pytest.mark.parametrize("name", SERVERS)
def test_a_session_that_the_server_has_ended_is_not_lent(request, name):
    server = running(request, name)
    connect = connecting(name, server)
    with Pool(connect, max_size=2, health=None) as pool:
        held = [pool.getconn() for _ in range(2)]
        dead = held[0]
        [(number,)] = execute(dead, server.NUMBER)
        for connection in held:
            connection.rollback()
            pool.putconn(connection)
        with contextlib.closing(connect()) as administrator:
            execute(administrator, server.END.format(number))
            [[still]] = [[1]]
            while still:
                [(still,)] = execute(administrator, server.COUNT.format(number))
                administrator.rollback()
        time.sleep(0.01)
        for _ in range(10):
            with pool.connection() as first, pool.connection() as second:
                assert dead not in (first, second)
                execute(first, "SELECT 1")
                execute(second, "SELECT 1")
        assert pool.stats().evictions["broken"] == 1


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_killed_under_32_threads_costs_no_more_uses_than_were_lent(name):
    driver = pytest.importorskip(name)
    if not SERVERS[name].is_there():
        pytest.skip(f"the server of {name} is not installed")
    with SERVERS[name]() as server:
        pool = Pool(connecting(name, server), max_size=8, checkout_timeout=60)
        failed_uses: list[float] = []
        failed_gets: list[BaseException] = []
        good_uses = [0] * 32
        is_over = threading.Event()

        def work(number):
            while not is_over.is_set():
                try:
                    connection = pool.getconn()
                except caliburn.Error as error:
                    failed_gets.append(error)
                    return
                try:
                    execute(connection, "SELECT 1")
                    connection.rollback()
                    good_uses[number] += 1
                except driver.Error:
                    failed_uses.append(time.monotonic())
                pool.putconn(connection)

        threads = [Thread(lambda number=number: work(number)) for number in range(32)]
        eventually(lambda: sum(good_uses) > 200)
        server.stop()
        time.sleep(0.5)
        before = list(good_uses)
        server.start()
        served = time.monotonic()
        eventually(lambda: sum(good_uses) > sum(before) + 200)
        whole = time.monotonic() - served
        is_over.set()
        for thread in threads:
            thread.outcome()
        pool.close_within(20)
        print(f"failed uses {len(failed_uses)}, whole after {whole:.2f} s")
        assert failed_gets == []
        assert len(failed_uses) <= 8
        assert whole <= 5
