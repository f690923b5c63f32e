//! Shed ‖ leaving, shed ‖ arrival, shed ‖ shed, shed ‖ close.

use super::{
    Asleep, Bare, NOW, STRICT, Sleeper, asleep, assert_at_rest, bury, claim, finish, granted,
    granted_at_once, model, poll, pool_in, touch,
};
use crate::raw::RawPool;
use crate::raw::flow::Shedding;
use crate::raw::slots::Occupied;
use crate::raw::waiter::Outcome;
use loom::sync::Arc;
use loom::thread;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, Waker};

/// All that wait are late, as the clock shows more.
const TERMS: Shedding = Shedding { target: 1, interval: 3, newest_first: false };

fn shedding_pool() -> Arc<RawPool<Bare>> {
    pool_in(1, 1, &[1], Some(TERMS))
}

/// `slot` goes to the `first` in line, which is late, and is held: now the line lags, and with the
/// next slot it is slow.
fn lag(
    pool: &RawPool<Bare>,
    slot: Occupied<Bare>,
    (mut first, _sleeper): Asleep<'_>,
) -> Occupied<Bare> {
    drop(slot);
    let slot = granted_at_once(&mut first);
    pool.context().clock.store(NOW + TERMS.interval, Relaxed);
    slot
}

#[test]
fn one_that_is_shed_while_it_leaves_is_counted_off_once() {
    model(|| {
        let pool = shedding_pool();
        let (slot, before) = (claim(&pool).unwrap(), asleep(&pool, STRICT));
        let (leaver, _one) = asleep(&pool, STRICT);
        let (mut late, _two) = asleep(&pool, STRICT);
        let (mut last, _three) = asleep(&pool, STRICT);
        let slot = lag(&pool, slot, before);
        let returner = thread::spawn(move || drop(slot));
        drop(leaver);
        returner.join().unwrap();
        assert!(matches!(poll(&mut late), Poll::Ready(Outcome::Shed)));
        touch(&granted_at_once(&mut last));
        drop((late, last));
        assert_at_rest(&pool);
        bury(pool);
    });
}

/// It is the last in line, or another has come behind it.
#[test]
fn one_that_may_be_the_last_is_served_or_shed_and_the_slot_is_not_lost() {
    model(|| {
        let pool = shedding_pool();
        let (slot, before) = (claim(&pool).unwrap(), asleep(&pool, STRICT));
        let (mut first, _sleeper) = asleep(&pool, STRICT);
        let slot = lag(&pool, slot, before);
        let theirs = Arc::clone(&pool);
        let arrival = thread::spawn(move || {
            let sleeper = Sleeper::new();
            let waker = Waker::from(sleeper.clone());
            let mut ticket = theirs.enroll(&waker, STRICT, usize::MAX).unwrap();
            touch(&granted(finish(&mut ticket, &sleeper)));
        });
        drop(slot);
        match poll(&mut first) {
            Poll::Ready(Outcome::Granted(slot)) => touch(&slot),
            Poll::Ready(Outcome::Shed) => {}
            other => panic!("neither served nor shed: {other:?}"),
        }
        arrival.join().unwrap();
        drop(first);
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn who_sleeps_is_woken_when_it_is_shed() {
    model(|| {
        let pool = shedding_pool();
        let (slot, before) = (claim(&pool).unwrap(), asleep(&pool, STRICT));
        let ((mut late, sleeper), (last, _two)) = (asleep(&pool, STRICT), asleep(&pool, STRICT));
        let slot = lag(&pool, slot, before);
        let returner = thread::spawn(move || {
            touch(&slot);
            drop(slot);
        });
        assert!(matches!(finish(&mut late, &sleeper), Outcome::Shed));
        returner.join().unwrap();
        drop((late, last));
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn a_close_that_meets_a_shedding_leaves_nobody_waiting() {
    model(|| {
        let pool = shedding_pool();
        let (slot, before) = (claim(&pool).unwrap(), asleep(&pool, STRICT));
        let (mut first, _one) = asleep(&pool, STRICT);
        let (mut last, _two) = asleep(&pool, STRICT);
        let slot = lag(&pool, slot, before);
        let returner = thread::spawn(move || drop(slot));
        pool.close();
        returner.join().unwrap();
        let is_over = |outcome: &Poll<Outcome<Bare>>| {
            matches!(outcome, Poll::Ready(Outcome::Shed | Outcome::Closed))
        };
        assert!(is_over(&poll(&mut first)));
        match poll(&mut last) {
            Poll::Ready(Outcome::Granted(slot)) => drop(slot),
            outcome => assert!(is_over(&outcome)),
        }
        drop((first, last));
        bury(pool);
    });
}
