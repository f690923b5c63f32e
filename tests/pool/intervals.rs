//! Figures of intervals: differences of snapshots, of which nothing is lost.

use crate::common::*;
use caliburn::{Pool, PooledConnection, Stats};
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// The counters and the histograms' counts and sums, by which intervals are added up.
fn counted(stats: &Stats) -> Vec<u64> {
    let times = [
        &stats.wait_time,
        &stats.use_time,
        &stats.connect_time,
        &stats.ping_time,
        &stats.reset_time,
    ];
    let counters = [
        stats.checkouts,
        stats.direct_checkouts,
        stats.returns,
        stats.waits,
        stats.waits_in_vain,
        stats.cancellations,
        stats.timeouts,
        stats.refusals,
        stats.connects,
        stats.connect_failures,
        stats.connects_skipped,
        stats.connects_held,
        stats.outages,
        stats.pings,
        stats.ping_failures,
        stats.pings_cancelled,
        stats.resets,
        stats.closes,
        stats.added,
        stats.detached,
        stats.launch_failures,
        stats.leaks,
        stats.sweeps,
    ];
    let of_times = times.map(|times| [times.count(), times.sum().as_nanos() as u64]);
    let up_to = times.map(|times| times.count_up_to(Duration::from_millis(1)));
    let evictions = stats.evictions.iter().map(|(_, count)| count);
    counters.into_iter().chain(of_times.concat()).chain(up_to).chain(evictions).collect()
}

fn add(sums: &mut [u64], stats: &Stats) {
    for (sum, more) in sums.iter_mut().zip(counted(stats)) {
        *sum += more;
    }
}

fn discard_one(pool: &Pool<Fake>) {
    if let Ok(conn) = pool.try_get() {
        PooledConnection::discard(conn);
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Borrow,
    Discard,
    TimeOut,
    FailToConnect,
    Sweep,
    Pass(u64),
    Look,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Borrow),
        1 => Just(Op::Discard),
        1 => Just(Op::TimeOut),
        1 => Just(Op::FailToConnect),
        1 => Just(Op::Sweep),
        2 => (1..2_000_000_u64).prop_map(Op::Pass),
        3 => Just(Op::Look),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn intervals_add_up_to_the_whole_wherever_they_are_cut(
        ops in proptest::collection::vec(op(), 1..60),
    ) {
        let fake = Fake::new();
        let (builder, clock) = manual_maintenance(&fake);
        let pool = builder.max_size(2).min_size(2).sample_use_time(1).build().unwrap();
        pool.maintain();
        let mut last = pool.stats();
        let mut sums = counted(&last);
        for op in ops {
            match op {
                Op::Borrow => {
                    let _conn = pool.try_get();
                    clock.advance(Duration::from_micros(300));
                }
                Op::Discard => discard_one(&pool),
                Op::TimeOut => {
                    let _all = [pool.try_get(), pool.try_get()];
                    prop_assert!(pool.get_timeout(Duration::ZERO).is_err());
                }
                Op::FailToConnect => {
                    fake.on_connect(Mode::Fail);
                    discard_one(&pool);
                    pool.maintain();
                    fake.on_connect(Mode::Ok);
                }
                Op::Sweep => pool.sweep(),
                Op::Pass(micros) => clock.advance(Duration::from_micros(micros)),
                Op::Look => {
                    let now = pool.stats();
                    let interval = now.since(&last);
                    prop_assert_eq!((interval.size, interval.idle), (now.size, now.idle));
                    let longest = interval.use_time.max();
                    prop_assert!(longest <= now.use_time.max());
                    prop_assert!(interval.use_time.quantile(1.0) <= longest);
                    prop_assert_eq!(longest.is_zero(), interval.use_time.sum().is_zero());
                    add(&mut sums, &interval);
                    last = now;
                }
            }
        }
        let now = pool.stats();
        add(&mut sums, &now.since(&last));
        prop_assert_eq!(sums, counted(&now));
        prop_assert!(counted(&now.since(&now)).iter().all(|count| *count == 0));
    }
}

#[test]
fn two_readers_lose_nothing_while_threads_borrow() {
    const LOANS: u64 = 20_000;
    let fake = Fake::new();
    let pool = Pool::builder(fake).max_size(2).sample_use_time(4).build().unwrap();
    let (is_over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let read = || {
        let (mut last, mut intervals) = (pool.stats(), 0);
        let mut sums = counted(&last);
        loop {
            let was_over = is_over.load(SeqCst);
            let now = pool.stats();
            add(&mut sums, &now.since(&last));
            last = now;
            intervals += 1;
            if was_over {
                return (sums, intervals);
            }
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        let readers = [scope.spawn(read), scope.spawn(read)];
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..LOANS {
                    drop(pool.get().unwrap());
                }
                done.fetch_add(1, SeqCst);
            });
        }
        eventually("all have borrowed", || done.load(SeqCst) == 4);
        is_over.store(true, SeqCst);
        let whole = counted(&pool.stats());
        assert_eq!(whole[0], 4 * LOANS);
        for (sums, intervals) in readers.map(|reader| reader.join().unwrap()) {
            assert_eq!(sums, whole);
            assert!(intervals > 1);
        }
    });
}

#[test]
fn the_longest_of_an_interval_is_not_that_of_the_whole() {
    let fake = Fake::new();
    let (builder, clock) = manual_maintenance(&fake);
    let pool = builder.max_size(1).min_size(1).sample_use_time(1).build().unwrap();
    pool.maintain();
    let mut last = pool.stats();
    let mut longest_of = |millis| {
        let conn = pool.get().unwrap();
        clock.advance(Duration::from_millis(millis));
        drop(conn);
        let now = pool.stats();
        let longest = now.since(&last).use_time.max();
        last = now;
        longest
    };
    assert_eq!(longest_of(500), Duration::from_millis(500));
    let second = longest_of(20);
    assert!((20..=22).contains(&second.as_millis()), "{second:?}");
    assert_eq!(longest_of(900), Duration::from_millis(900));
}

#[test]
fn loans_to_those_that_did_not_stand_in_line_are_counted() {
    let (pool, clock) = full_manual(&Fake::new(), 2, |builder| builder);
    let direct = || (pool.stats().direct_checkouts, pool.stats().checkouts);
    let held = pool.get().unwrap();
    drop(pool.try_get().unwrap());
    drop(pool.get_timeout(PLENTY).unwrap());
    assert_eq!(direct(), (3, 3));
    // One of two is there at once; the other is waited for.
    let mut both = Box::pin(pool.get_many_async(2, PLENTY));
    assert!(poll_once(&mut both).is_pending());
    assert_eq!(direct(), (4, 4));
    let mut in_vain = Box::pin(pool.get_timeout_async(Duration::from_secs(1)));
    let mut served = Box::pin(pool.get_async());
    assert!(poll_once(&mut in_vain).is_pending() && poll_once(&mut served).is_pending());
    clock.advance(Duration::from_secs(2));
    pool.maintain();
    assert!(poll_once(&mut in_vain).is_ready());
    drop(held);
    let std::task::Poll::Ready(Ok(all)) = poll_once(&mut both) else { panic!("both are there") };
    assert_eq!(direct(), (4, 5));
    drop(all);
    assert!(poll_once(&mut served).is_ready());
    assert_eq!(direct(), (4, 6));
    drop(served);
    let earlier = pool.stats();
    drop(pool.get_many(2, PLENTY).unwrap());
    assert_eq!(pool.stats().since(&earlier).direct_checkouts, 2);
}
