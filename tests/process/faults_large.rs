//! What a pool costs grows with its size and not with the square of it.

use crate::common::*;
use caliburn::{Builder, Pool};
use cpu_time::ProcessTime;
use std::time::Duration;

/// CPU time of the process: others that run on this machine do not count.
fn cost(work: impl FnOnce()) -> Duration {
    let begun = ProcessTime::now();
    work();
    begun.elapsed()
}

/// What it takes to open so many connections, and to close them.
fn open_and_close(
    size: usize,
    more: impl Fn(Builder<Fake>) -> Builder<Fake>,
) -> (Duration, Duration) {
    let fake = Fake::new();
    let builder = Pool::builder(fake.clone()).max_size(size).min_size(size);
    let builder = more(builder.wait_ready(20 * PLENTY));
    let mut pool = None;
    let open = cost(|| pool = Some(builder.build().unwrap()));
    let pool = pool.unwrap();
    let close = cost(|| {
        let report = pool.close_within(20 * PLENTY);
        assert!(report.is_complete(), "{report}");
    });
    assert_eq!(fake.books().alive(), 0);
    (open, close)
}

/// The best of three of each, as the machine has other things to do.
fn least(
    size: usize,
    more: impl Fn(Builder<Fake>) -> Builder<Fake> + Copy,
) -> (Duration, Duration) {
    let all = (0..3).map(|_| open_and_close(size, more));
    all.reduce(|a, b| (a.0.min(b.0), a.1.min(b.1))).unwrap_or_default()
}

/// Four times as many cost four times as much if each costs the same, and sixteen times if each
/// looks at all.
#[track_caller]
fn grows_in_proportion(few: usize, more: impl Fn(Builder<Fake>) -> Builder<Fake> + Copy) {
    // What is measured is the whole process.
    let _alone = crate::alone();
    let ratio = |many: Duration, few: Duration| many.as_secs_f64() / few.as_secs_f64();
    // What else this machine does may spoil a comparison, and will not spoil all.
    let ratios = (0..20).map(|_| {
        let (cheap, dear) = (least(few, more), least(4 * few, more));
        println!("{few}: {cheap:?}; {}: {dear:?}", 4 * few);
        ratio(dear.0, cheap.0).max(ratio(dear.1, cheap.1))
    });
    let mut seen = Vec::new();
    let is_linear = ratios.inspect(|ratio| seen.push(*ratio)).any(|ratio| ratio <= 8.0);
    assert!(is_linear, "{} connections cost {seen:.1?} times as much as {few}", 4 * few);
}

#[test]
fn a_large_pool_is_opened_and_closed_in_proportion_to_its_size() {
    grows_in_proportion(1024, |b| b);
}

#[test]
fn a_large_pool_by_hand_is_opened_and_closed_in_proportion_to_its_size() {
    grows_in_proportion(1024, |b| b.manual_maintenance());
}

#[test]
fn a_large_pool_is_opened_and_closed_in_proportion_to_its_size_however_many_work_at_once() {
    grows_in_proportion(1024, |b| b.connect_concurrency(64).maintenance_concurrency(64));
}

#[test]
fn a_very_large_pool_is_opened_and_closed_in_proportion_to_its_size() {
    grows_in_proportion(4096, |b| b);
}
