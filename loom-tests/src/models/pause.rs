//! Pause ‖ claim, pause ‖ grant, pause ‖ return, resume ‖ arrival, pause ‖ close.

use super::{
    Bare, PATIENT, STRICT, asleep, assert_at_rest, bury, claim, granted, granted_at_once, model,
    poll, pool, touch, wait, wait_on,
};
use crate::raw::RawPool;
use loom::sync::Arc;
use loom::thread;

fn pause(pool: &RawPool<Bare>) {
    pool.pause();
    pool.dispatch();
}

fn resume(pool: &RawPool<Bare>) {
    pool.resume();
    pool.dispatch();
}

#[test]
fn who_comes_after_a_pause_gets_nothing_before_its_end() {
    model(|| {
        let pool = pool(1, 1);
        let theirs = Arc::clone(&pool);
        // It began before, or comes after.
        let borrower = thread::spawn(move || claim(&theirs).map(|slot| touch(&slot)).is_some());
        pause(&pool);
        assert!(claim(&pool).is_none(), "a claim after the pause");
        borrower.join().unwrap();
        resume(&pool);
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
        pause(&pool);
        let (mut ticket, _sleeper) = asleep(&pool, STRICT);
        assert!(poll(&mut ticket).is_pending(), "a grant during the pause");
        returner.join().unwrap();
        assert!(poll(&mut ticket).is_pending(), "a grant during the pause");
        resume(&pool);
        let slot = granted_at_once(&mut ticket);
        touch(&slot);
        drop((ticket, slot));
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn a_waiter_that_leaves_during_a_pause_leaves_the_flags_up() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let (ticket, _sleeper) = asleep(&pool, STRICT);
        pause(&pool);
        let returner = thread::spawn(move || drop(slot));
        drop(ticket);
        returner.join().unwrap();
        assert!(claim(&pool).is_none(), "a claim during the pause");
        resume(&pool);
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
        let waiter = thread::spawn(move || touch(&granted(wait(&theirs))));
        pause(&pool);
        touch(&slot);
        drop(slot);
        resume(&pool);
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
        pause(&pool);
        let returner = thread::spawn(move || drop(slot));
        resume(&pool);
        returner.join().unwrap();
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn an_arrival_that_meets_a_resume_is_served() {
    model(|| {
        let pool = pool(1, 1);
        pause(&pool);
        let theirs = Arc::clone(&pool);
        let waiter = thread::spawn(move || touch(&granted(wait(&theirs))));
        resume(&pool);
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
        let waiter = thread::spawn(move || touch(&granted(wait_on(&theirs, PATIENT))));
        pause(&pool);
        drop(slot);
        resume(&pool);
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
            pause(&theirs);
            resume(&theirs);
        });
        pool.close();
        pauser.join().unwrap();
        assert!(claim(&pool).is_none(), "a claim after the close");
        bury(pool);
    });
}
