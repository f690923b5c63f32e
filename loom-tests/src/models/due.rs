//! When the dispatcher looks for what has lapsed.

use super::{
    FLEETING, LAPSE, NOW, STRICT, asleep, assert_at_rest, bury, claim, granted_at_once, handed,
    model, poll, pool,
};
use crate::raw::waiter::{NEVER, Outcome, Terms};
use loom::thread;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

/// Not a race: what was granted lapses once, and not because something else did before. After a
/// lapse the others come sooner, for a while.
#[test]
fn each_grant_has_its_own_grace() {
    const GRACE: u64 = 200;
    const LAPSE: u64 = NOW + GRACE;
    const HURRIED: u64 = LAPSE + GRACE / 100;
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let terms = Terms { grace: GRACE, ..STRICT };
        let [(mut first, _), (mut second, _), (mut third, _)] =
            [(); 3].map(|()| asleep(&pool, terms));
        drop(slot);
        pool.context().clock.store(LAPSE, Relaxed);
        pool.expire(LAPSE - 1);
        assert!(first.is_settled() && pool.next_deadline() == LAPSE);
        pool.expire(LAPSE);
        assert!(second.is_settled() && !first.is_settled());
        assert_eq!(pool.next_deadline(), HURRIED);
        pool.expire(HURRIED - 1);
        assert!(second.is_settled());
        pool.context().clock.store(HURRIED, Relaxed);
        pool.expire(HURRIED);
        assert!(third.is_settled() && !second.is_settled() && !first.is_settled());
        // In time.
        drop(granted_at_once(&mut third));
        drop(granted_at_once(&mut first));
        drop(granted_at_once(&mut second));
        // And long after.
        let slot = claim(&pool).unwrap();
        let later = HURRIED + 40 * GRACE;
        pool.context().clock.store(later, Relaxed);
        let (fourth, _) = asleep(&pool, terms);
        drop(slot);
        pool.expire(later + GRACE - 1);
        assert!(fourth.is_settled() && pool.next_deadline() == later + GRACE);
        drop((first, second, third, fourth));
        pool.expire(2 * later);
        assert_eq!(pool.next_deadline(), NEVER);
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
        let (mut first, _) = handed(&pool, Terms { deadline: DEADLINE, ..FLEETING });
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
        let (ticket, sleeper) = handed(&pool, Terms { patience: NOW + 1, ..FLEETING });
        assert!(sleeper.was_woken() && !ticket.is_settled() && pool.next_deadline() <= LAPSE);
        pool.expire(NOW);
        assert!(pool.next_deadline() <= LAPSE, "nobody would look");
        drop(ticket);
        assert_at_rest(&pool);
        bury(pool);
    });
}
