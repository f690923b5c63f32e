//! Release ‖ enqueue, grant ‖ cancel, grant ‖ timeout, waker ‖ grant, two returns ‖ two waiters.

use super::{Bell, bury, checkout, finish, granted, model, pool, touch, wait};
use crate::raw::waiter::{NEVER, Outcome};
use loom::sync::Arc;
use loom::thread;
use std::task::{Context, Poll, Waker};

#[test]
fn a_return_that_meets_an_arrival_is_not_lost() {
    model(|| {
        let pool = pool(1, 1);
        let slot = pool.claim().unwrap();
        let theirs = Arc::clone(&pool);
        let waiter = thread::spawn(move || touch(&granted(checkout(&theirs))));
        touch(&slot);
        drop(slot);
        waiter.join().unwrap();
        bury(pool);
    });
}

#[test]
fn two_borrowers_of_one_slot_are_both_served() {
    model(|| {
        let pool = pool(1, 1);
        let theirs = Arc::clone(&pool);
        let other = thread::spawn(move || touch(&granted(checkout(&theirs))));
        touch(&granted(checkout(&pool)));
        other.join().unwrap();
        bury(pool);
    });
}

#[test]
fn three_borrowers_of_one_slot_are_all_served() {
    model(|| {
        let pool = pool(1, 1);
        let others: Vec<_> = (0..2)
            .map(|_| {
                let theirs = Arc::clone(&pool);
                thread::spawn(move || touch(&granted(checkout(&theirs))))
            })
            .collect();
        touch(&granted(checkout(&pool)));
        for other in others {
            other.join().unwrap();
        }
        bury(pool);
    });
}

#[test]
fn two_returns_serve_two_waiters() {
    model(|| {
        let pool = pool(2, 2);
        let (a, b) = (pool.claim().unwrap(), pool.claim().unwrap());
        let theirs = Arc::clone(&pool);
        let waiter = thread::spawn(move || touch(&granted(wait(&theirs))));
        let returner = thread::spawn(move || drop(b));
        drop(a);
        touch(&granted(wait(&pool)));
        waiter.join().unwrap();
        returner.join().unwrap();
        bury(pool);
    });
}

#[test]
fn the_line_is_served_in_the_order_of_arrival() {
    model(|| {
        let pool = pool(1, 1);
        let slot = pool.claim().unwrap();
        let bell = Bell::new();
        let waker = Waker::from(bell.clone());
        let mut first = pool.enroll(&waker, NEVER, usize::MAX, false).unwrap();
        let mut second = pool.enroll(&waker, NEVER, usize::MAX, false).unwrap();
        let returner = thread::spawn(move || drop(slot));
        // Whenever the second is served, the first must have been.
        let mut cx = Context::from_waker(&waker);
        assert!(matches!(second.poll(&mut cx), Poll::Pending));
        let slot = granted(finish(&mut first, &bell));
        assert!(matches!(second.poll(&mut cx), Poll::Pending));
        drop(slot);
        touch(&granted(finish(&mut second, &bell)));
        returner.join().unwrap();
        drop((first, second));
        bury(pool);
    });
}

#[test]
fn a_newcomer_does_not_overtake_one_who_waits() {
    model(|| {
        let pool = pool(1, 1);
        let slot = pool.claim().unwrap();
        let bell = Bell::new();
        let waker = Waker::from(bell.clone());
        let mut ticket = pool.enroll(&waker, NEVER, usize::MAX, false).unwrap();
        let theirs = Arc::clone(&pool);
        // Its claim begins after the wait did, so it must not succeed before the waiter was served.
        let newcomer = thread::spawn(move || theirs.claim().is_ok());
        drop(slot);
        if newcomer.join().unwrap() {
            panic!("overtaken");
        }
        drop(granted(finish(&mut ticket, &bell)));
        drop(ticket);
        bury(pool);
    });
}

#[test]
fn a_cancelled_waiter_passes_its_grant_on() {
    model(|| {
        let pool = pool(1, 1);
        let slot = pool.claim().unwrap();
        // It leaves without ever parking, and loom takes a late unpark for the end of a join.
        let ticket = pool.enroll(Waker::noop(), NEVER, usize::MAX, false).unwrap();
        let theirs = Arc::clone(&pool);
        let second = thread::spawn(move || touch(&granted(wait(&theirs))));
        let returner = thread::spawn(move || {
            touch(&slot);
            drop(slot);
        });
        drop(ticket);
        second.join().unwrap();
        returner.join().unwrap();
        bury(pool);
    });
}

#[test]
fn an_expired_waiter_either_has_its_slot_or_left_it_to_others() {
    model(|| {
        let pool = pool(1, 1);
        let slot = pool.claim().unwrap();
        let bell = Bell::new();
        let waker = Waker::from(bell.clone());
        let mut ticket = pool.enroll(&waker, 5, usize::MAX, false).unwrap();
        assert!(pool.next_deadline() <= 5);
        let theirs = Arc::clone(&pool);
        let keeper = thread::spawn(move || theirs.expire(5));
        let returner = thread::spawn(move || drop(slot));
        match finish(&mut ticket, &bell) {
            Outcome::Granted(slot) => touch(&slot),
            Outcome::Expired => {}
            other => panic!("{other:?}"),
        }
        keeper.join().unwrap();
        returner.join().unwrap();
        drop(ticket);
        touch(&pool.claim().expect("the slot is back"));
        bury(pool);
    });
}

#[test]
fn a_deadline_noted_while_others_expire_is_not_forgotten() {
    model(|| {
        let pool = pool(1, 0);
        let theirs = Arc::clone(&pool);
        let keeper = thread::spawn(move || theirs.expire(5));
        let bell = Bell::new();
        let waker = Waker::from(bell.clone());
        let ticket = pool.enroll(&waker, 7, usize::MAX, false).unwrap();
        keeper.join().unwrap();
        assert!(pool.next_deadline() <= 7, "nobody would ever expire this waiter");
        drop(ticket);
        bury(pool);
    });
}

#[test]
fn a_waker_that_is_replaced_while_the_grant_comes_is_not_lost() {
    model(|| {
        let pool = pool(1, 1);
        let slot = pool.claim().unwrap();
        let stale = Waker::from(Bell::new());
        let mut ticket = pool.enroll(&stale, NEVER, usize::MAX, false).unwrap();
        let returner = thread::spawn(move || drop(slot));
        // A fresh waker at each poll, each for a park of its own: only the last may be relied on.
        let fresh = Bell::new();
        let waker = Waker::from(fresh.clone());
        if let Poll::Ready(outcome) = ticket.poll(&mut Context::from_waker(&waker)) {
            drop(granted(outcome));
        } else {
            while !fresh.has_rung() {
                fresh.wait();
            }
            drop(granted(finish(&mut ticket, &fresh)));
        }
        returner.join().unwrap();
        drop(ticket);
        bury(pool);
    });
}

#[test]
fn a_failure_reaches_all_who_wait() {
    model(|| {
        let pool = pool(1, 0);
        let theirs = Arc::clone(&pool);
        let bell = Bell::new();
        let waker = Waker::from(bell.clone());
        let mut ticket = pool.enroll(&waker, NEVER, usize::MAX, false).unwrap();
        let failing = thread::spawn(move || theirs.fail_all());
        assert!(matches!(finish(&mut ticket, &bell), Outcome::Failed));
        failing.join().unwrap();
        drop(ticket);
        bury(pool);
    });
}
