"""The examples run, and what the pages show as Python is Python that works."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from servers import Postgres

HERE = Path(__file__).parent.parent
PAGES = ("README.md", "MIGRATING.md")


def run(name, *arguments):
    command = [sys.executable, "-W", "error", str(HERE / "examples" / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_nimues_program_runs_on_sqlite():
    pytest.importorskip("bottle")
    tables, stats = map(json.loads, run("tables_sqlite.py", "--once"))
    assert tables == {"tables": ["singer", "song"]}
    assert 2 <= stats["size"] <= 8


def test_nimues_program_runs_on_postgresql():
    pytest.importorskip("bottle")
    pytest.importorskip("psycopg2")
    if not Postgres.is_there():
        pytest.skip("PostgreSQL is not installed")
    with Postgres() as server:
        [answer] = run("tables_postgres.py", server.url, "--once")
    assert "pg_aggregate" in json.loads(answer)["tables"]


def test_a_thousand_tasks_share_four_connections():
    [line] = run("songs_asyncio.py")
    assert line.startswith("1000 songs on ")


def snippets():
    for page in PAGES:
        text = (HERE / page).read_text()
        for number, snippet in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL)):
            yield pytest.param(page, snippet, id=f"{page}-{number}")


@pytest.mark.parametrize(("page", "snippet"), list(snippets()))
def test_what_a_page_shows_runs(page, snippet, tmp_path, monkeypatch):
    """Each runs in a folder with a database `songs.db`, or on a server if it names `DATABASE`."""
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as stack:
        names = {"__name__": "snippet"}
        if "DATABASE" in snippet:
            pytest.importorskip("psycopg")
            if not Postgres.is_there():
                pytest.skip("PostgreSQL is not installed")
            names["DATABASE"] = stack.enter_context(Postgres()).url
        with contextlib.closing(sqlite3.connect("songs.db")) as connection:
            connection.execute("CREATE TABLE song (title TEXT, singer TEXT)")
        exec(compile(snippet, page, "exec"), names)
        pools = [value for value in names.values() if hasattr(value, "close_within")]
        for pool in pools:
            pool.close()
