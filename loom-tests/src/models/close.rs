//! Return ‖ close, connect ‖ close, enqueue ‖ close, and the memory behind the last return.

use super::{Payload, bury, checkout, claim, model, pool, touch, wait};
use crate::raw::waiter::Outcome;
use loom::sync::Arc;
use loom::thread;

#[test]
fn a_return_that_meets_a_close_leaves_nothing_behind() {
    model(|| {
        let pool = pool(2, 2);
        let slot = claim(&pool).unwrap();
        let returner = thread::spawn(move || {
            touch(&slot);
            drop(slot);
        });
        pool.close();
        returner.join().unwrap();
        bury(pool);
    });
}

#[test]
fn a_connect_that_meets_a_close_leaves_nothing_behind() {
    model(|| {
        let pool = pool(1, 0);
        let theirs = Arc::clone(&pool);
        let worker = thread::spawn(move || {
            if let Some(slot) = theirs.claim_vacant() {
                drop(slot.fill(Payload::new()));
            }
        });
        pool.close();
        worker.join().unwrap();
        bury(pool);
    });
}

#[test]
fn a_failed_connect_that_meets_a_close_leaves_nothing_behind() {
    model(|| {
        let pool = pool(1, 0);
        let slot = pool.claim_vacant().unwrap();
        let worker = thread::spawn(move || drop(slot));
        pool.close();
        worker.join().unwrap();
        bury(pool);
    });
}

#[test]
fn a_waiter_that_meets_a_close_is_told() {
    model(|| {
        let pool = pool(1, 1);
        let theirs = Arc::clone(&pool);
        let waiter = thread::spawn(move || match checkout(&theirs) {
            Outcome::Granted(slot) => touch(&slot),
            Outcome::Closed => {}
            other => panic!("{other:?}"),
        });
        pool.close();
        assert!(claim(&pool).is_none(), "a claim after the close");
        waiter.join().unwrap();
        bury(pool);
    });
}

/// They wake each other, and the closer wakes those who are left.
#[test]
fn two_waiters_that_are_told_of_a_close_are_both_woken() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let waiters = [(); 2].map(|()| {
            let theirs = Arc::clone(&pool);
            thread::spawn(move || assert!(matches!(wait(&theirs), Outcome::Closed)))
        });
        pool.close();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        drop(slot);
        bury(pool);
    });
}

/// The last return frees the pool: no thread may look at it afterwards.
#[test]
fn the_memory_outlives_the_last_return() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let returner = thread::spawn(move || {
            touch(&slot);
            drop(slot);
        });
        pool.close();
        drop(pool);
        returner.join().unwrap();
    });
}

/// The same with two returns, each of which may tear down the other's slot.
#[test]
fn the_memory_outlives_a_return_that_another_thread_tears_down() {
    model(|| {
        let pool = pool(2, 2);
        let (a, b) = (claim(&pool).unwrap(), claim(&pool).unwrap());
        let one = thread::spawn(move || drop(a));
        let two = thread::spawn(move || drop(b));
        pool.close();
        drop(pool);
        one.join().unwrap();
        two.join().unwrap();
    });
}
