//! Who gets a connection that comes back while others wait: strictly the oldest, or for a while a
//! newcomer.

use crate::common::*;
use caliburn::{Clock, Fairness, GetError, MockClock, Pool, TryGetError};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

fn barging(fake: &Fake, size: usize) -> (Pool<Fake>, MockClock) {
    full_manual(fake, size, |b| b.fairness(Fairness::BoundedBarging(MS)))
}

#[test]
fn a_newcomer_may_be_faster_until_the_oldest_has_waited_for_so_long() {
    let fake = Fake::new();
    let (pool, hand) = barging(&fake, 1);
    let held = pool.try_get().unwrap();
    let mut oldest = pin!(pool.get_async());
    assert!(poll_once(&mut oldest).is_pending());
    drop(held);
    let newcomer = pool.try_get().expect("the oldest has not waited for long");
    assert!(poll_once(&mut oldest).is_pending(), "it was too late");
    hand.advance(MS);
    drop(newcomer);
    assert_eq!(pool.try_get().unwrap_err(), TryGetError::Empty, "the oldest is overdue");
    assert!(poll_once(&mut oldest).is_ready());
}

/// No connect was made for it, as one lay idle.
#[test]
fn one_that_was_overtaken_asks_for_another_connection() {
    let fake = Fake::new();
    let builder = Pool::builder(fake.clone()).manual_maintenance().max_size(2).min_size(1);
    let builder = builder.clock(Clock::mock().0).fairness(Fairness::BoundedBarging(PLENTY));
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    let held = pool.try_get().unwrap();
    let mut oldest = pin!(pool.get_async());
    assert!(poll_once(&mut oldest).is_pending());
    assert_eq!(pool.stats().opening, 1);
    drop(held);
    pool.maintain();
    let stats = pool.stats();
    assert_eq!((stats.opening, stats.connects_skipped, stats.idle), (0, 1, 1));
    let _newcomer = pool.try_get().expect("the oldest has not waited for long");
    assert!(poll_once(&mut oldest).is_pending(), "it was too late");
    assert_eq!(pool.stats().opening, 1);
    pool.maintain();
    assert!(poll_once(&mut oldest).is_ready());
}

#[test]
fn strict_fairness_is_the_default_and_lets_no_newcomer_pass() {
    let fake = Fake::new();
    let (pool, _hand) = full_manual(&fake, 1, |b| b);
    let held = pool.try_get().unwrap();
    let mut oldest = pin!(pool.get_async());
    assert!(poll_once(&mut oldest).is_pending());
    drop(held);
    assert_eq!(pool.try_get().unwrap_err(), TryGetError::Empty);
    assert!(poll_once(&mut oldest).is_ready());
}

#[test]
fn one_who_is_told_of_a_connection_and_leaves_tells_the_next() {
    let fake = Fake::new();
    let (pool, _hand) = barging(&fake, 1);
    let held = pool.try_get().unwrap();
    let mut first = Box::pin(pool.get_async());
    let mut second = pin!(pool.get_async());
    assert!(poll_once(&mut first).is_pending());
    assert!(poll_once(&mut second).is_pending());
    drop(held);
    drop(first);
    assert!(poll_once(&mut second).is_ready(), "nobody else wants it");
    assert_eq!(pool.stats().waiting, 0);
}

#[test]
fn two_connections_that_come_back_are_told_of_to_two() {
    let fake = Fake::new();
    let (pool, _hand) = barging(&fake, 2);
    let held = (pool.try_get().unwrap(), pool.try_get().unwrap());
    let (mut first, mut second) = (pin!(pool.get_async()), pin!(pool.get_async()));
    assert!(poll_once(&mut first).is_pending());
    assert!(poll_once(&mut second).is_pending());
    drop(held);
    // The second first: it has been told, too.
    assert!(poll_once(&mut second).is_ready());
    assert!(poll_once(&mut first).is_ready());
}

#[test]
fn a_change_concerns_those_who_come_after_it() {
    let fake = Fake::new();
    let (pool, _hand) = barging(&fake, 1);
    let held = pool.try_get().unwrap();
    let mut patient = pin!(pool.get_async());
    assert!(poll_once(&mut patient).is_pending());
    pool.change(|settings| settings.fairness = Fairness::Fifo).unwrap();
    let mut strict = pin!(pool.get_async());
    assert!(poll_once(&mut strict).is_pending());
    drop(held);
    let newcomer = pool.try_get().expect("the oldest still allows it");
    drop(newcomer);
    assert!(poll_once(&mut patient).is_ready());
    assert_eq!(pool.try_get().unwrap_err(), TryGetError::Empty, "now the oldest does not");
    assert!(poll_once(&mut strict).is_ready());
}

#[test]
fn a_close_and_a_deadline_reach_those_who_let_newcomers_pass() {
    let fake = Fake::new();
    let (pool, hand) = barging(&fake, 1);
    let held = pool.try_get().unwrap();
    let mut late = pin!(pool.get_timeout_async(10 * MS));
    let mut closed = pin!(pool.get_async());
    assert!(poll_once(&mut late).is_pending());
    assert!(poll_once(&mut closed).is_pending());
    hand.advance(10 * MS);
    pool.maintain();
    let std::task::Poll::Ready(Err(error)) = poll_once(&mut late) else { panic!("its time is up") };
    assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
    pool.close();
    let std::task::Poll::Ready(Err(error)) = poll_once(&mut closed) else { panic!("closed") };
    assert!(matches!(error, GetError::Closed), "{error}");
    drop(held);
}

#[test]
fn threads_that_hurry_and_threads_that_wait_are_all_served_and_nothing_is_lost() {
    const THREADS: usize = 8;
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone())
        .max_size(3)
        .min_size(3)
        .fairness(Fairness::BoundedBarging(MS / 10))
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    let turns: Vec<AtomicU64> = (0..THREADS).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        for (index, mine) in turns.iter().enumerate() {
            let pool = &pool;
            scope.spawn(move || {
                let mut errors = 0;
                for round in 0..2_000 {
                    // Some leave while they wait.
                    let hurry = (round + index) % 7 == 0;
                    let limit = if hurry { Duration::from_micros(20) } else { PLENTY };
                    match pool.get_timeout(limit) {
                        Ok(connection) => {
                            std::hint::black_box(&connection.id);
                            mine.fetch_add(1, SeqCst);
                        }
                        Err(_) if hurry => errors += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                mine.fetch_add(errors, SeqCst);
            });
        }
    });
    assert!(turns.iter().all(|turns| turns.load(SeqCst) == 2_000));
    eventually("all are back", || pool.stats().idle == 3 && pool.stats().waiting == 0);
    let begun = Instant::now();
    drop(pool.get_timeout(PLENTY).unwrap());
    assert!(begun.elapsed() < PLENTY);
}
