"""What it costs to borrow an idle connection and give it back, beside other pools, in turns.

In time of the thread, so that what else the machine does counts for less.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from harness import Peer, Postgres, median, peers_of_postgres, peers_of_sqlite, table


def loop(peer: Peer, rounds: int) -> float:
    """Nanoseconds of this thread for each get and put, less what the loop costs."""
    get, put = peer.get, peer.put
    begun = time.thread_time()
    for _ in range(rounds):
        put(get())
    return (time.thread_time() - begun) / rounds * 1e9 - empty_loop(rounds)


def empty_loop(rounds: int) -> float:
    """The least that an empty loop costs."""
    return min(one_empty_loop(rounds) for _ in range(5))


def one_empty_loop(rounds: int) -> float:
    begun = time.thread_time()
    for _ in range(rounds):
        pass
    return (time.thread_time() - begun) / rounds * 1e9


def block(pool: Any, rounds: int) -> float:
    begun = time.thread_time()
    for _ in range(rounds):
        with pool.connection():
            pass
    return (time.thread_time() - begun) / rounds * 1e9 - empty_loop(rounds)


def attribute(connection: Any, rounds: int) -> float:
    """Nanoseconds for an attribute of the connection."""
    begun = time.thread_time()
    for _ in range(rounds):
        connection.autocommit
    return (time.thread_time() - begun) / rounds * 1e9 - empty_loop(rounds)


class Bare:
    """A driver whose calls cost nothing: what is left is the pool's."""

    autocommit = False

    def close(self) -> None:
        pass

    def rollback(self) -> None:
        pass

    def cursor(self) -> Any:
        return self


#: Nimue looks for it in the module of a connection's class.
connect = Bare


def compare(what: str, peers: dict[str, Any], turns: int, rounds: int) -> None:
    built = {name: make(4) for name, make in peers.items()}
    figures: dict[str, list[float]] = {name: [] for name in built}
    blocks: list[float] = []
    for _ in range(turns):
        for name, peer in built.items():
            figures[name].append(loop(peer, rounds))
        blocks.append(block(built["caliburn"].pool, rounds))
    own = min(figures["caliburn"])
    rows = [[f"{what}: get and put", "least, ns", "median, ns", "times caliburn's"]]
    for name, values in figures.items():
        rows.append(
            [name, f"{min(values):.0f}", f"{median(values):.0f}", f"{min(values) / own:.1f}"]
        )
    rows.append(
        [
            "caliburn, with block",
            f"{min(blocks):.0f}",
            f"{median(blocks):.0f}",
            f"{min(blocks) / own:.1f}",
        ]
    )
    table(rows)
    for peer in built.values():
        peer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    parser.add_argument("--no-server", action="store_true", help="without PostgreSQL")
    options = parser.parse_args()
    turns, rounds = (2, 500) if options.quick else (40, 5_000)
    from harness import caliburn, dbutils, nimue, sqlalchemy

    bare = {
        name: lambda size, make=make: make(Bare, size)
        for name, make in {
            "caliburn": caliburn,
            "nimue": nimue,
            "DBUtils": dbutils,
            "SQLAlchemy": sqlalchemy,
        }.items()
    }
    # No driver to tell that no transaction is open, and none to ask: as a pool alone.
    bare["caliburn"] = lambda size: caliburn(Bare, size, reset=None)
    compare("a driver that does nothing", bare, turns, rounds)
    compare("sqlite3", peers_of_sqlite(), turns, rounds)
    peer = caliburn(Bare, 1)
    lent, raw = peer.get(), Bare()
    direct = [(attribute(raw, rounds), attribute(lent, rounds)) for _ in range(turns)]
    rows = [["attribute of a connection", "least, ns"]]
    rows.append(["of the driver's own", f"{min(own for own, _ in direct):.1f}"])
    rows.append(["of one on loan from caliburn", f"{min(lent for _, lent in direct):.1f}"])
    table(rows)
    peer.put(lent)
    peer.close()
    if options.no_server or not Postgres.is_there():
        return
    with Postgres() as server:
        compare("psycopg", peers_of_postgres(server.url), turns, rounds // 10)


if __name__ == "__main__":
    main()
