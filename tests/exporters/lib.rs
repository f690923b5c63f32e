//! Pools for the tests: see `tests/`.

use caliburn::{MockClock, Pool, PooledConnection, Stats};
use caliburn_testing::{Fake, manual_maintenance};
use std::time::Duration;

/// A pool of two connections, both open, whose loans are all measured.
pub fn pool() -> (Pool<Fake>, MockClock) {
    let (builder, clock) = manual_maintenance(&Fake::new());
    let pool = builder.max_size(2).min_size(2).min_idle(1).sample_use_time(1).build().unwrap();
    pool.maintain();
    (pool, clock)
}

/// A pool of two connections, and three in reserve.
pub fn pool_with_reserve() -> (Pool<Fake>, MockClock) {
    let (builder, clock) = manual_maintenance(&Fake::new());
    (builder.max_size(2).min_size(2).reserved(3).build().unwrap(), clock)
}

/// Borrows a connection for so long.
pub fn borrow_for(pool: &Pool<Fake>, clock: &MockClock, duration: Duration) {
    let _conn = pool.get().unwrap();
    clock.advance(duration);
}

/// A checkout that times out while both connections are lent.
pub fn time_out(pool: &Pool<Fake>) {
    let _all: [PooledConnection<_>; 2] = [pool.get().unwrap(), pool.get().unwrap()];
    pool.get_timeout(Duration::ZERO).unwrap_err();
}

/// What figures of a pool the counters by caliburn's own names are.
pub fn counters(stats: &Stats) -> [(&'static str, u64); 10] {
    [
        ("caliburn.checkouts", stats.checkouts),
        ("caliburn.waits", stats.waits),
        ("caliburn.cancellations", stats.cancellations),
        ("caliburn.refusals", stats.refusals),
        ("caliburn.connect_failures", stats.connect_failures),
        ("caliburn.outages", stats.outages),
        ("caliburn.pings", stats.pings),
        ("caliburn.ping_failures", stats.ping_failures),
        ("caliburn.resets", stats.resets),
        ("caliburn.leaks", stats.leaks),
    ]
}

/// Names of pools that some format might stumble over.
pub const ODD_NAMES: [&str; 6] = ["", "so\"ngs\\", "two\nlines", "nul\0", "{a=\"b\"} 1", "Łódź 🗡"];
