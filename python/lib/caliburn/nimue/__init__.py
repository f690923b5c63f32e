"""Nimue's pool, on caliburn's core: `import nimue` becomes `from caliburn import nimue`.

Names, parameters, defaults and documented behaviour are Nimue's. What differs:

- waiters are served in the order in which they came, and no slow connect or check keeps others;
- a timeout holds, whatever connects and checks do (a connect that is late serves the next);
- connections in excess of a lowered `poolmax` are closed at once, not at the next cleanup;
- `close` closes idle connections and wakes those who wait; it does not wait itself;
- a connection whose rollback, check or close raises is replaced, and costs no place in the pool;
- all exceptions are also caliburn's: `except caliburn.Error` catches them.
"""

from . import callback, error
from .pool import NimueConnection, NimueConnectionPool, NimueConnectionPoolStats

__all__ = [
    "NimueConnection",
    "NimueConnectionPool",
    "NimueConnectionPoolStats",
    "callback",
    "error",
]
