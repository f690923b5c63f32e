"""Eight threads on four connections: who is served, how long others wait, and how many loans."""

from __future__ import annotations

import argparse
from typing import Any

from harness import (
    Postgres,
    caliburn_barging,
    closing,
    contend,
    median,
    peers_of_postgres,
    peers_of_sqlite,
    sqlite_connect,
    table,
)


def use(connection: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    cursor.fetchall()
    cursor.close()


def compare(what: str, peers: dict[str, Any], held: float, turns: int, seconds: float) -> None:
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in peers}
    for _ in range(turns):
        for name, make in peers.items():
            with closing(make(4)) as peer:
                figures[name].append(contend(peer, 8, held, seconds, use))
    best = max(median([each["loans"] for each in values]) for values in figures.values())
    rows = [
        [
            f"{what}, {held * 1e6:.0f} µs held",
            "Jain",
            "p99, ms",
            "longest, ms",
            "loans/s",
            "of best",
        ]
    ]
    for name, values in figures.items():
        middle = {key: median([each[key] for each in values]) for key in values[0]}
        rows.append(
            [
                name,
                f"{middle['jain']:.3f}",
                f"{middle['p99'] * 1e3:.2f}",
                f"{middle['longest'] * 1e3:.1f}",
                f"{middle['loans']:.0f}",
                f"{middle['loans'] / best:.2f}",
            ]
        )
    table(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    parser.add_argument("--no-server", action="store_true", help="without PostgreSQL")
    options = parser.parse_args()
    turns, seconds = (1, 0.1) if options.quick else (5, 1.0)
    import psycopg

    for held in (200e-6, 2e-3):
        peers = peers_of_sqlite()
        peers["caliburn, barging 1 ms"] = lambda size: caliburn_barging(sqlite_connect, size)
        compare("sqlite3", peers, held, turns, seconds)
    if options.no_server or not Postgres.is_there():
        return
    with Postgres() as server:

        def connect() -> Any:
            return psycopg.connect(server.url, autocommit=True)

        for held in (200e-6, 2e-3):
            peers = peers_of_postgres(server.url)
            peers["caliburn, barging 1 ms"] = lambda size: caliburn_barging(connect, size)
            compare("psycopg", peers, held, turns, seconds)


if __name__ == "__main__":
    main()
