//! Classes of waiters: grant ‖ grant, grant ‖ arrival, grant ‖ leaving, arrival ‖ arrival,
//! take-back ‖ arrival.

use super::{
    Asleep, Bare, FLEETING, LAPSE, STRICT, Sleeper, asleep, bury, claim, granted_at_once, model,
    poll, pool_of, touch,
};
use crate::raw::RawPool;
use crate::raw::waiter::Terms;
use loom::sync::Arc;
use loom::thread;
use std::task::Waker;

/// The second class, beside that of `STRICT`.
const OTHER: Terms = Terms { class: 1, ..STRICT };

/// It was handed a slot, and gives it back.
fn use_up((mut ticket, _): Asleep<'_>) {
    touch(&granted_at_once(&mut ticket));
}

fn assert_waits(asleep: &mut Asleep<'_>) {
    assert!(poll(&mut asleep.0).is_pending(), "served before its turn");
}

fn assert_none_is_counted(pool: &RawPool<Bare>) {
    assert_eq!((pool.share(0).0, pool.share(1).0), (0, 0), "one that has left is counted");
}

#[test]
fn two_slots_that_come_back_at_once_go_to_both_classes() {
    model(|| {
        let pool = pool_of(2, 2, &[1, 1]);
        let (one, two) = (claim(&pool).unwrap(), claim(&pool).unwrap());
        let first = asleep(&pool, STRICT);
        let mut second = asleep(&pool, STRICT);
        let other = asleep(&pool, OTHER);
        let returner = thread::spawn(move || drop(one));
        drop(two);
        returner.join().unwrap();
        assert_waits(&mut second);
        use_up(other);
        use_up(second);
        use_up(first);
        assert_none_is_counted(&pool);
        assert_eq!((pool.share(0).1, pool.share(1).1), (2, 1));
        bury(pool);
    });
}

/// Whichever round sees it first: what it has not asked for is nobody's due.
#[test]
fn a_class_that_comes_late_has_no_claim_to_what_it_did_not_ask_for() {
    model(|| {
        let pool = pool_of(1, 1, &[1, 1]);
        let slot = claim(&pool).unwrap();
        // The first class is served three times, and the second never asks.
        let (first, second) = (asleep(&pool, STRICT), asleep(&pool, STRICT));
        let (mut third, _sleeper) = asleep(&pool, STRICT);
        drop(slot);
        use_up(first);
        use_up(second);
        let slot = granted_at_once(&mut third);
        let mine = asleep(&pool, STRICT);
        let returner = thread::spawn(move || drop(slot));
        let (other, mut another) = (asleep(&pool, OTHER), asleep(&pool, OTHER));
        returner.join().unwrap();
        // One of the second class may come before, or be too late for it; not two.
        assert_waits(&mut another);
        if other.0.is_settled() {
            use_up(other);
            use_up(mine);
        } else {
            use_up(mine);
            use_up(other);
        }
        use_up(another);
        drop(third);
        bury(pool);
    });
}

#[test]
fn who_leaves_is_counted_off_its_class_also_if_it_is_handed_a_slot() {
    model(|| {
        let pool = pool_of(1, 1, &[1, 1]);
        let slot = claim(&pool).unwrap();
        let (mine, other) = (asleep(&pool, STRICT), asleep(&pool, OTHER));
        let returner = thread::spawn(move || drop(slot));
        drop(mine);
        returner.join().unwrap();
        use_up(other);
        assert_none_is_counted(&pool);
        bury(pool);
    });
}

#[test]
fn a_class_whose_queue_is_full_keeps_none_of_another_out() {
    model(|| {
        let pool = pool_of(1, 0, &[1, 1]);
        let (_first, theirs) = (asleep(&pool, STRICT), Arc::clone(&pool));
        let late = thread::spawn(move || {
            let waker = Waker::from(Sleeper::new());
            theirs.enroll(&waker, STRICT, 1).is_err()
        });
        let waker = Waker::from(Sleeper::new());
        let other = pool.enroll(&waker, OTHER, 1);
        assert!(late.join().unwrap(), "one waits already");
        assert!(other.is_ok(), "none of its class waits");
        drop((_first, other));
        assert_none_is_counted(&pool);
        bury(pool);
    });
}

/// A slot that lapses is passed on within the class whose turn it was.
#[test]
fn what_one_lets_lapse_goes_to_the_next_of_its_class() {
    model(|| {
        let pool = pool_of(1, 1, &[1, 1]);
        let slot = claim(&pool).unwrap();
        let (mut never_polled, _sleeper) = asleep(&pool, Terms { class: 1, ..FLEETING });
        drop(slot);
        let (mut mine, other) = (asleep(&pool, STRICT), asleep(&pool, OTHER));
        let theirs = Arc::clone(&pool);
        let keeper = thread::spawn(move || theirs.expire(LAPSE));
        let last = asleep(&pool, STRICT);
        keeper.join().unwrap();
        assert_waits(&mut mine);
        use_up(other);
        use_up(mine);
        // Late, and in line again.
        touch(&granted_at_once(&mut never_polled));
        use_up(last);
        drop(never_polled);
        assert_none_is_counted(&pool);
        bury(pool);
    });
}
