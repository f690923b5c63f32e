//! Grant ‖ take-back ‖ take, take-back ‖ cancel, take-back ‖ close, take-back ‖ fresh waker.

use super::{
    FLEETING, LAPSE, NOW, Payload, STRICT, Sleeper, asleep, assert_at_rest, bury, claim, finish,
    granted, handed, model, poll, pool, touch,
};
use crate::raw::waiter::{Outcome, Terms};
use loom::sync::Arc;
use loom::thread;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, Waker};

#[test]
fn a_grant_that_is_taken_while_it_lapses_has_one_owner() {
    model(|| {
        let pool = pool(1, 1);
        let (mut ticket, sleeper) = handed(&pool, FLEETING);
        assert!(ticket.is_settled() && pool.next_deadline() <= LAPSE);
        let theirs = Arc::clone(&pool);
        let keeper = thread::spawn(move || theirs.expire(LAPSE));
        // If it was taken back, it is granted once more, as no other waits.
        touch(&granted(finish(&mut ticket, &sleeper)));
        keeper.join().unwrap();
        drop(ticket);
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn a_grant_that_lapses_serves_the_next_whether_it_was_taken_or_not() {
    model(|| {
        let pool = pool(1, 1);
        let (mut first, sleeper) = handed(&pool, FLEETING);
        let theirs = Arc::clone(&pool);
        let next = thread::spawn(move || {
            let sleeper = Sleeper::new();
            let waker = Waker::from(sleeper.clone());
            let mut ticket = theirs.enroll(&waker, STRICT, usize::MAX).unwrap();
            theirs.expire(LAPSE);
            touch(&granted(finish(&mut ticket, &sleeper)));
        });
        touch(&granted(finish(&mut first, &sleeper)));
        drop(first);
        next.join().unwrap();
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn who_leaves_while_its_grant_lapses_takes_nothing_along() {
    model(|| {
        let pool = pool(1, 1);
        let (ticket, _) = handed(&pool, FLEETING);
        let theirs = Arc::clone(&pool);
        let keeper = thread::spawn(move || theirs.expire(LAPSE));
        drop(ticket);
        keeper.join().unwrap();
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn who_leaves_while_its_grant_lapses_leaves_the_slot_to_the_next() {
    model(|| {
        let pool = pool(1, 1);
        let (first, _) = handed(&pool, FLEETING);
        let (mut second, sleeper) = asleep(&pool, STRICT);
        let theirs = Arc::clone(&pool);
        let keeper = thread::spawn(move || theirs.expire(LAPSE));
        drop(first);
        touch(&granted(finish(&mut second, &sleeper)));
        keeper.join().unwrap();
        drop(second);
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn a_close_takes_back_what_is_granted_and_not_taken() {
    model(|| {
        let pool = pool(1, 1);
        let (mut ticket, _) = handed(&pool, FLEETING);
        let theirs = Arc::clone(&pool);
        let keeper = thread::spawn(move || theirs.expire(LAPSE));
        pool.close();
        keeper.join().unwrap();
        assert!(pool.is_torn_down(), "a grant kept a closed pool open");
        assert!(matches!(poll(&mut ticket), Poll::Ready(Outcome::Closed)));
        drop(ticket);
        bury(pool);
    });
}

#[test]
fn a_close_that_meets_the_taking_of_a_grant_leaves_nothing_behind() {
    model(|| {
        let pool = pool(1, 1);
        let (mut ticket, sleeper) = handed(&pool, FLEETING);
        let theirs = Arc::clone(&pool);
        let closer = thread::spawn(move || theirs.close());
        match finish(&mut ticket, &sleeper) {
            Outcome::Granted(slot) => touch(&slot),
            Outcome::Closed => {}
            other => panic!("{other:?}"),
        }
        closer.join().unwrap();
        drop(ticket);
        bury(pool);
    });
}

#[test]
fn who_lets_a_grant_lapse_keeps_its_place() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let (mut first, sleeper) = asleep(&pool, FLEETING);
        let (mut second, seconds) = asleep(&pool, FLEETING);
        drop(slot);
        pool.expire(LAPSE);
        let slot = granted(finish(&mut second, &seconds));
        assert!(poll(&mut first).is_pending() && pool.gauges().waiting == 1);
        let (mut third, thirds) = asleep(&pool, STRICT);
        let returner = thread::spawn(move || drop(slot));
        let slot = granted(finish(&mut first, &sleeper));
        assert!(!third.is_settled(), "overtaken");
        drop(slot);
        touch(&granted(finish(&mut third, &thirds)));
        returner.join().unwrap();
        drop((first, second, third));
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn those_who_let_grants_lapse_keep_their_order() {
    model(|| {
        let pool = pool(2, 2);
        let (a, b) = (claim(&pool).unwrap(), claim(&pool).unwrap());
        let (mut first, _) = asleep(&pool, FLEETING);
        let (second, _) = asleep(&pool, Terms { grace: 1, ..FLEETING });
        let [(mut third, _), (mut fourth, _)] = [asleep(&pool, STRICT), asleep(&pool, STRICT)];
        drop((a, b));
        // The second first.
        pool.expire(LAPSE - 2);
        let slot = granted(match poll(&mut third) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => panic!("nothing passed on"),
        });
        pool.expire(LAPSE);
        assert!(fourth.is_settled() && !first.is_settled() && !second.is_settled());
        drop(slot);
        assert!(first.is_settled() && !second.is_settled(), "out of order");
        assert!(poll(&mut first).is_ready() && poll(&mut fourth).is_ready());
        drop((first, second, third, fourth));
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn who_lets_two_grants_lapse_is_passed_over_until_it_is_polled() {
    model(|| {
        let pool = pool(1, 1);
        let (mut ticket, _) = handed(&pool, FLEETING);
        pool.expire(LAPSE);
        assert!(ticket.is_settled(), "no other waits");
        let theirs = Arc::clone(&pool);
        let keeper = thread::spawn(move || theirs.expire(LAPSE));
        let outcome = poll(&mut ticket);
        keeper.join().unwrap();
        match outcome {
            Poll::Ready(Outcome::Granted(slot)) => touch(&slot),
            Poll::Ready(Outcome::Lapsed) => {}
            other => panic!("{other:?}"),
        }
        drop(ticket);
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn who_lets_two_grants_lapse_holds_up_nobody_any_more() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let (mut first, _) = asleep(&pool, FLEETING);
        let (mut second, _) = asleep(&pool, STRICT);
        drop(slot);
        pool.expire(LAPSE);
        // It was polled in between: the next lapse is the first one again.
        assert!(poll(&mut first).is_pending());
        drop(poll(&mut second));
        pool.expire(LAPSE);
        assert_eq!(pool.gauges().waiting, 0, "it is offered the slot once more");
        assert!(pool.claim_at_home().is_none());
        pool.expire(LAPSE);
        drop(pool.claim_at_home().expect("it sleeps, and the slot is idle"));
        assert!(matches!(poll(&mut first), Poll::Ready(Outcome::Lapsed)));
        drop((first, second));
        assert_at_rest(&pool);
        bury(pool);
    });
}

/// The wake-up for a grant that lapsed is the last one that the old waker gets.
#[test]
fn a_waker_that_is_replaced_while_the_grant_lapses_is_not_lost() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let (mut first, _) = asleep(&pool, FLEETING);
        let theirs = Arc::clone(&pool);
        let returner = thread::spawn(move || {
            drop(slot);
            // Behind the first; it has the slot if that lapses now.
            let (mut second, sleeper) = asleep(&theirs, STRICT);
            theirs.expire(LAPSE);
            touch(&granted(finish(&mut second, &sleeper)));
        });
        let fresh = Sleeper::new();
        touch(&granted(finish(&mut first, &fresh)));
        drop(first);
        returner.join().unwrap();
        assert_at_rest(&pool);
        bury(pool);
    });
}

/// Not a race: however long its grace is.
#[test]
fn a_grant_does_not_outlive_the_waiters_own_deadline() {
    model(|| {
        let pool = pool(1, 1);
        let (mut ticket, _) = handed(&pool, Terms { deadline: NOW + 1, ..FLEETING });
        pool.expire(NOW + 1);
        drop(claim(&pool).expect("its time is up"));
        assert!(matches!(poll(&mut ticket), Poll::Ready(Outcome::Expired)));
        drop(ticket);
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn at_its_own_deadline_a_waiter_loses_what_it_has_not_taken() {
    model(|| {
        let pool = pool(1, 1);
        let (mut ticket, sleeper) = handed(&pool, Terms { deadline: NOW + 1, ..FLEETING });
        assert!(ticket.is_settled() && pool.next_deadline() <= NOW + 1);
        let theirs = Arc::clone(&pool);
        let keeper = thread::spawn(move || theirs.expire(NOW + 1));
        match finish(&mut ticket, &sleeper) {
            Outcome::Granted(slot) => touch(&slot),
            Outcome::Expired => {}
            other => panic!("{other:?}"),
        }
        keeper.join().unwrap();
        drop(ticket);
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn a_notification_that_is_not_heeded_goes_to_the_next_too() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let patient = Terms { patience: 2 * LAPSE, ..FLEETING };
        let (mut first, firsts) = asleep(&pool, patient);
        let (mut second, seconds) = asleep(&pool, patient);
        drop(slot);
        assert!(firsts.was_woken() && !seconds.was_woken() && pool.next_deadline() <= LAPSE);
        let theirs = Arc::clone(&pool);
        let keeper = thread::spawn(move || {
            theirs.context().clock.store(LAPSE, Relaxed);
            theirs.expire(LAPSE);
        });
        // The second is served while the first sleeps.
        touch(&granted(finish(&mut second, &seconds)));
        keeper.join().unwrap();
        touch(&granted(finish(&mut first, &firsts)));
        drop((first, second));
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn a_reserved_slot_that_is_not_taken_in_time_goes_to_the_line() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let mut ticket = pool.reservation(Waker::noop(), FLEETING);
        let theirs = Arc::clone(&pool);
        let (mut next, sleeper) = asleep(&pool, STRICT);
        let waiter = ticket.waiter();
        let worker = thread::spawn(move || {
            touch(&slot);
            if let Err(slot) = theirs.grant(waiter, slot) {
                drop(slot);
            }
            theirs.expire(LAPSE);
        });
        match poll(&mut ticket) {
            Poll::Ready(Outcome::Granted(slot)) => touch(&slot),
            Poll::Ready(Outcome::Lapsed) | Poll::Pending => {}
            Poll::Ready(other) => panic!("{other:?}"),
        }
        touch(&granted(finish(&mut next, &sleeper)));
        worker.join().unwrap();
        drop((ticket, next));
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn a_reserved_slot_that_meets_a_look_at_what_lapses_is_not_forgotten() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let ticket = pool.reservation(Waker::noop(), FLEETING);
        let theirs = Arc::clone(&pool);
        let keeper = thread::spawn(move || theirs.expire(NOW));
        assert!(pool.grant(ticket.waiter(), slot).is_ok());
        keeper.join().unwrap();
        assert!(pool.next_deadline() <= LAPSE, "nobody would look");
        pool.expire(LAPSE);
        drop(claim(&pool).expect("it has lapsed"));
        drop(ticket);
        assert_at_rest(&pool);
        bury(pool);
    });
}

/// A connection that was opened meanwhile is no different.
#[test]
fn what_is_opened_for_a_sleeper_goes_to_the_next() {
    model(|| {
        let pool = pool(1, 0);
        let (first, _) = asleep(&pool, FLEETING);
        let (mut second, sleeper) = asleep(&pool, STRICT);
        let theirs = Arc::clone(&pool);
        let worker = thread::spawn(move || {
            drop(theirs.claim_vacant().unwrap().fill(Payload::new()));
            theirs.expire(LAPSE);
        });
        touch(&granted(finish(&mut second, &sleeper)));
        worker.join().unwrap();
        drop((first, second));
        assert_at_rest(&pool);
        bury(pool);
    });
}
