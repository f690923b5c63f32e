"""A pool for SQLAlchemy's engines."""

from __future__ import annotations

import os
import sqlite3

import pytest
from fakes import Thread, eventually, python

import caliburn

sqlalchemy = pytest.importorskip("sqlalchemy")

from sqlalchemy import event, text  # noqa: E402

from caliburn.sqlalchemy import CaliburnPool  # noqa: E402


@pytest.fixture
def engine(tmp_path):
    engine = build(tmp_path)
    yield engine
    engine.dispose()


def build(tmp_path, **settings):
    settings.setdefault("pool_size", 2)
    settings.setdefault("max_overflow", 0)
    return sqlalchemy.create_engine(
        f"sqlite:///{tmp_path / 'songs.db'}", poolclass=CaliburnPool, **settings
    )


def test_an_engine_borrows_and_returns(engine):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE song (title TEXT)"))
        connection.execute(text("INSERT INTO song VALUES ('Excalibur')"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT title FROM song")).scalar() == "Excalibur"
        assert engine.pool.checkedout() == 1
    assert (engine.pool.checkedout(), engine.pool.checkedin()) == (0, 1)
    assert "Checked out connections: 0" in engine.pool.status()


def test_what_is_not_committed_is_rolled_back(engine):
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE song (title TEXT)"))
        connection.commit()
        connection.execute(text("INSERT INTO song VALUES ('lost')"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM song")).scalar() == 0


def test_a_checkout_at_the_limit_times_out_as_sqlalchemy_says_it(tmp_path):
    engine = build(tmp_path, pool_timeout=0.1)
    held = [engine.connect() for _ in range(2)]
    with pytest.raises(sqlalchemy.exc.TimeoutError) as caught:
        engine.connect()
    assert isinstance(caught.value.__cause__, caliburn.PoolTimeout)
    for connection in held:
        connection.close()
    engine.dispose()


def test_waiters_are_served_when_a_connection_comes_back(engine):
    held = [engine.connect() for _ in range(2)]
    waiter = Thread(engine.connect)
    eventually(lambda: engine.pool.core.stats().waiting == 1)
    held.pop().close()
    waiter.outcome().close()
    held.pop().close()


def test_an_invalidated_connection_is_replaced(engine):
    opened = []
    event.listen(engine, "connect", lambda connection, _: opened.append(connection))
    with engine.connect() as connection:
        connection.invalidate()
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    assert len(opened) == 2
    eventually(lambda: engine.pool.core.stats().size == 1)


def test_sqlalchemys_events_and_pings_work(tmp_path):
    engine = build(tmp_path, pool_pre_ping=True, pool_recycle=3600)
    seen = []
    for name in ("connect", "checkout", "checkin", "reset", "close"):
        event.listen(engine, name, lambda *_, name=name: seen.append(name))
    with engine.connect():
        pass
    engine.dispose()
    eventually(lambda: "close" in seen)
    assert seen[:2] == ["connect", "checkout"] and "checkin" in seen
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_the_drivers_error_is_what_sqlalchemy_makes_of_it(tmp_path):
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}", poolclass=CaliburnPool, pool_size=1)
    with pytest.raises(sqlalchemy.exc.OperationalError) as caught:
        engine.connect()
    assert isinstance(caught.value.orig, sqlite3.OperationalError)
    engine.dispose()


def test_settings_of_the_core_are_passed_on(tmp_path):
    engine = build(tmp_path, pool_size=3, max_overflow=4, caliburn={"max_waiters": 9})
    assert engine.pool.core.settings["max_size"] == 7
    assert engine.pool.core.settings["max_waiters"] == 9
    assert engine.pool.recreate().core.settings["max_waiters"] == 9
    with pytest.raises(TypeError, match="luck"):
        build(tmp_path, caliburn={"luck": 1})
    engine.dispose()


def test_a_connection_that_is_lost_comes_home(engine):
    connection = engine.raw_connection()
    del connection
    eventually(lambda: engine.pool.checkedout() == 0)


def test_who_waits_or_comes_while_an_engine_is_disposed_of_is_served(tmp_path):
    engine = build(tmp_path, pool_size=1)
    is_over = []

    def borrow():
        served = 0
        while not is_over:
            with engine.connect() as connection:
                assert connection.execute(text("SELECT 1")).scalar() == 1
            served += 1
        return served

    threads = [Thread(borrow) for _ in range(4)]
    for _ in range(20):
        eventually(lambda: engine.pool.core.stats().checkouts > 1)
        engine.dispose()
    is_over.append(True)
    assert all(thread.outcome() > 0 for thread in threads)
    engine.dispose()


def test_a_pool_that_was_disposed_of_serves_on_and_takes_back_what_it_had_lent(engine):
    with engine.connect() as connection:
        former = engine.pool.core
        engine.pool.dispose()
        assert connection.execute(text("SELECT 1")).scalar() == 1
        with engine.connect() as other:
            assert other.execute(text("SELECT 1")).scalar() == 1
        assert former.stats().lent == 1
    eventually(lambda: former.stats().size == 0)
    assert engine.pool.checkedout() == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_an_engine_built_before_a_fork_serves_the_child():
    done = python("""
        import os, signal, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        import sqlalchemy
        from caliburn.sqlalchemy import CaliburnPool
        engine = sqlalchemy.create_engine(
            "sqlite://", poolclass=CaliburnPool, connect_args={"check_same_thread": False}
        )
        ask = lambda: engine.connect().exec_driver_sql("SELECT 1").scalar()
        for is_used in (False, True):
            if is_used:
                ask()
            child = os.fork()
            if child == 0:
                signal.alarm(15)
                os._exit(0 if ask() == 1 else 1)
            assert os.waitpid(child, 0)[1] == 0
        assert ask() == 1
        print("served")
    """)
    assert done.stdout == "served\n", done.stderr


def test_the_drivers_exception_keeps_its_cause_and_is_each_callers_own():
    root = KeyError("root cause")

    def connect():
        raise ValueError("no") from root

    pool = CaliburnPool(connect, pool_size=1, max_overflow=0)
    raised = []
    for _ in range(3):
        with pytest.raises(ValueError, match="no") as caught:
            pool.connect()
        assert caught.value.__cause__ is root
        raised.append(caught.value)
    assert len({id(error) for error in raised}) == 3
    pool.dispose()
