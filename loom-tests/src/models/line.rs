//! Release ‖ enqueue, grant ‖ cancel, grant ‖ timeout, waker ‖ grant, two returns ‖ two waiters.

use super::{
    Bell, OVERDUE, PATIENT, STRICT, bury, checkout, claim, finish, granted, model, pool, touch,
    wait, wait_on,
};
use crate::raw::waiter::{Outcome, Terms};
use loom::sync::Arc;
use loom::thread;
use std::task::{Context, Poll, Waker};

#[test]
fn a_return_that_meets_an_arrival_is_not_lost() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
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
        let (a, b) = (claim(&pool).unwrap(), claim(&pool).unwrap());
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
        let slot = claim(&pool).unwrap();
        let bell = Bell::new();
        let waker = Waker::from(bell.clone());
        let mut first = pool.enroll(&waker, STRICT, usize::MAX).unwrap();
        let mut second = pool.enroll(&waker, STRICT, usize::MAX).unwrap();
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
        let slot = claim(&pool).unwrap();
        let bell = Bell::new();
        let waker = Waker::from(bell.clone());
        let mut ticket = pool.enroll(&waker, STRICT, usize::MAX).unwrap();
        let theirs = Arc::clone(&pool);
        // Its claim begins after the wait did, so it must not succeed before the waiter was served.
        let newcomer = thread::spawn(move || claim(&theirs).is_some());
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
        let slot = claim(&pool).unwrap();
        // It leaves without ever parking, and loom takes a late unpark for the end of a join.
        let ticket = pool.enroll(Waker::noop(), STRICT, usize::MAX).unwrap();
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
        let slot = claim(&pool).unwrap();
        let bell = Bell::new();
        let waker = Waker::from(bell.clone());
        let mut ticket = pool.enroll(&waker, Terms { deadline: 5, ..STRICT }, usize::MAX).unwrap();
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
        touch(&claim(&pool).expect("the slot is back"));
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
        let ticket = pool.enroll(&waker, Terms { deadline: 7, ..STRICT }, usize::MAX).unwrap();
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
        let slot = claim(&pool).unwrap();
        let stale = Waker::from(Bell::new());
        let mut ticket = pool.enroll(&stale, STRICT, usize::MAX).unwrap();
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
        let mut ticket = pool.enroll(&waker, STRICT, usize::MAX).unwrap();
        let failing = thread::spawn(move || theirs.fail_all());
        assert!(matches!(finish(&mut ticket, &bell), Outcome::Failed));
        failing.join().unwrap();
        drop(ticket);
        bury(pool);
    });
}

#[test]
fn one_who_lets_newcomers_pass_is_served_once_they_have_gone() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let theirs = Arc::clone(&pool);
        let newcomer = thread::spawn(move || {
            if let Some(slot) = claim(&theirs) {
                touch(&slot);
            }
        });
        let returner = thread::spawn(move || {
            touch(&slot);
            drop(slot);
        });
        touch(&granted(wait_on(&pool, PATIENT)));
        newcomer.join().unwrap();
        returner.join().unwrap();
        bury(pool);
    });
}

#[test]
fn two_who_let_newcomers_pass_are_both_served() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let theirs = Arc::clone(&pool);
        let waiter = thread::spawn(move || touch(&granted(wait_on(&theirs, PATIENT))));
        drop(slot);
        touch(&granted(wait_on(&pool, PATIENT)));
        waiter.join().unwrap();
        bury(pool);
    });
}

#[test]
fn two_connections_that_come_back_serve_two_who_let_newcomers_pass() {
    model(|| {
        let pool = pool(2, 2);
        let (a, b) = (claim(&pool).unwrap(), claim(&pool).unwrap());
        let theirs = Arc::clone(&pool);
        let waiter = thread::spawn(move || touch(&granted(wait_on(&theirs, PATIENT))));
        drop(b);
        drop(a);
        touch(&granted(wait_on(&pool, PATIENT)));
        waiter.join().unwrap();
        bury(pool);
    });
}

#[test]
fn one_who_is_nudged_and_leaves_passes_it_on() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let ticket = pool.enroll(Waker::noop(), PATIENT, usize::MAX).unwrap();
        let theirs = Arc::clone(&pool);
        let second = thread::spawn(move || touch(&granted(wait_on(&theirs, PATIENT))));
        let returner = thread::spawn(move || drop(slot));
        drop(ticket);
        second.join().unwrap();
        returner.join().unwrap();
        bury(pool);
    });
}

#[test]
fn the_gate_goes_up_for_one_who_is_overdue_and_down_for_the_next() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let bell = Bell::new();
        let waker = Waker::from(bell.clone());
        let mut first = pool.enroll(&waker, OVERDUE, usize::MAX).unwrap();
        let mut second = pool.enroll(&waker, PATIENT, usize::MAX).unwrap();
        let theirs = Arc::clone(&pool);
        // It may be faster than the second, not than the first.
        let newcomer = thread::spawn(move || claim(&theirs).map(|slot| touch(&slot)).is_some());
        drop(slot);
        let is_faster = newcomer.join().unwrap();
        assert!(!is_faster, "overtaken");
        drop(granted(finish(&mut first, &bell)));
        touch(&granted(finish(&mut second, &bell)));
        drop((first, second));
        bury(pool);
    });
}

#[test]
fn a_close_reaches_those_who_let_newcomers_pass() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let theirs = Arc::clone(&pool);
        let closer = thread::spawn(move || theirs.close());
        let returner = thread::spawn(move || drop(slot));
        match wait_on(&pool, PATIENT) {
            Outcome::Granted(slot) => touch(&slot),
            Outcome::Closed => {}
            other => panic!("{other:?}"),
        }
        closer.join().unwrap();
        returner.join().unwrap();
        bury(pool);
    });
}
