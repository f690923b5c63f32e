//! Pause ‖ claim, pause ‖ grant, pause ‖ return, resume ‖ arrival, pause ‖ close.

use super::{PATIENT, asleep, assert_at_rest, bury, claim, model, poll, pool, touch, wait};
use crate::raw::waiter::Outcome;
use loom::sync::Arc;
use loom::thread;
use std::task::Poll;

#[test]
fn who_comes_after_a_pause_gets_nothing_before_its_end() {
    model(|| {
        let pool = pool(1, 1);
        let theirs = Arc::clone(&pool);
        // It began before, or comes after.
        let borrower = thread::spawn(move || claim(&theirs).map(|slot| touch(&slot)).is_some());
        pool.pause();
        assert!(claim(&pool).is_none(), "a claim after the pause");
        borrower.join().unwrap();
        pool.resume();
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn who_waits_since_a_pause_is_granted_nothing_before_its_end() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let returner = thread::spawn(move || {
            touch(&slot);
            drop(slot);
        });
        pool.pause();
        let (mut ticket, _sleeper) = asleep(&pool, super::STRICT);
        assert!(poll(&mut ticket).is_pending(), "a grant during the pause");
        returner.join().unwrap();
        assert!(poll(&mut ticket).is_pending(), "a grant during the pause");
        pool.resume();
        let Poll::Ready(Outcome::Granted(slot)) = poll(&mut ticket) else { panic!("served late") };
        touch(&slot);
        drop((ticket, slot));
        assert_at_rest(&pool);
        bury(pool);
    });
}

/// The grant is a round's that began before, or that of the end.
#[test]
fn one_that_waits_since_before_a_pause_is_served_once() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let theirs = Arc::clone(&pool);
        let waiter = thread::spawn(move || match wait(&theirs) {
            Outcome::Granted(slot) => touch(&slot),
            other => panic!("{other:?}"),
        });
        pool.pause();
        touch(&slot);
        drop(slot);
        pool.resume();
        waiter.join().unwrap();
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn a_return_that_meets_a_resume_leaves_no_flag_up() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        pool.pause();
        let returner = thread::spawn(move || drop(slot));
        pool.resume();
        returner.join().unwrap();
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn an_arrival_that_meets_a_resume_is_served() {
    model(|| {
        let pool = pool(1, 1);
        pool.pause();
        let theirs = Arc::clone(&pool);
        let waiter = thread::spawn(move || match wait(&theirs) {
            Outcome::Granted(slot) => touch(&slot),
            other => panic!("{other:?}"),
        });
        pool.resume();
        waiter.join().unwrap();
        assert_at_rest(&pool);
        bury(pool);
    });
}

/// Its notification is due again.
#[test]
fn a_patient_waiter_that_meets_a_pause_is_served_after_it() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let theirs = Arc::clone(&pool);
        let waiter = thread::spawn(move || match super::wait_on(&theirs, PATIENT) {
            Outcome::Granted(slot) => touch(&slot),
            other => panic!("{other:?}"),
        });
        pool.pause();
        drop(slot);
        pool.resume();
        waiter.join().unwrap();
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn a_close_that_meets_a_pause_leaves_nothing_behind() {
    model(|| {
        let pool = pool(1, 1);
        let theirs = Arc::clone(&pool);
        let pauser = thread::spawn(move || {
            theirs.pause();
            theirs.resume();
        });
        pool.close();
        pauser.join().unwrap();
        assert!(claim(&pool).is_none(), "a claim after the close");
        bury(pool);
    });
}
