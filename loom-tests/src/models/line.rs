//! Release ‖ enqueue, grant ‖ cancel, grant ‖ timeout, waker ‖ grant, two returns ‖ two waiters.

use super::{
    OVERDUE, PATIENT, STRICT, Sleeper, bury, checkout, claim, finish, granted, model, pool, touch,
    wait, wait_on,
};
use crate::raw::waiter::{NEVER, Outcome, Terms};
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
        let sleeper = Sleeper::new();
        let waker = Waker::from(sleeper.clone());
        let mut first = pool.enroll(&waker, STRICT, usize::MAX).unwrap();
        let mut second = pool.enroll(&waker, STRICT, usize::MAX).unwrap();
        let returner = thread::spawn(move || drop(slot));
        // The second may be served only after the first.
        let mut cx = Context::from_waker(&waker);
        assert!(matches!(second.poll(&mut cx), Poll::Pending));
        let slot = granted(finish(&mut first, &sleeper));
        assert!(matches!(second.poll(&mut cx), Poll::Pending));
        drop(slot);
        touch(&granted(finish(&mut second, &sleeper)));
        returner.join().unwrap();
        drop((first, second));
        bury(pool);
    });
}

#[test]
fn a_newcomer_does_not_overtake_a_waiter() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let sleeper = Sleeper::new();
        let waker = Waker::from(sleeper.clone());
        let mut ticket = pool.enroll(&waker, STRICT, usize::MAX).unwrap();
        let theirs = Arc::clone(&pool);
        // Its claim begins after the wait did, so it must not succeed before the waiter was served.
        let newcomer = thread::spawn(move || claim(&theirs).is_some());
        drop(slot);
        if newcomer.join().unwrap() {
            panic!("overtaken");
        }
        drop(granted(finish(&mut ticket, &sleeper)));
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
        let sleeper = Sleeper::new();
        let waker = Waker::from(sleeper.clone());
        let mut ticket = pool.enroll(&waker, Terms { deadline: 5, ..STRICT }, usize::MAX).unwrap();
        assert!(pool.next_deadline() <= 5);
        let theirs = Arc::clone(&pool);
        let keeper = thread::spawn(move || theirs.expire(5));
        let returner = thread::spawn(move || drop(slot));
        match finish(&mut ticket, &sleeper) {
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
        let sleeper = Sleeper::new();
        let waker = Waker::from(sleeper.clone());
        let ticket = pool.enroll(&waker, Terms { deadline: 7, ..STRICT }, usize::MAX).unwrap();
        keeper.join().unwrap();
        assert!(pool.next_deadline() <= 7, "this waiter would never expire");
        drop(ticket);
        bury(pool);
    });
}

#[test]
fn a_waker_that_is_replaced_while_the_grant_comes_is_not_lost() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let stale = Waker::from(Sleeper::new());
        let mut ticket = pool.enroll(&stale, STRICT, usize::MAX).unwrap();
        let returner = thread::spawn(move || drop(slot));
        // A fresh waker at each poll, each for a park of its own: only the last may be relied on.
        let fresh = Sleeper::new();
        let waker = Waker::from(fresh.clone());
        if let Poll::Ready(outcome) = ticket.poll(&mut Context::from_waker(&waker)) {
            drop(granted(outcome));
        } else {
            while !fresh.was_woken() {
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
fn a_failure_reaches_all_that_wait() {
    model(|| {
        let pool = pool(1, 0);
        let theirs = Arc::clone(&pool);
        let sleeper = Sleeper::new();
        let waker = Waker::from(sleeper.clone());
        let mut ticket = pool.enroll(&waker, STRICT, usize::MAX).unwrap();
        let failing = thread::spawn(move || theirs.fail_all());
        assert!(matches!(finish(&mut ticket, &sleeper), Outcome::Failed));
        failing.join().unwrap();
        drop(ticket);
        bury(pool);
    });
}

#[test]
fn a_patient_waiter_is_served_once_the_newcomers_have_gone() {
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
fn two_patient_waiters_are_both_served() {
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
fn two_returns_serve_two_patient_waiters() {
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
fn a_notified_waiter_that_leaves_passes_the_notification_on() {
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
fn the_hand_off_flag_goes_up_for_an_overdue_waiter_and_down_for_the_next() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let sleeper = Sleeper::new();
        let waker = Waker::from(sleeper.clone());
        let mut first = pool.enroll(&waker, OVERDUE, usize::MAX).unwrap();
        let mut second = pool.enroll(&waker, PATIENT, usize::MAX).unwrap();
        let theirs = Arc::clone(&pool);
        // It may claim before the second, not before the first.
        let newcomer = thread::spawn(move || claim(&theirs).map(|slot| touch(&slot)).is_some());
        drop(slot);
        let is_faster = newcomer.join().unwrap();
        assert!(!is_faster, "overtaken");
        drop(granted(finish(&mut first, &sleeper)));
        touch(&granted(finish(&mut second, &sleeper)));
        drop((first, second));
        bury(pool);
    });
}

#[test]
fn a_close_reaches_a_patient_waiter() {
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

#[test]
fn a_waiter_that_claims_while_it_is_notified_anew_leaves_the_other_slot_to_the_next() {
    model(|| {
        let pool = pool(2, 2);
        let (a, b) = (claim(&pool).unwrap(), claim(&pool).unwrap());
        let sleepers = [Sleeper::new(), Sleeper::new()];
        let wakers = sleepers.clone().map(Waker::from);
        let mut first = pool.enroll(&wakers[0], PATIENT, usize::MAX).unwrap();
        let mut second = pool.enroll(&wakers[1], PATIENT, usize::MAX).unwrap();
        // The first is notified of this one, and of the other while it claims, or the second is.
        drop(a);
        let returner = thread::spawn(move || drop(b));
        let slot = granted(finish(&mut first, &sleepers[0]));
        // Meanwhile the first keeps its slot.
        touch(&granted(finish(&mut second, &sleepers[1])));
        touch(&slot);
        returner.join().unwrap();
        drop((slot, first, second));
        bury(pool);
    });
}

/// A node may outlive its ticket, but with a waker in it the dispatcher would run foreign code.
#[test]
fn a_ticket_takes_its_waker_along_when_it_has_claimed() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let sleeper = Sleeper::new();
        let waker = Waker::from(sleeper.clone());
        let mut first = pool.enroll(&waker, PATIENT, usize::MAX).unwrap();
        // So that the node of the first stays in the line.
        let second = pool.enroll(Waker::noop(), PATIENT, usize::MAX).unwrap();
        drop(slot);
        let slot = granted(finish(&mut first, &sleeper));
        drop(first);
        assert_eq!(pool.queued(), 2, "the node must be there still");
        drop(waker);
        assert_eq!(std::sync::Arc::strong_count(&sleeper), 1, "a waker was left behind");
        drop((slot, second));
        bury(pool);
    });
}

#[test]
fn a_waiter_that_has_waited_before_goes_to_the_head_of_the_line() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let sleeper = Sleeper::new();
        let waker = Waker::from(sleeper.clone());
        let mut first = pool.enroll(&waker, STRICT, usize::MAX).unwrap();
        let ahead = Terms { ahead: true, ..STRICT };
        let mut second = pool.enroll(&waker, ahead, usize::MAX).unwrap();
        drop(slot);
        assert!(second.is_settled() && !first.is_settled(), "in the wrong order");
        touch(&granted(finish(&mut second, &sleeper)));
        touch(&granted(finish(&mut first, &sleeper)));
        drop((first, second));
        bury(pool);
    });
}

#[test]
fn two_waiters_that_leave_at_once_leave_the_line_empty() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let theirs = Arc::clone(&pool);
        let other = thread::spawn(move || drop(theirs.enroll(Waker::noop(), STRICT, usize::MAX)));
        drop(pool.enroll(Waker::noop(), STRICT, usize::MAX));
        other.join().unwrap();
        assert_eq!((pool.queued(), pool.gauges().waiting), (0, 0), "a node was left behind");
        drop(slot);
        drop(pool.claim_at_home().expect("a flag was left up"));
        bury(pool);
    });
}

#[test]
fn a_refusal_while_the_last_waiter_leaves_leaves_the_line_empty() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let theirs = Arc::clone(&pool);
        let other = thread::spawn(move || drop(theirs.enroll(Waker::noop(), STRICT, 1)));
        drop(pool.enroll(Waker::noop(), STRICT, 1));
        other.join().unwrap();
        assert_eq!((pool.queued(), pool.gauges().waiting), (0, 0), "a node was left behind");
        drop(slot);
        drop(pool.claim_at_home().expect("a flag was left up"));
        bury(pool);
    });
}

/// Not a race: no expiry depends on those before.
#[test]
fn a_deadline_expires_though_a_later_moment_was_seen_before() {
    model(|| {
        let pool = pool(1, 0);
        let sleeper = Sleeper::new();
        let waker = Waker::from(sleeper.clone());
        pool.expire(9);
        let mut ticket = pool.enroll(&waker, Terms { deadline: 7, ..STRICT }, usize::MAX).unwrap();
        assert!(!ticket.is_settled(), "expired before its deadline");
        pool.expire(8);
        assert!(ticket.is_settled() && pool.next_deadline() == NEVER);
        assert!(matches!(finish(&mut ticket, &sleeper), Outcome::Expired));
        drop(ticket);
        bury(pool);
    });
}
