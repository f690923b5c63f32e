"""The tables of a PostgreSQL database as JSON, over HTTP: Nimue's example.

    pip install ./python bottle psycopg2-binary
    python python/examples/tables_postgres.py "dbname=songs user=app"

Then open http://127.0.0.1:8080/tables. With `--once` it asks itself, and ends.
"""

from __future__ import annotations

import contextlib
import sys

import bottle
import psycopg2
from web import ask_itself, serve

from caliburn import nimue

database = next((argument for argument in sys.argv[1:] if argument != "--once"), "")
pool = nimue.NimueConnectionPool(psycopg2.connect, connargs=[database], poolmin=2, poolmax=8)


@bottle.route("/tables")
def tables() -> dict[str, list[str]]:
    with contextlib.closing(pool.getconnection()) as conn:
        with contextlib.closing(conn.cursor()) as cursor:
            cursor.execute("SELECT tablename FROM pg_tables ORDER BY tablename LIMIT 10")
            return {"tables": [name for (name,) in cursor.fetchall()]}


if __name__ == "__main__":
    with pool:
        if "--once" in sys.argv:
            ask_itself("/tables")
        else:
            serve(8080)
