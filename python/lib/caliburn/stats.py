"""What a pool counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took, in seconds; percentiles are up to an eighth too high."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot of a pool: gauges of this moment, and counters since it was built.

    At rest `idle + lent + opening + maintenance + quarantined + vacant + retired == capacity`.
    """

    #: Number of slots, fixed when the pool is built.
    capacity: int
    #: Current limit on connections.
    max_size: int
    #: Open connections.
    size: int
    #: Open connections that are free to be lent.
    idle: int
    #: Connections held by borrowers.
    lent: int
    #: Connections being opened.
    opening: int
    #: Connections being checked, reset or closed, or queued for it.
    maintenance: int
    #: Slots whose call into the driver has outlived its limit.
    quarantined: int
    #: Empty slots in which a connection may be opened.
    vacant: int
    #: Slots out of use because of a lowered limit, or because the pool is closed.
    retired: int
    #: Borrowers that wait in line.
    waiting: int
    is_paused: bool
    #: Connections lent.
    checkouts: int
    #: Those of them whose borrowers did not have to stand in line.
    direct_checkouts: int
    #: Connections returned.
    returns: int
    #: Borrowers that had to stand in line.
    waits: int
    #: Those of them that left without a connection.
    waits_in_vain: int
    #: Those of them whose wait was given up by the program.
    cancellations: int
    #: Borrowers whose time was up.
    timeouts: int
    #: Borrowers refused because of `max_waiters`.
    refusals: int
    #: Borrowers turned away because of `shedding`.
    shed: int
    connects: int
    connect_failures: int
    #: Connects that were asked for but not begun, because they were no longer needed.
    connects_skipped: int
    #: Times that connecting began to fail.
    outages: int
    #: Checks.
    pings: int
    ping_failures: int
    #: Resets in the background.
    resets: int
    #: Connections closed by the pool.
    closes: int
    #: Connections taken out of the pool.
    detached: int
    #: Loans that lasted longer than `leak_threshold`.
    leaks: int
    sweeps: int
    #: Connections evicted, by cause, such as "idle timeout" or "ping failed".
    evictions: dict[str, int]
    #: How long borrowers stood in line.
    wait_time: Times
    connect_time: Times
    ping_time: Times
    reset_time: Times


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a connection."""

    #: The name of the thread that borrowed it, if it still runs.
    thread: str | None
    #: Its number, as `threading.get_ident()`.
    thread_id: int
    #: For how long it has had it, in seconds.
    since: float
    #: What the borrower calls its work: `Pool.set_label`, or the name of an asyncio task.
    label: str | None
    #: Where in the source it borrowed it, if the pool notes that (`trace=True`).
    location: str | None

    def __str__(self) -> str:
        name = self.thread or f"thread {self.thread_id}"
        label = f" ({self.label})" if self.label else ""
        location = f", borrowed at {self.location}" if self.location else ""
        return f"{name}{label} for {self.since:.1f} s{location}"


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What a pool knows of a connection on loan."""

    #: Seconds since it was opened.
    age: float
    #: Seconds since a check or a reset last succeeded, or since it was opened.
    since_check: float
    #: How often it was lent, this loan included.
    uses: int


@dataclass(frozen=True, slots=True)
class CloseReport:
    """What `Pool.close_within` achieved."""

    #: Connections that the pool has closed in its whole life.
    closes: int
    #: Connections still lent when the time was up.
    still_lent: int
    #: Connections still being opened or closed when the time was up.
    unfinished: int

    @property
    def is_complete(self) -> bool:
        """Whether every connection was closed in time."""
        return self.still_lent == 0 and self.unfinished == 0
