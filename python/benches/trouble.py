"""When a connect or a check is slow, and when the server is killed: what that costs the others."""

from __future__ import annotations

import argparse
import threading
import time
from typing import Any

from harness import Postgres, table

import caliburn as pools


class Bare:
    """A driver that is slow when it is told to be."""

    connect_takes = 0.0
    check_takes = 0.0

    def __init__(self) -> None:
        time.sleep(self.connect_takes)

    def close(self) -> None:
        pass

    def rollback(self) -> None:
        pass

    def commit(self) -> None:
        pass

    def cursor(self) -> Any:
        return self


connect = Bare


def longest(get: Any, put: Any, seconds: float) -> float:
    """The longest time that a thread takes to borrow and return, in milliseconds."""
    took = [0.0]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun = time.perf_counter()
        put(get())
        took.append(time.perf_counter() - begun)
        time.sleep(0.0005)
    return max(took) * 1e3


def in_thread(work: Any) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def slow_connect(makers: dict[str, Any], takes: float) -> None:
    """A thread makes the pool open a connection while another uses the one that is there."""
    rows = [[f"one connect of {takes * 1e3:.0f} ms", "longest wait of another thread, ms"]]
    for name, make in makers.items():
        Bare.connect_takes = 0.0
        get, put, close = make()
        first = get()
        Bare.connect_takes = takes
        opener = in_thread(lambda get=get, put=put: put(get()))
        time.sleep(0.02)
        begun = time.perf_counter()
        put(first)
        returning = (time.perf_counter() - begun) * 1e3
        rows.append([name, f"{max(returning, longest(get, put, 1.5 * takes)):.1f}"])
        opener.join()
        close()
    table(rows)


def slow_check(takes: float) -> None:
    """A thread waits for the check of a connection while another uses a second one."""

    def check(_: Any) -> None:
        time.sleep(takes)

    Bare.connect_takes = 0.0
    pool = pools.Pool(connect, max_size=2, min_size=2, wait_ready=20, check=check, reset=None)
    suspect, other = pool.getconn(), pool.getconn()
    pool.suspect(suspect)
    pool.putconn(suspect)
    waiter = in_thread(lambda: pool.putconn(pool.getconn()))
    while pool.stats().maintenance == 0:
        time.sleep(0.001)
    pool.putconn(other)
    rows = [[f"one check of {takes:.1f} s", "longest wait of another thread, ms"]]
    rows.append(["caliburn", f"{longest(pool.getconn, pool.putconn, 0.9 * takes):.1f}"])
    waiter.join()
    pool.close()
    table(rows)


def killed_server() -> None:
    """PostgreSQL is killed under 32 threads, and comes back after half a second."""
    import psycopg

    with Postgres() as server:
        pool = pools.Pool(
            psycopg.connect, [server.url], {"connect_timeout": 2}, max_size=8, checkout_timeout=60
        )
        good = [0] * 32
        failed_uses: list[float] = []
        failed_gets: list[BaseException] = []
        is_over = threading.Event()

        def work(number: int) -> None:
            while not is_over.is_set():
                try:
                    connection = pool.getconn()
                except pools.Error as error:
                    failed_gets.append(error)
                    return
                try:
                    connection.execute("SELECT 1")
                    good[number] += 1
                except psycopg.Error:
                    failed_uses.append(time.monotonic())
                pool.putconn(connection)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        server.stop()
        time.sleep(0.5)
        before = sum(good)
        server.start()
        served = time.monotonic()
        while pool.stats().size < 8 or sum(good) < before + 100:
            time.sleep(0.001)
            if time.monotonic() - served > 30:
                break
        whole = time.monotonic() - served
        is_over.set()
        for thread in threads:
            thread.join()
        pool.close()
    rows = [
        ["PostgreSQL killed under 32 threads on 8", "failed uses", "failed gets", "whole after"]
    ]
    table([*rows, ["caliburn", f"{len(failed_uses)}", f"{len(failed_gets)}", f"{whole:.2f} s"]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    parser.add_argument("--no-server", action="store_true", help="without PostgreSQL")
    options = parser.parse_args()

    def caliburn() -> Any:
        pool = pools.Pool(connect, max_size=2, reset=None)
        return pool.getconn, pool.putconn, pool.close

    def nimue_growing() -> Any:
        import nimue as original

        pool = original.NimueConnectionPool(
            connect, poolmin=1, poolmax=2, healthcheck_on_getconnection=False
        )
        return pool.getconnection, lambda connection: connection.close(), pool.close

    slow_connect({"caliburn": caliburn, "nimue": nimue_growing}, 0.05 if options.quick else 0.2)
    slow_check(0.1 if options.quick else 1.0)
    if not options.no_server and Postgres.is_there():
        killed_server()


if __name__ == "__main__":
    main()
