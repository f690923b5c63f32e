"""A pool's settings, from what Python calls them to what the core reads.

The core checks settings against each other, and names what is wrong. Here their types are checked,
so that a wrong one is a `TypeError` that names the parameter.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping, Sequence
from typing import Any

#: Settings that are counts.
_COUNTS = (
    "max_size",
    "min_size",
    "min_idle",
    "connect_concurrency",
    "maintenance_concurrency",
    "worker_threads",
    "capacity",
    "initial_size",
)
#: Settings that are times, in seconds.
_TIMES = ("connect_timeout", "ping_timeout", "reset_timeout", "close_timeout", "wait_ready")
#: Times for which `None` means that there is no limit, or no such thing.
_OPTIONAL_TIMES = ("checkout_timeout", "idle_timeout", "sweep_interval", "leak_threshold")


#: Times are cut to this, in seconds: 31 years.
LONGEST = 1_000_000_000

#: Counts are at most this.
MOST = 2**31 - 1


def number(name: str, value: Any, what: str = "a number") -> float:
    """A number of any kind, but no `bool`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be {what}, not {type(value).__name__}")
    return value


def time_text(name: str, seconds: Any) -> str:
    """A time as the core reads it."""
    seconds = number(name, seconds, "a number of seconds")
    if not seconds >= 0:
        raise ValueError(f"{name} must be 0 or more, not {seconds}")
    if seconds > LONGEST:
        return "none" if name in _OPTIONAL_TIMES else f"{LONGEST}s"
    return f"{round(seconds * 1_000_000_000)}ns"


def count(name: str, value: Any) -> int:
    """A number of things."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not bool")
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    if value < 0:
        raise ValueError(f"{name} must be 0 or more, not {value}")
    if value > MOST:
        raise ValueError(f"{name} must be {MOST} or less")
    return int(value)


def _share(name: str, value: Any) -> float:
    what = "a number from 0 to 1"
    if not 0 <= number(name, value, what) <= 1:
        raise ValueError(f"{name} must be {what}, not {value}")
    return float(value)


def _texts(name: str, value: Any) -> Any:
    """Times within a table become texts."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _texts(f"{name}.{key}", part) for key, part in value.items()}
    if name.endswith("max_uses"):
        return count(name, value)
    if name.endswith("jitter"):
        return _share(name, value)
    return time_text(name, value)


def _health(health: Any) -> Any:
    if health is None:
        return "none"
    if isinstance(health, str):
        return health
    if isinstance(health, Mapping):
        return _texts("health", health)
    if isinstance(health, Sequence) and all(isinstance(name, str) for name in health):
        return list(health)
    raise TypeError(
        "health must be None, the name of a strategy, a sequence of names, or a mapping from "
        f"names to what they need, not {type(health).__name__}"
    )


def _choice(name: str, value: Any) -> Any:
    if isinstance(value, (str, Mapping)):
        return _texts(name, value)
    raise TypeError(f"{name} must be a str or a mapping, not {type(value).__name__}")


def to_json(settings: Mapping[str, Any]) -> str:
    """The settings as the core reads them."""
    read: dict[str, Any] = {}
    for name, value in settings.items():
        if name in _COUNTS:
            read[name] = count(name, value)
        elif name == "max_waiters":
            read[name] = "none" if value is None else count(name, value)
        elif name in _TIMES:
            read[name] = time_text(name, value)
        elif name in _OPTIONAL_TIMES:
            read[name] = "none" if value is None else time_text(name, value)
        elif name == "fail_fast":
            if not isinstance(value, bool):
                raise TypeError(f"fail_fast must be a bool, not {type(value).__name__}")
            read[name] = value
        elif name == "health":
            read[name] = _health(value)
        elif name in ("fairness", "shedding"):
            read[name] = _choice(name, value)
        else:
            raise TypeError(f"{name} is not a setting of a pool")
    return json.dumps(read)
