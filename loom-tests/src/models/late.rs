//! One that has let its grant lapse and is polled now ‖ those behind it that have one take it,
//! leave, or let it lapse; ‖ close.

use super::{
    Asleep, Bare, FLEETING, LAPSE, asleep, assert_at_rest, bury, claim, finish, granted,
    granted_at_once, handed, model, poll, pool, touch,
};
use crate::raw::RawPool;
use crate::raw::waiter::{Outcome, Terms};
use loom::sync::Arc;
use loom::thread;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

/// The first has let its grant lapse; the second has that slot, and was not polled since.
fn two_asleep(pool: &RawPool<Bare>) -> [Asleep<'_>; 2] {
    let slot = claim(pool).unwrap();
    let asleep = [asleep(pool, FLEETING), asleep(pool, FLEETING)];
    drop(slot);
    pool.expire(LAPSE);
    assert!(asleep[1].0.is_settled() && !asleep[0].0.is_settled());
    asleep
}

/// Not a race: where all are polled late, no slot would ever be taken.
#[test]
fn one_that_comes_back_has_what_is_granted_to_those_behind_it() {
    model(|| {
        let pool = pool(2, 2);
        let (a, b) = (claim(&pool).unwrap(), claim(&pool).unwrap());
        let [(mut first, _), (mut second, _)] = [asleep(&pool, FLEETING), asleep(&pool, FLEETING)];
        let [(mut third, _), (mut fourth, _)] = [asleep(&pool, FLEETING), asleep(&pool, FLEETING)];
        drop((a, b));
        pool.expire(LAPSE);
        assert!(third.is_settled() && fourth.is_settled());
        let one = granted_at_once(&mut first);
        // The last has to wait rather than the one before.
        assert!(third.is_settled() && !fourth.is_settled());
        let other = granted_at_once(&mut second);
        assert!(poll(&mut third).is_pending() && poll(&mut fourth).is_pending());
        drop((one, other));
        drop((granted_at_once(&mut third), granted_at_once(&mut fourth)));
        drop((first, second, third, fourth));
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn one_that_waits_ahead_has_what_is_granted_to_those_behind_it() {
    model(|| {
        let pool = pool(1, 1);
        let (mut second, sleeper) = handed(&pool, FLEETING);
        assert!(second.is_settled());
        let theirs = Arc::clone(&pool);
        // It has wanted one since before, and comes again.
        let returner = thread::spawn(move || {
            let (mut first, sleeper) = asleep(&theirs, Terms { ahead: true, since: 1, ..FLEETING });
            touch(&granted(finish(&mut first, &sleeper)));
        });
        touch(&granted(finish(&mut second, &sleeper)));
        returner.join().unwrap();
        let (mut fourth, _) = handed(&pool, FLEETING);
        let (mut third, _) = asleep(&pool, Terms { ahead: true, since: 1, ..FLEETING });
        drop(granted_at_once(&mut third));
        drop(granted_at_once(&mut fourth));
        drop((second, third, fourth));
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn one_that_comes_back_leaves_those_before_it_what_they_have() {
    model(|| {
        let pool = pool(1, 1);
        let [(mut first, _), (mut second, _)] = two_asleep(&pool);
        // So it is offered to the first once more.
        pool.expire(2 * LAPSE);
        assert!(first.is_settled() && !second.is_settled());
        assert!(poll(&mut second).is_pending());
        drop(granted_at_once(&mut first));
        drop(granted_at_once(&mut second));
        drop((first, second));
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn one_that_comes_back_while_another_takes_its_grant_waits_for_the_next() {
    model(|| {
        let pool = pool(1, 1);
        let (mut first, sleeper) = handed(&pool, FLEETING);
        let theirs = Arc::clone(&pool);
        let next = thread::spawn(move || {
            let (mut second, sleeper) = asleep(&theirs, FLEETING);
            theirs.expire(LAPSE);
            touch(&granted(finish(&mut second, &sleeper)));
        });
        touch(&granted(finish(&mut first, &sleeper)));
        drop(first);
        next.join().unwrap();
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn one_that_comes_back_while_another_leaves_with_its_grant_is_served() {
    model(|| {
        let pool = pool(1, 1);
        let (mut first, sleeper) = handed(&pool, FLEETING);
        let theirs = Arc::clone(&pool);
        let next = thread::spawn(move || {
            let (second, _) = asleep(&theirs, FLEETING);
            theirs.expire(LAPSE);
            drop(second);
        });
        touch(&granted(finish(&mut first, &sleeper)));
        drop(first);
        next.join().unwrap();
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn one_that_comes_back_while_the_others_grant_lapses_is_served() {
    model(|| {
        let pool = pool(1, 1);
        let [(mut first, sleeper), (second, _)] = two_asleep(&pool);
        let theirs = Arc::clone(&pool);
        let keeper = thread::spawn(move || theirs.expire(2 * LAPSE));
        touch(&granted(finish(&mut first, &sleeper)));
        keeper.join().unwrap();
        drop((first, second));
        assert_at_rest(&pool);
        bury(pool);
    });
}

#[test]
fn one_that_comes_back_while_the_pool_is_closed_leaves_nothing_behind() {
    model(|| {
        let pool = pool(1, 1);
        let [(mut first, sleeper), (second, _)] = two_asleep(&pool);
        let theirs = Arc::clone(&pool);
        let closer = thread::spawn(move || theirs.close());
        match finish(&mut first, &sleeper) {
            Outcome::Granted(slot) => touch(&slot),
            Outcome::Closed => {}
            other => panic!("{other:?}"),
        }
        closer.join().unwrap();
        drop((first, second));
        bury(pool);
    });
}

/// The round that is under way may have looked before, and then must look again.
#[test]
fn one_that_comes_back_during_another_round_is_served() {
    model(|| {
        let pool = pool(1, 1);
        let [(mut first, _), (second, _)] = two_asleep(&pool);
        let theirs = Arc::clone(&pool);
        let other = thread::spawn(move || theirs.dispatch());
        let is_served = poll(&mut first).is_ready();
        other.join().unwrap();
        // The second is never polled, and nothing lapses: the first stands before it.
        assert!(is_served || first.is_settled(), "overlooked");
        drop((first, second));
        bury(pool);
    });
}

#[test]
fn one_that_leaves_while_it_is_served_costs_nobody_its_place() {
    model(|| {
        let pool = pool(1, 1);
        let [(mut first, _), (second, _)] = two_asleep(&pool);
        let (third, _) = asleep(&pool, FLEETING);
        assert!(second.is_settled() && !third.is_settled());
        let theirs = Arc::clone(&pool);
        let other = thread::spawn(move || theirs.dispatch());
        if let Poll::Ready(outcome) = poll(&mut first) {
            drop(granted(outcome));
        }
        drop(first);
        other.join().unwrap();
        assert!(!third.is_settled(), "it comes before the second, which let nothing lapse");
        drop((second, third));
        bury(pool);
    });
}

/// Not a race: what was taken from one for another has not lapsed.
#[test]
fn one_that_was_robbed_has_let_nothing_lapse() {
    model(|| {
        let pool = pool(1, 1);
        let [(mut first, _), (mut second, _)] = two_asleep(&pool);
        drop(granted_at_once(&mut first));
        // It has it again.
        assert!(second.is_settled());
        pool.context().clock.store(2 * LAPSE, Relaxed);
        pool.expire(2 * LAPSE);
        assert_eq!(pool.gauges().waiting, 0, "as no other waits, it is offered once more");
        drop(granted_at_once(&mut second));
        drop((first, second));
        assert_at_rest(&pool);
        bury(pool);
    });
}

/// Not a race: one that has come back is slow, and there.
#[test]
fn one_that_has_come_back_has_a_whole_grace() {
    const GRACE: u64 = 200;
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let terms = Terms { grace: GRACE, ..FLEETING };
        let [(mut first, _), (mut second, _)] = [asleep(&pool, terms), asleep(&pool, terms)];
        drop(slot);
        pool.expire(GRACE * 2);
        let slot = granted_at_once(&mut second);
        assert!(poll(&mut first).is_pending());
        pool.context().clock.store(GRACE * 2, Relaxed);
        drop(slot);
        pool.expire(GRACE * 3 - 1);
        assert!(first.is_settled(), "it lapsed too early");
        pool.expire(GRACE * 3);
        drop(granted_at_once(&mut first));
        drop((first, second));
        assert_at_rest(&pool);
        bury(pool);
    });
}
