"""Lending, waiting, returning."""

from __future__ import annotations

import gc
import math
import sqlite3
import threading
import time
import warnings
import weakref

import pytest
from fakes import Connection, Server, Thread, eventually

import caliburn
from caliburn import Pool


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def pool(server):
    with Pool(server.connect, max_size=2) as pool:
        yield pool


def sqlite(**settings):
    return Pool(sqlite3.connect, [":memory:"], {"check_same_thread": False}, **settings)


def test_a_with_block_lends_the_drivers_own_object_and_takes_it_back(pool, server):
    with pool.connection() as connection:
        assert type(connection) is Connection
        assert connection is server.opened[0]
        assert pool.stats().lent == 1
    assert (pool.stats().lent, pool.stats().idle) == (0, 1)


def test_a_connection_goes_back_by_hand(pool):
    connection = pool.getconn()
    assert pool.is_lent(connection)
    pool.putconn(connection)
    assert not pool.is_lent(connection)
    assert pool.getconn() is connection
    pool.putconn(connection)


def test_what_is_not_lent_is_not_taken_back(pool):
    for stranger in (object(), None, 7):
        with pytest.raises(caliburn.NotLent, match="not on loan"):
            pool.putconn(stranger)
    connection = pool.getconn()
    pool.putconn(connection)
    with pytest.raises(caliburn.NotLent):
        pool.putconn(connection)
    with pytest.raises(ValueError):
        pool.discard(connection)


def test_a_block_that_ends_late_does_not_take_the_next_borrowers_connection(pool):
    loan = pool.connection()
    connection = loan.__enter__()
    pool.putconn(connection)
    assert pool.getconn() is connection
    loan.__exit__(None, None, None)
    assert pool.is_lent(connection)
    pool.putconn(connection)


def test_one_loan_object_serves_one_block_at_a_time(pool):
    loan = pool.connection()
    with loan:
        with pytest.raises(caliburn.Error, match="in use"):
            loan.__enter__()
    with loan:
        pass
    assert pool.stats().lent == 0


def test_an_exception_leaves_the_block_and_the_connection_comes_home(pool):
    with pytest.raises(KeyError):
        with pool.connection():
            raise KeyError("x")
    assert pool.stats().lent == 0


def test_a_borrower_waits_its_time_and_learns_what_it_waited_for(pool):
    held = [pool.getconn(), pool.getconn()]
    begun = time.monotonic()
    with pytest.raises(caliburn.PoolTimeout) as caught:
        pool.getconn(timeout=0.2)
    assert 0.19 <= time.monotonic() - begun < 1.0
    assert caught.value.phase == "wait"
    assert caught.value.waited >= 0.19
    assert caught.value.counts["lent"] == 2
    assert isinstance(caught.value, TimeoutError)
    assert "Pool.holders()" in str(caught.value)
    for connection in held:
        pool.putconn(connection)


def test_a_borrower_that_will_not_wait_is_told_at_once(pool):
    held = [pool.getconn(), pool.getconn()]
    for attempt in (lambda: pool.getconn(blocking=False), lambda: pool.getconn(timeout=0)):
        begun = time.monotonic()
        with pytest.raises(caliburn.PoolTimeout):
            attempt()
        assert time.monotonic() - begun < 0.1
    with pytest.raises(caliburn.PoolEmpty):
        pool.getconn(blocking=False)
    pool.putconn(held.pop())
    held.append(pool.getconn(blocking=False))
    for connection in held:
        pool.putconn(connection)


def test_waiters_are_served_in_the_order_in_which_they_came(pool):
    held = [pool.getconn(), pool.getconn()]
    served: list[int] = []

    def borrow(number):
        with pool.connection():
            served.append(number)

    threads = []
    for number in range(6):
        threads.append(Thread(lambda number=number: borrow(number)))
        eventually(lambda: pool.stats().waiting == len(threads))
    pool.putconn(held.pop())
    for thread in threads:
        thread.outcome()
    assert served == list(range(6))
    pool.putconn(held.pop())


def test_a_wait_without_a_limit_ends_with_a_connection(server):
    with Pool(server.connect, max_size=1, checkout_timeout=None) as pool:
        connection = pool.getconn()
        waiters = [Thread(pool.getconn), Thread(lambda: pool.getconn(timeout=math.inf))]
        eventually(lambda: pool.stats().waiting == 2)
        pool.putconn(connection)
        eventually(lambda: any(waiter.result is connection for waiter in waiters))
        pool.putconn(connection)
        assert all(waiter.outcome() is connection for waiter in waiters)
        pool.putconn(connection)


def test_other_threads_run_while_one_waits_and_lending_what_is_idle_keeps_the_gil(pool):
    held = [pool.getconn(), pool.getconn()]
    waiter = Thread(lambda: pool.getconn(timeout=0.3))
    eventually(lambda: pool.stats().waiting == 1)
    # This thread goes on: the waiter does not hold the GIL.
    assert sum(range(10_000)) > 0
    with pytest.raises(caliburn.PoolTimeout):
        waiter.outcome()
    for connection in held:
        pool.putconn(connection)


def test_a_transaction_is_rolled_back_on_the_borrowers_thread(pool):
    with pool.connection() as connection:
        pass
    assert connection.rollback_threads == [threading.current_thread().name]


def test_a_transaction_is_rolled_back_in_the_background_by_choice(server):
    with Pool(server.connect, max_size=1, reset_on="worker") as pool:
        with pool.connection() as connection:
            pass
        eventually(lambda: pool.stats().idle == 1)
        assert connection.rollbacks == 1
        assert connection.rollback_threads[0] != threading.current_thread().name
        assert pool.stats().resets == 1


def test_a_driver_that_tells_is_not_asked_to_roll_back_nothing():
    with sqlite(max_size=1) as pool:
        with pool.connection() as connection:
            connection.execute("CREATE TABLE song (title TEXT)")
            connection.execute("INSERT INTO song VALUES ('Excalibur')")
            assert connection.in_transaction
        assert not connection.in_transaction
        with pool.connection() as again:
            assert again is connection
            assert again.execute("SELECT count(*) FROM song").fetchone() == (0,)


def test_a_reset_of_the_users_own_is_called_after_each_loan(server):
    calls = []
    with Pool(server.connect, max_size=1, reset=calls.append) as pool:
        with pool.connection() as connection:
            pass
        assert calls == [connection] and connection.rollbacks == 0
    with Pool(server.connect, max_size=1, reset=None) as pool:
        with pool.connection() as connection:
            pass
        assert connection.rollbacks == 0


def test_a_connection_whose_reset_raises_is_replaced_and_said_so(pool, server, caplog):
    with pool.connection() as connection:
        connection.is_dead = True
    eventually(lambda: pool.stats().size == 0)
    assert "could not be reset" in caplog.text
    with pool.connection() as other:
        assert other is not connection


def test_a_closed_connection_is_not_lent_again():
    with sqlite(max_size=1) as pool:
        with pool.connection() as connection:
            connection.close()
        with pool.connection() as other:
            assert other is not connection
            other.execute("SELECT 1")


def test_a_borrower_discards_what_it_does_not_trust(pool):
    connection = pool.getconn()
    pool.discard(connection)
    eventually(lambda: connection.closes == 1)
    assert pool.stats().evictions["discarded"] == 1


def test_a_borrower_takes_a_connection_out_for_good(pool):
    connection = pool.getconn()
    assert pool.detach(connection) is connection
    assert (pool.stats().size, pool.stats().detached) == (0, 1)
    assert connection.closes == 0


def test_a_suspect_is_checked_before_its_next_loan(pool):
    connection = pool.getconn()
    pool.suspect(connection)
    pool.putconn(connection)
    with pool.connection() as again:
        assert again is connection
        assert again.queries == ["SELECT 1"]


def test_a_check_is_a_query_or_a_callable_that_answers(server):
    for check in (lambda connection: False, lambda connection: connection.use()):
        with Pool(
            server.connect, max_size=1, check=check, health={"ping_on_borrow": "always"}
        ) as pool:
            with pool.connection() as connection:
                pass
            connection.is_dead = True
            eventually(lambda: pool.stats().ping_failures == 0)
    with Pool(server.connect, max_size=1, check="SELECT 1 FROM DUAL", reset=None) as pool:
        connection = pool.getconn()
        pool.suspect(connection)
        pool.putconn(connection)
        with pool.connection():
            assert connection.queries == ["SELECT 1 FROM DUAL"]


def test_a_dead_connection_is_found_by_its_check_and_replaced(server):
    with Pool(server.connect, max_size=1, health={"ping_on_borrow": "always"}, reset=None) as pool:
        with pool.connection() as connection:
            pass
        connection.is_dead = True
        with pool.connection() as other:
            assert other is not connection
        assert pool.stats().ping_failures == 1


def test_holders_say_who_holds_what_since_when_and_where(server):
    with Pool(server.connect, max_size=2, trace=True) as pool:
        connection = pool.getconn()
        pool.set_label(connection, "monthly report")
        [holder] = pool.holders()
        assert holder.thread == threading.current_thread().name
        assert holder.thread_id == threading.get_ident()
        assert holder.label == "monthly report"
        assert holder.location is not None and __file__ in holder.location
        assert 0 <= holder.since < 10
        assert "monthly report" in str(holder)
        pool.putconn(connection)
        assert pool.holders() == []


def test_stats_are_a_frozen_snapshot(pool):
    with pool.connection():
        pass
    stats = pool.stats()
    assert (stats.checkouts, stats.returns, stats.connects) == (1, 1, 1)
    assert stats.idle + stats.vacant == stats.capacity
    with pytest.raises(AttributeError):
        stats.idle = 7
    assert stats.wait_time.count == stats.waits


def test_info_tells_of_a_connection_on_loan(pool):
    for uses in (1, 2, 3):
        with pool.connection() as connection:
            info = pool.info(connection)
            assert info.uses == uses and info.age >= 0


def test_settings_change_all_at_once_or_not_at_all(server):
    with Pool(server.connect, max_size=4, capacity=10) as pool:
        pool.change(min_size=6, max_size=8)
        assert (pool.settings["min_size"], pool.settings["max_size"]) == (6, 8)
        eventually(lambda: pool.stats().size == 6)
        with pytest.raises(caliburn.ConfigError, match="min_size"):
            pool.change(min_size=9, idle_timeout=None)
        assert (pool.settings["min_size"], pool.settings["idle_timeout"]) == (6, 600.0)
        with pytest.raises(caliburn.ConfigError, match="capacity"):
            pool.change(max_size=11)
        with pytest.raises(TypeError, match="frequency"):
            pool.change(frequency=1)
        pool.change(min_size=0, max_size=2, checkout_timeout=0.5, max_waiters=3)
        eventually(lambda: pool.stats().size == 2)
        pool.change(idle_timeout=None, checkout_timeout=None, fairness={"bounded_barging": 0.001})
        assert pool.settings["checkout_timeout"] is None
        assert pool.settings["fairness"] == {"bounded_barging": 0.001}
        pool.change(shedding={"target": 0.05, "interval": 0.1})
        assert pool.settings["shedding"]["target"] == 0.05


def test_a_closed_pool_lends_nothing_wakes_who_waits_and_closes_what_comes_back(pool):
    held = [pool.getconn(), pool.getconn()]
    waiter = Thread(pool.getconn)
    eventually(lambda: pool.stats().waiting == 1)
    pool.close()
    with pytest.raises(caliburn.PoolClosed):
        waiter.outcome()
    for attempt in (pool.getconn, lambda: pool.getconn(blocking=False)):
        with pytest.raises(caliburn.PoolClosed):
            attempt()
    assert pool.closed
    held[0].cursor()
    for connection in held:
        pool.putconn(connection)
    eventually(lambda: all(connection.closes == 1 for connection in held))
    pool.close()


def test_a_close_that_waits_says_what_is_left(pool):
    connection = pool.getconn()
    report = pool.close_within(0.05)
    assert (report.still_lent, report.is_complete) == (1, False)
    pool.putconn(connection)
    report = pool.close_within(20)
    assert report.is_complete and report.closes == 1


def test_a_connection_that_is_lost_comes_home_with_a_warning(server):
    with Pool(server.connect, max_size=1) as pool:
        connection = pool.getconn()
        number = connection.number
        del connection
        server.opened.clear()
        with pytest.warns(ResourceWarning, match="not returned"):
            with pool.connection(timeout=5) as connection:
                assert connection.number == number


def test_a_block_that_is_abandoned_gives_its_connection_back_with_a_warning(pool):
    def songs():
        with pool.connection() as connection:
            yield connection

    generator = songs()
    next(generator)
    loan = pool.connection()
    loan.__enter__()
    assert pool.stats().lent == 2
    with pytest.warns(ResourceWarning, match="not returned"):
        del loan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # The generator's own end is an orderly one.
        del generator
    eventually(lambda: pool.stats().lent == 0)


def test_a_borrower_keeps_its_connection_when_its_pool_is_collected(server):
    pool = Pool(server.connect)
    connection = pool.getconn()
    del pool
    connection.cursor()
    assert connection.closes == 0


def test_cycles_through_callbacks_and_connections_are_collected():
    closed = []

    class Tied(Connection):
        def close(self):
            closed.append(self.number)

    class Owner:
        def __init__(self):
            self.pool = Pool(self.connect, max_size=2, min_size=2, wait_ready=20)

        def connect(self):
            connection = Tied()
            connection.owner = self
            return connection

    owner = Owner()
    with owner.pool.connection():
        pass
    gone = weakref.ref(owner)
    del owner
    eventually(lambda: gc.collect() >= 0 and len(closed) == 2, "the goodbye")
    eventually(lambda: gc.collect() >= 0 and gone() is None, "the collection")


def test_invalidation_replaces_what_is_idle_at_once(pool):
    with pool.connection() as connection:
        pass
    assert pool.invalidate() == 0
    with pool.connection() as other:
        assert other is not connection


def test_a_paused_pool_lends_nothing_until_it_is_resumed(pool):
    pool.pause()
    with pytest.raises(caliburn.PoolTimeout):
        pool.getconn(timeout=0.05)
    pool.resume()
    with pool.connection():
        pass


def test_the_number_of_waiters_is_limited_by_choice(server):
    with Pool(server.connect, max_size=1, max_waiters=1) as pool:
        connection = pool.getconn()
        waiter = Thread(pool.getconn)
        eventually(lambda: pool.stats().waiting == 1)
        with pytest.raises(caliburn.TooManyWaiters) as caught:
            pool.getconn()
        assert caught.value.counts["waiting"] == 1
        pool.putconn(connection)
        pool.putconn(waiter.outcome())


def test_a_pool_shows_itself_in_words(server):
    pool = Pool(server.connect, name="songs")
    assert "'songs'" in repr(pool) and "0 of 10 open" in repr(pool)
    pool.close()
    assert "closed" in repr(pool)


def test_a_loan_that_two_threads_enter_serves_one_and_refuses_the_other(pool):
    held = [pool.getconn(), pool.getconn()]
    loan = pool.connection()
    first = Thread(loan.__enter__)
    eventually(lambda: pool.stats().waiting == 1)
    with pytest.raises(caliburn.Error, match="in use"):
        loan.__enter__()
    pool.putconn(held.pop())
    assert pool.is_lent(first.outcome())
    loan.__exit__(None, None, None)
    pool.putconn(held.pop())
    assert pool.stats().lent == 0
    with loan as connection:
        assert pool.is_lent(connection)


def test_a_loan_whose_wait_fails_may_be_entered_again(pool):
    held = [pool.getconn(), pool.getconn()]
    loan = pool.connection(timeout=0)
    with pytest.raises(caliburn.PoolTimeout):
        loan.__enter__()
    pool.putconn(held.pop())
    with loan as connection:
        assert pool.is_lent(connection)
    pool.putconn(held.pop())


@pytest.mark.parametrize("kind", [list, tuple])
def test_loans_lost_while_an_exception_is_on_its_way_do_not_spoil_it(server, kind):
    with Pool(server.connect, max_size=2) as pool:

        def lend(number):
            if number == 2:
                raise KeyError(number)
            loan = pool.connection()
            loan.__enter__()
            return loan

        with warnings.catch_warnings(record=True) as warned, pytest.raises(KeyError, match="2"):
            warnings.simplefilter("always")
            kind(map(lend, range(3)))
        assert {one.category for one in warned} == {ResourceWarning}
        eventually(lambda: pool.stats().lent == 0)


def test_the_pool_may_be_changed_while_it_is_being_changed(pool):
    done = []

    class Size:
        def __index__(self):
            if not done:
                done.append(pool.change(min_size=1))
            return 1

    pool.change(max_size=Size())
    assert (pool.settings["max_size"], pool.settings["min_size"]) == (1, 1)


@pytest.mark.parametrize("wrong", ["x", True, [1]])
def test_a_timeout_of_a_wrong_type_is_named(pool, wrong):
    calls = [
        lambda: pool.getconn(timeout=wrong),
        lambda: pool.connection(timeout=wrong),
        lambda: pool.wait_ready(wrong),
        lambda: pool.invalidate(wrong),
        lambda: pool.close_within(wrong),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="timeout must be a number of seconds, not"):
            call()
    with pytest.raises(TypeError, match="blocking must be a bool, not int"):
        pool.getconn(blocking=1)


def test_a_timeout_beyond_all_numbers_is_no_limit(pool):
    pool.putconn(pool.getconn(timeout=10**400))
    with pytest.raises(ValueError, match="timeout must be 0 or more"):
        pool.getconn(timeout=-(10**400))
