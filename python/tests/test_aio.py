"""The pool, awaited."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time

import pytest
from fakes import Server, Thread, eventually

import caliburn
from caliburn import Pool, aio


@pytest.fixture(params=["asyncio", "uvloop"], autouse=True)
def loop(request, monkeypatch):
    """Each test runs on both event loops."""
    if request.param == "uvloop":
        monkeypatch.setattr(asyncio, "run", pytest.importorskip("uvloop").run)


def test_a_block_lends_what_is_idle_at_once_and_gives_it_back():
    async def main():
        with Pool(Server().connect, max_size=1) as pool:
            async with aio.connection(pool) as connection:
                assert pool.is_lent(connection)
                [holder] = pool.holders()
                assert holder.label == asyncio.current_task().get_name()
            async with aio.connection(pool) as again:
                assert again is connection

    asyncio.run(main())


def test_tasks_and_threads_stand_in_one_line():
    served = []

    async def main(pool):
        async def borrow(number):
            async with aio.connection(pool, timeout=20):
                served.append(number)

        held = await aio.getconn(pool)
        tasks = []
        threads = []

        def thread(number):
            with pool.connection(timeout=20):
                served.append(number)

        for number in range(6):
            if number % 2:
                threads.append(Thread(lambda number=number: thread(number)))
            else:
                tasks.append(asyncio.create_task(borrow(number)))
            while pool.stats().waiting != number + 1:
                await asyncio.sleep(0.001)
        aio.putconn(pool, held)
        await asyncio.gather(*tasks)
        while any(thread.is_alive() for thread in threads):
            await asyncio.sleep(0.001)

    with Pool(Server().connect, max_size=1) as pool:
        asyncio.run(main(pool))
        assert served == list(range(6))


def test_waits_need_no_thread():
    async def main(pool):
        held = [await aio.getconn(pool) for _ in range(2)]
        before = threading.active_count()
        tasks = [asyncio.create_task(aio.getconn(pool, timeout=20)) for _ in range(200)]
        while pool.stats().waiting != 200:
            await asyncio.sleep(0.001)
        assert threading.active_count() == before
        for connection in held:
            aio.putconn(pool, connection)
        for task in tasks:
            aio.putconn(pool, await task)

    with Pool(Server().connect, max_size=2) as pool:
        asyncio.run(main(pool))
        eventually(lambda: pool.stats().idle == 2)


def test_a_cancelled_wait_leaves_the_line_at_once():
    async def main(pool):
        held = await aio.getconn(pool)
        for _ in range(100):
            task = asyncio.create_task(aio.getconn(pool))
            while pool.stats().waiting != 1:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert pool.stats().waiting == 0
        assert pool.stats().cancellations == 100
        aio.putconn(pool, held)

    with Pool(Server().connect, max_size=1) as pool:
        asyncio.run(main(pool))
        eventually(lambda: pool.stats().idle == 1)


def test_a_connection_that_comes_together_with_a_cancellation_goes_back():
    async def main(pool):
        for _ in range(200):
            held = await aio.getconn(pool)
            task = asyncio.create_task(aio.getconn(pool))
            while pool.stats().waiting != 1:
                await asyncio.sleep(0)
            aio.putconn(pool, held)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(20):
                aio.putconn(pool, await aio.getconn(pool))

    with Pool(Server().connect, max_size=1, reset=None) as pool:
        asyncio.run(main(pool))
        eventually(lambda: pool.stats().idle == 1)


def test_a_wait_ends_at_its_timeout():
    async def main(pool):
        held = await aio.getconn(pool)
        begun = time.monotonic()
        with pytest.raises(caliburn.PoolTimeout):
            await aio.getconn(pool, timeout=0.2)
        assert 0.19 <= time.monotonic() - begun < 2
        with pytest.raises(ValueError, match="timeout"):
            await aio.getconn(pool, timeout=-1)
        aio.putconn(pool, held)

    with Pool(Server().connect, max_size=1) as pool:
        asyncio.run(main(pool))


def test_a_connect_does_not_block_the_loop():
    async def main(pool):
        beats = 0
        task = asyncio.create_task(aio.getconn(pool))
        while not task.done():
            await asyncio.sleep(0.005)
            beats += 1
        aio.putconn(pool, await task)
        return beats

    server = Server()
    server.delay = 0.3
    with Pool(server.connect, max_size=1) as pool:
        assert asyncio.run(main(pool)) >= 5


def test_a_transaction_is_rolled_back_by_a_thread_of_the_pool():
    async def main(pool):
        async with aio.connection(pool) as connection:
            pass
        return connection

    with Pool(Server().connect, max_size=1) as pool:
        connection = asyncio.run(main(pool))
        eventually(lambda: connection.rollbacks == 1)
        assert connection.rollback_threads != [threading.current_thread().name]


def test_a_block_tolerates_that_its_connection_has_gone_back_or_been_discarded():
    async def main(pool):
        async with aio.connection(pool) as connection:
            pool.discard(connection)
        loan = aio.connection(pool)
        async with loan:
            with pytest.raises(caliburn.Error, match="in use"):
                await loan.__aenter__()

    with Pool(Server().connect, max_size=1) as pool:
        asyncio.run(main(pool))


def test_a_closed_pool_ends_all_waits():
    async def main(pool):
        held = await aio.getconn(pool)
        tasks = [asyncio.create_task(aio.getconn(pool)) for _ in range(5)]
        while pool.stats().waiting != 5:
            await asyncio.sleep(0.001)
        pool.close()
        for task in tasks:
            with pytest.raises(caliburn.PoolClosed):
                await task
        aio.putconn(pool, held)

    with Pool(Server().connect, max_size=1) as pool:
        asyncio.run(main(pool))


def test_a_loop_that_is_closed_with_waits_in_line_harms_nobody():
    async def main(pool):
        task = asyncio.create_task(aio.getconn(pool))
        await asyncio.sleep(0.01)
        assert not task.done()

    with Pool(Server().connect, max_size=1) as pool:
        held = pool.getconn()
        loop = asyncio.new_event_loop()
        waits = [pool._wait(lambda: loop.call_soon_threadsafe(print)) for _ in range(3)]
        assert [wait.poll() for wait in waits] == [None] * 3
        loop.close()
        asyncio.run(main(pool))
        pool.putconn(held)
        del waits
        with pool.connection(timeout=5):
            pass


def test_several_loops_share_a_pool():
    async def main(pool):
        for _ in range(50):
            async with aio.connection(pool, timeout=20):
                await asyncio.sleep(0)

    with Pool(sqlite3.connect, [":memory:"], {"check_same_thread": False}, max_size=2) as pool:
        threads = [Thread(lambda: asyncio.run(main(pool))) for _ in range(4)]
        for thread in threads:
            thread.outcome()
        assert pool.stats().lent == 0


def test_of_two_tasks_that_enter_one_loan_the_second_is_refused():
    async def main():
        with Pool(Server().connect, max_size=1) as pool:
            held = await aio.getconn(pool)
            loan = aio.connection(pool)
            first = asyncio.create_task(loan.__aenter__())
            while pool.stats().waiting == 0:
                await asyncio.sleep(0)
            with pytest.raises(caliburn.Error, match="in use"):
                await loan.__aenter__()
            aio.putconn(pool, held)
            assert pool.is_lent(await first)
            await loan.__aexit__(None, None, None)
            assert pool.stats().lent == 0

    asyncio.run(main())


def test_a_task_may_have_a_name_that_has_no_encoding():
    async def main():
        with Pool(Server().connect, max_size=1) as pool:

            async def borrow():
                async with aio.connection(pool):
                    return pool.holders()[0].label

            assert await asyncio.create_task(borrow(), name="t\ud800") == "t?"

    asyncio.run(main())
