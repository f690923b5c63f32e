"""A fork harms nobody."""

from __future__ import annotations

import os

import pytest
from fakes import python

ROUNDS = int(os.environ.get("CALIBURN_ROUNDS", "5"))

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")

COMMON = """
import os, sys, threading, time, warnings, signal
warnings.simplefilter("ignore", DeprecationWarning)
import caliburn

class Connection:
    def __init__(self):
        self.owner = os.getpid()
    def say(self, what):
        assert os.getpid() == self.owner, f"{what} on the parent's connection"
    def close(self):
        self.say("close")
    def rollback(self):
        self.say("rollback")
    def __del__(self):
        if os.getpid() != self.owner:
            print("destructor of the parent's connection", flush=True)

def run(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread

def until(holds, what=""):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.001)

def in_child(work):
    child = os.fork()
    if child == 0:
        signal.alarm(15)
        status = 1
        try:
            work()
            status = 0
        except BaseException as error:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status == 0, status

def own_pool():
    # A pool that the child builds works fully.
    with caliburn.Pool(Connection, max_size=2, min_size=1) as own:
        held = [own.getconn(), own.getconn()]
        waiter = run(lambda: own.putconn(own.getconn()))
        until(lambda: own.stats().waiting == 1)
        for connection in held:
            own.putconn(connection)
        waiter.join(20)
        assert own.stats().idle == 2, own.stats()
        own.sweep()

def inherited(pool, held):
    now = lambda: pool.getconn(blocking=False)
    for attempt in (pool.getconn, now, pool.connection().__enter__):
        try:
            attempt()
        except caliburn.PoolForked:
            continue
        raise AssertionError("a connection of the parent's was lent")
    assert pool.closed
    for connection in held:
        pool.putconn(connection)
    pool.close()
    assert pool.close_within(0).closes >= 0
    pool.stats(), pool.holders(), repr(pool), pool.settings
    try:
        pool.change(max_size=1)
    except caliburn.ConfigError:
        pass
    else:
        raise AssertionError("a pool of the parent's was changed")
"""

PROGRAMS = {
    "idle": """
pool = caliburn.Pool(Connection, max_size=2)
with pool.connection():
    pass
in_child(lambda: (inherited(pool, []), own_pool()))
with pool.connection():
    pass
""",
    "lent": """
pool = caliburn.Pool(Connection, max_size=2)
held = [pool.getconn(), pool.getconn()]
in_child(lambda: (inherited(pool, held), own_pool()))
for connection in held:
    pool.putconn(connection)
assert pool.stats().idle == 2
""",
    "in a block": """
pool = caliburn.Pool(Connection, max_size=2)
def child():
    own_pool()
with pool.connection():
    in_child(child)
with pool.connection():
    child_in_block = os.fork()
if child_in_block == 0:
    # It has left the parent's block, and said nothing to the parent's server.
    own_pool()
    os._exit(0)
assert os.waitpid(child_in_block, 0)[1] == 0
assert pool.stats().idle == 1
""",
    "while all is busy": """
pool = caliburn.Pool(
    Connection, max_size=2, check=lambda connection: None, health={"ping_on_borrow": "always"},
    reset_on="worker",
)
is_over = False
def work():
    while not is_over:
        with pool.connection():
            pass
threads = [run(work) for _ in range(6)]
until(lambda: pool.stats().checkouts > 20)
for _ in range(5):
    in_child(lambda: (inherited(pool, []), own_pool()))
is_over = True
for thread in threads:
    thread.join(20)
with pool.connection():
    pass
""",
    "while connecting": """
def connect():
    time.sleep(0.2)
    return Connection()
pool = caliburn.Pool(connect, max_size=4)
threads = [run(lambda: pool.putconn(pool.getconn())) for _ in range(4)]
until(lambda: pool.stats().opening > 0)
in_child(lambda: (inherited(pool, []), own_pool()))
for thread in threads:
    thread.join(20)
assert pool.stats().idle >= 1
""",
    "by multiprocessing": """
import multiprocessing
pool = caliburn.Pool(Connection, max_size=2)
with pool.connection():
    pass
context = multiprocessing.get_context("fork")
def work():
    inherited(pool, [])
    own_pool()
process = context.Process(target=work)
process.start()
process.join(30)
assert process.exitcode == 0, process.exitcode
with pool.connection():
    pass
""",
    "twice": """
pool = caliburn.Pool(Connection, max_size=2)
with pool.connection():
    pass
def child():
    own = caliburn.Pool(Connection, max_size=1)
    with own.connection():
        pass
    in_child(lambda: (inherited(pool, []), inherited(own, []), own_pool()))
    with own.connection():
        pass
in_child(child)
""",
    "and an orderly end": """
pool = caliburn.Pool(Connection, max_size=2)
held = pool.getconn()
child = os.fork()
if child == 0:
    own = caliburn.Pool(Connection, max_size=1)
    with own.connection():
        pass
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
pool.putconn(held)
""",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_child_leaves_its_parents_pool_alone_and_has_its_own(program):
    for _ in range(ROUNDS):
        done = python(COMMON + PROGRAMS[program] + "\nprint('end', flush=True)\n")
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
        assert done.stdout == "end\n", done.stdout
        assert done.stderr == ""


def test_nimues_connection_that_a_child_closes_says_nothing():
    done = python(
        COMMON
        + """
import sqlite3
from caliburn import nimue
pool = nimue.NimueConnectionPool(
    sqlite3.connect, [":memory:"], {"check_same_thread": False}, poolmin=1
)
held = [pool.getconnection(), pool.getconnection()]
def work():
    for connection in held:
        connection.close()
in_child(work)
for connection in held:
    connection.execute("SELECT 1")
    connection.close()
print("held", flush=True)
"""
    )
    assert (done.stdout, done.stderr) == ("held\n", ""), done.stderr
