"""The interpreter's end, in each state that a pool may be in."""

from __future__ import annotations

import os

import pytest
from fakes import python

#: How often each state is tried; the CI tries more often.
ROUNDS = int(os.environ.get("CALIBURN_ROUNDS", "5"))

COMMON = """
import sys, threading, time, atexit
import caliburn

class Connection:
    def close(self):
        print("closed", flush=True)
    def rollback(self):
        pass
    def cursor(self):
        return self
    def execute(self, query):
        pass
    def fetchall(self):
        pass

def run(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread

def until(holds):
    while not holds():
        time.sleep(0.001)
"""

STATES = {
    "idle": """
pool = caliburn.Pool(Connection, max_size=2)
with pool.connection():
    pass
""",
    "waiting": """
pool = caliburn.Pool(Connection, max_size=1)
held = pool.getconn()
for _ in range(8):
    run(pool.getconn)
until(lambda: pool.stats().waiting == 8)
""",
    "pinging": """
def check(connection):
    time.sleep(0.03)
pool = caliburn.Pool(
    Connection, max_size=4, min_size=4, check=check, wait_ready=30,
    health={"ping_on_borrow": "always"},
)
def work():
    while True:
        with pool.connection():
            pass
for _ in range(4):
    run(work)
until(lambda: pool.stats().maintenance > 0)
""",
    "stuck": """
pool = caliburn.Pool(lambda: time.sleep(3600), max_size=4)
for _ in range(4):
    run(pool.getconn)
until(lambda: pool.stats().opening > 0)
""",
    "lent": """
pool = caliburn.Pool(Connection, max_size=4)
held = [pool.getconn() for _ in range(2)]
loan = pool.connection()
loan.__enter__()
""",
    "busy": """
pool = caliburn.Pool(Connection, max_size=2, reset=lambda connection: time.sleep(0.0005))
def work():
    while True:
        with pool.connection():
            time.sleep(0.0002)
for _ in range(6):
    run(work)
until(lambda: pool.stats().checkouts > 50)
""",
    "connecting": """
class Late(Connection):
    def __init__(self):
        begun.append(self)
        # They come back while the interpreter goes down.
        time.sleep(caliburn.EXIT_TIMEOUT + 0.001 * len(begun))
begun = []
caliburn.EXIT_TIMEOUT = 0.05
pools = [caliburn.Pool(Late, max_size=4, min_size=4) for _ in range(4)]
until(lambda: len(begun) == 16)
""",
}


@pytest.mark.parametrize("state", STATES)
def test_the_interpreter_ends_cleanly(state):
    for _ in range(ROUNDS):
        done = python(COMMON + STATES[state] + "\nprint('end', flush=True)\n", timeout=30)
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
        assert "end" in done.stdout
        assert done.stderr == ""


def test_idle_connections_are_closed_before_the_end():
    done = python(COMMON + STATES["idle"])
    assert done.stdout == "closed\n"


def test_a_pool_may_be_used_by_what_runs_at_exit():
    done = python(
        COMMON
        + """
def last():
    with pool.connection():
        print("lent", flush=True)
pool = caliburn.Pool(Connection, max_size=1)
atexit.register(last)
"""
    )
    assert done.stdout.split() == ["lent", "closed"], done


def test_a_thread_that_goes_on_after_the_main_one_keeps_its_pool():
    done = python(
        COMMON
        + """
pool = caliburn.Pool(Connection, max_size=1)
def work():
    time.sleep(0.2)
    with pool.connection():
        print("lent", flush=True)
threading.Thread(target=work).start()
"""
    )
    assert done.stdout.split() == ["lent", "closed"], done


def test_after_the_end_has_begun_a_pool_says_so():
    done = python(
        """
import atexit
def late():
    try:
        pool.getconn()
    except caliburn.PoolClosed as error:
        print(error)
atexit.register(late)
import caliburn
pool = caliburn.Pool(dict, max_size=1)
"""
    )
    assert "the interpreter is about to end" in done.stdout, done


def test_a_driver_in_the_middle_of_a_call_is_not_waited_for_long():
    import time

    begun = time.monotonic()
    done = python(COMMON + STATES["stuck"])
    assert done.returncode == 0
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("ending", ["sys.exit(3)", "raise KeyError('x')", "import os; os._exit(3)"])
def test_other_ways_to_end_are_not_in_the_way(ending):
    done = python(COMMON + STATES["waiting"] + "\n" + ending)
    assert done.returncode in (1, 3)
    assert "Fatal" not in done.stderr


@pytest.mark.parametrize("timeout", ["1e19", "float('inf')", "float('nan')", "-1", "None", "'x'"])
def test_whatever_the_exits_limit_is_set_to_the_pools_are_closed(timeout):
    done = python(
        COMMON
        + f"""
pool = caliburn.Pool(Connection, max_size=1, min_size=1, wait_ready=20)
caliburn.EXIT_TIMEOUT = {timeout}
"""
    )
    assert done.returncode == 0
    assert done.stderr == ""
    if timeout not in ("float('nan')", "-1"):
        assert done.stdout == "closed\n"
