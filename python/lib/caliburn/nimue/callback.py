"""Health checks.

A callback is called with the raw connection and the driver's module, whose exceptions it may name;
it returns whether the connection is healthy. One that takes a third parameter gets Nimue's logger.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

logger = logging.getLogger(__name__)


def healthcheck_callback_std(conn: Any, dbmodule: Any) -> bool:
    """For SQLite, PostgreSQL, MySQL, MSSQL and others: runs `SELECT 1`."""
    return healthcheck_callback_base(conn, dbmodule, "SELECT 1")


def healthcheck_callback_oracle(conn: Any, dbmodule: Any) -> bool:
    """For Oracle: runs `SELECT 1 FROM DUAL`."""
    return healthcheck_callback_base(conn, dbmodule, "SELECT 1 FROM DUAL")


def healthcheck_callback_base(conn: Any, dbmodule: Any, query: str) -> bool:
    """Runs `query`, for callbacks of your own, and leaves no transaction open."""
    try:
        with contextlib.closing(conn.cursor()) as cursor:
            cursor.execute(query)
            # Some drivers refuse to close a cursor with rows unread.
            cursor.fetchall()
        conn.rollback()
    except dbmodule.OperationalError:
        return False
    except Exception:
        logger.exception("Unexpected exception during healthcheck. Connection is invalidated.")
        return False
    return True
