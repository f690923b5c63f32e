//! Grant ‖ take-back ‖ take, take-back ‖ cancel, take-back ‖ close, take-back ‖ fresh waker.

use super::{
    Bare, FLEETING, LAPSE, NOW, Payload, STRICT, Sleeper, bury, claim, finish, granted, model,
    pool, touch,
};
use crate::raw::RawPool;
use crate::raw::waiter::{NEVER, Outcome, Terms, Ticket};
use loom::sync::Arc;
use loom::thread;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

type Asleep<'p> = (Ticket<'p, Bare>, std::sync::Arc<Sleeper>);

/// In line, and never polled unless the model says so.
fn asleep(pool: &RawPool<Bare>, terms: Terms) -> Asleep<'_> {
    let sleeper = Sleeper::new();
    let ticket = pool.enroll(&Waker::from(sleeper.clone()), terms, usize::MAX).unwrap();
    (ticket, sleeper)
}

fn poll(ticket: &mut Ticket<'_, Bare>) -> Poll<Outcome<Bare>> {
    ticket.poll(&mut Context::from_waker(Waker::noop()))
}

/// Nothing is left of the waits: no node, no count, no flag.
fn assert_at_rest(pool: &RawPool<Bare>) {
    assert_eq!((pool.queued(), pool.gauges().waiting), (0, 0));
    drop(pool.claim_at_home().expect("a flag was left up, or a slot lost"));
}

#[test]
fn a_grant_that_is_taken_while_it_lapses_has_one_owner() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let (mut ticket, sleeper) = asleep(&pool, FLEETING);
        drop(slot);
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
        let slot = claim(&pool).unwrap();
        let (mut first, sleeper) = asleep(&pool, FLEETING);
        drop(slot);
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
        let slot = claim(&pool).unwrap();
        let (ticket, _) = asleep(&pool, FLEETING);
        drop(slot);
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
        let slot = claim(&pool).unwrap();
        let (first, _) = asleep(&pool, FLEETING);
        drop(slot);
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
        let slot = claim(&pool).unwrap();
        let (mut ticket, _) = asleep(&pool, FLEETING);
        drop(slot);
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
        let slot = claim(&pool).unwrap();
        let (mut ticket, sleeper) = asleep(&pool, FLEETING);
        drop(slot);
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
        let slot = claim(&pool).unwrap();
        let (mut ticket, _) = asleep(&pool, FLEETING);
        drop(slot);
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
        let slot = claim(&pool).unwrap();
        let (mut ticket, _) = asleep(&pool, Terms { deadline: NOW + 1, ..FLEETING });
        drop(slot);
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
        let slot = claim(&pool).unwrap();
        let (mut ticket, sleeper) = asleep(&pool, Terms { deadline: NOW + 1, ..FLEETING });
        drop(slot);
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
            theirs.context().store(LAPSE, Relaxed);
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

/// Not a race: what was granted lapses once, and not because something else did before.
#[test]
fn each_grant_has_its_own_grace() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let (mut first, _) = asleep(&pool, FLEETING);
        let (mut second, _) = asleep(&pool, FLEETING);
        drop(slot);
        pool.context().store(LAPSE, Relaxed);
        pool.expire(LAPSE - 1);
        assert!(first.is_settled() && pool.next_deadline() == LAPSE);
        pool.expire(LAPSE);
        assert!(second.is_settled() && !first.is_settled());
        assert_eq!(pool.next_deadline(), LAPSE + 3);
        pool.expire(LAPSE + 2);
        assert!(poll(&mut second).is_ready());
        pool.expire(LAPSE + 3);
        assert!(poll(&mut first).is_ready());
        pool.context().store(2 * LAPSE, Relaxed);
        pool.expire(2 * LAPSE);
        assert_eq!(pool.next_deadline(), NEVER);
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

/// As long as slots are handed on, nobody else need come for what has lapsed.
#[test]
fn who_is_handed_a_slot_has_what_has_lapsed_taken_back() {
    model(|| {
        let pool = pool(2, 2);
        let (one, other) = (claim(&pool).unwrap(), claim(&pool).unwrap());
        // The clock stands still, so what it is granted has lapsed at once.
        let (mut first, _) = asleep(&pool, Terms { grace: 0, ..STRICT });
        let (second, _) = asleep(&pool, FLEETING);
        drop(one);
        let returner = thread::spawn(move || drop(other));
        let taken = poll(&mut first);
        returner.join().unwrap();
        assert!(second.is_settled(), "both slots are there for one");
        match taken {
            Poll::Ready(Outcome::Granted(slot)) => drop(slot),
            // Passed over twice, it has to look again.
            Poll::Ready(Outcome::Lapsed) => {}
            Poll::Ready(other) => panic!("{other:?}"),
            Poll::Pending => assert!(first.is_settled(), "a slot is idle, and it waits"),
        }
        drop((first, second));
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn what_lapses_goes_to_the_next_when_another_slot_is_handed_on() {
    model(|| {
        let pool = pool(2, 2);
        let (one, other) = (claim(&pool).unwrap(), claim(&pool).unwrap());
        let (first, _) = asleep(&pool, Terms { grace: 0, ..STRICT });
        let (second, _) = asleep(&pool, FLEETING);
        let (third, _) = asleep(&pool, STRICT);
        drop(one);
        assert!(!third.is_settled());
        drop(other);
        assert!(second.is_settled() && third.is_settled() && !first.is_settled());
        drop((first, second, third));
        assert_at_rest(&pool);
        bury(pool);
    });
}

/// Its deadline was not in the line when that was last looked at.
#[test]
fn one_that_stands_in_line_again_expires_at_its_deadline() {
    const DEADLINE: u64 = LAPSE + 5;
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let (mut first, _) = asleep(&pool, Terms { deadline: DEADLINE, ..FLEETING });
        drop(slot);
        let (mut second, _) = asleep(&pool, Terms { deadline: LAPSE, ..STRICT });
        let (third, _) = asleep(&pool, STRICT);
        pool.expire(LAPSE);
        assert!(matches!(poll(&mut second), Poll::Ready(Outcome::Expired)));
        assert!(third.is_settled() && pool.next_deadline() <= DEADLINE);
        pool.expire(DEADLINE);
        assert!(matches!(poll(&mut first), Poll::Ready(Outcome::Expired)));
        drop((first, second, third));
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn a_look_before_a_notification_lapses_does_not_forget_it() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let (ticket, sleeper) = asleep(&pool, Terms { patience: NOW + 1, ..FLEETING });
        drop(slot);
        assert!(sleeper.was_woken() && !ticket.is_settled() && pool.next_deadline() <= LAPSE);
        pool.expire(NOW);
        assert!(pool.next_deadline() <= LAPSE, "nobody would look");
        drop(ticket);
        assert_at_rest(&pool);
        bury(pool);
    });
}
