"""The tables of an SQLite database as JSON, over HTTP: Nimue's example, without a server.

    pip install ./python bottle
    python python/examples/tables_sqlite.py

Then open http://127.0.0.1:8080/tables. With `--once` it asks itself, and ends.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import tempfile
from pathlib import Path

import bottle
from web import ask_itself, serve

from caliburn import nimue

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "songs.db"
with contextlib.closing(sqlite3.connect(path)) as connection:
    connection.executescript("CREATE TABLE singer (name); CREATE TABLE song (title, singer)")

pool = nimue.NimueConnectionPool(
    sqlite3.connect,
    connargs=[path],
    # The pool lends a connection to one thread at a time, but not always to the same one.
    connkwargs={"check_same_thread": False},
    poolmin=2,
    poolmax=8,
)


@bottle.route("/tables")
def tables() -> dict[str, list[str]]:
    with contextlib.closing(pool.getconnection()) as conn:
        with contextlib.closing(conn.cursor()) as cursor:
            cursor.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
            return {"tables": [name for (name,) in cursor.fetchall()]}


@bottle.route("/stats")
def stats() -> dict[str, int]:
    figures = pool.poolstats()
    return {"size": figures.poolsize, "used": figures.poolused, "free": figures.poolfree}


if __name__ == "__main__":
    with folder, pool:
        if "--once" in sys.argv:
            ask_itself("/tables", "/stats")
        else:
            serve(8080)
