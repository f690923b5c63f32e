//! Resize ‖ return, resize ‖ resize, resize ‖ connect.

use super::{bury, claim, model, pool};
use loom::sync::Arc;
use loom::thread;

#[test]
fn a_lower_limit_that_meets_a_return_is_kept() {
    model(|| {
        let pool = pool(2, 1);
        let slot = claim(&pool).unwrap();
        let returner = thread::spawn(move || {
            let (vacant, _value) = slot.vacate();
            vacant.give_back();
        });
        pool.adjust(1);
        returner.join().unwrap();
        // The next to open a connection finds one slot to use, and one retired.
        let one = pool.claim_vacant().expect("one slot is within the limit");
        assert!(pool.claim_vacant().is_none(), "the limit was passed");
        assert_eq!(pool.gauges().retired, 1);
        drop(one);
        bury(pool);
    });
}

#[test]
fn a_limit_raised_while_a_slot_retires_gets_it_back() {
    model(|| {
        let pool = pool(1, 0);
        let slot = pool.claim_vacant().unwrap();
        pool.adjust(1);
        assert!(pool.take_debt());
        let retirer = thread::spawn(move || slot.retire());
        pool.adjust(-1);
        retirer.join().unwrap();
        assert_eq!(pool.gauges().vacant, 1, "the slot was lost to a retirement under way");
        bury(pool);
    });
}

#[test]
fn two_limits_set_at_once_end_as_their_sum() {
    model(|| {
        let pool = pool(2, 0);
        let theirs = Arc::clone(&pool);
        let other = thread::spawn(move || theirs.adjust(1));
        pool.adjust(1);
        other.join().unwrap();
        assert_eq!(pool.gauges().retired, 2);
        pool.adjust(-2);
        assert_eq!(pool.gauges().vacant, 2);
        bury(pool);
    });
}

/// So an owner that looks at the epoch first, and at the debt then, need not look again in the same
/// epoch.
#[test]
fn a_debt_that_was_not_seen_is_followed_by_another_epoch() {
    model(|| {
        let pool = pool(1, 1);
        let slot = claim(&pool).unwrap();
        let theirs = Arc::clone(&pool);
        let limit = thread::spawn(move || theirs.adjust(1));
        let epoch = pool.epoch();
        let is_in_debt = pool.is_in_debt();
        limit.join().unwrap();
        assert!(is_in_debt || pool.epoch() != epoch || !pool.is_in_debt());
        drop(slot);
        pool.adjust(-1);
        bury(pool);
    });
}

#[test]
fn a_vacant_slot_that_slipped_past_a_lowered_limit_is_not_used() {
    model(|| {
        let pool = pool(1, 0);
        let slot = pool.claim_vacant().unwrap();
        let returner = thread::spawn(move || drop(slot));
        pool.adjust(1);
        returner.join().unwrap();
        assert!(pool.claim_vacant().is_none(), "the limit was passed");
        assert_eq!(pool.gauges().retired, 1);
        bury(pool);
    });
}

#[test]
fn a_limit_raised_while_the_pool_closes_leaves_nothing_behind() {
    model(|| {
        let pool = pool(1, 0);
        pool.adjust(1);
        assert_eq!(pool.gauges().retired, 1);
        let theirs = Arc::clone(&pool);
        let limit = thread::spawn(move || theirs.adjust(-1));
        pool.close();
        limit.join().unwrap();
        bury(pool);
    });
}
