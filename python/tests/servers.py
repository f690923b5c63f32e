"""Servers of our own: on a free port, in a directory of their own, and gone with it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Postgres:
    """PostgreSQL. It refuses to run as root, and so runs as `postgres` then."""

    NUMBER = "SELECT pg_backend_pid()"
    END = "SELECT pg_terminate_backend({})"
    COUNT = "SELECT count(*) FROM pg_stat_activity WHERE pid = {}"

    def __init__(self, *settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="caliburn-python-"))
        self.settings = settings
        self.binaries = self._binaries()
        if is_root():
            shutil.chown(self.folder, "postgres")
        self.data = self.folder / "data"
        self._run("initdb", "-D", self.data, "-U", "app", "-A", "trust", "--no-sync")
        self.process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.log = (self.folder / "log").open("ab")
        self.start()

    @staticmethod
    def is_there() -> bool:
        return Postgres._binaries() is not None

    @staticmethod
    def _binaries() -> Path | None:
        found = shutil.which("initdb")
        candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        candidates += [Path(found).parent] if found else []
        needed = ("initdb", "postgres", "pg_ctl", "pg_isready")
        is_whole = lambda path: all((path / name).exists() for name in needed)  # noqa: E731
        return next(filter(is_whole, candidates), None)

    def _command(self, program: str, *arguments: Any) -> list[str]:
        command = [str(self.binaries / program), *map(str, arguments)]
        if is_root():
            command[:0] = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        return command

    def _run(self, program: str, *arguments: Any) -> None:
        subprocess.run(
            self._command(program, *arguments),
            check=True,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def start(self) -> None:
        options = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]
        for setting in ("max_connections=200", *self.settings):
            options += ["-c", setting]
        self.process = subprocess.Popen(
            self._command(
                "postgres", "-D", self.data, "-p", self.port, "-k", self.folder, *options
            ),
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=self.log,
        )
        deadline = time.monotonic() + 60
        while True:
            ready = subprocess.run(
                [str(self.binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
            if ready.returncode == 0:
                return
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """At once, as in a crash."""
        if self.process is not None:
            subprocess.run(
                self._command("pg_ctl", "-D", self.data, "stop", "-m", "immediate", "-w"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
            self.process.wait(30)
            self.process = None

    @property
    def url(self) -> str:
        return f"postgresql://app@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Postgres:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class MariaDb:
    """MariaDB, with a user `app` and a database `songs`."""

    NUMBER = "SELECT connection_id()"
    END = "KILL {}"
    COUNT = "SELECT count(*) FROM information_schema.processlist WHERE id = {}"

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="caliburn-python-"))
        self.data = self.folder / "data"
        self.socket = self.folder / "socket"
        self.port = free_port()
        self.user = ["--user=root"] if is_root() else []
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={self.data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                *self.user,
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.start()
        assert self.ask(
            "CREATE DATABASE songs; CREATE USER app@'%' IDENTIFIED BY 'sesame';"
            "GRANT ALL ON songs.* TO app@'%'; SELECT 1"
        )

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                "mariadbd",
                "--no-defaults",
                f"--datadir={self.data}",
                f"--socket={self.socket}",
                f"--port={self.port}",
                f"--pid-file={self.folder / 'pid'}",
                "--bind-address=127.0.0.1",
                "--innodb-buffer-pool-size=16M",
                *self.user,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not self.ask("SELECT 1"):
            assert time.monotonic() < deadline, "MariaDB does not serve"
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, as in a crash."""
        self.process.kill()
        self.process.wait(30)

    @staticmethod
    def is_there() -> bool:
        return all(shutil.which(name) for name in ("mariadbd", "mariadb-install-db", "mariadb"))

    def ask(self, sql: str) -> str:
        """What the server answers to its administrator; empty if it does not."""
        command = ["mariadb", "--no-defaults", "-BN", "-uroot", f"--socket={self.socket}", "-e"]
        done = subprocess.run([*command, sql], capture_output=True, text=True, check=False)
        return done.stdout

    def __enter__(self) -> MariaDb:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
