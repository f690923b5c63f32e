//! Claim ‖ claim, claim ‖ release, sweep ‖ claim.

use super::{bury, claim, model, pool, touch};
use loom::sync::Arc;
use loom::thread;

#[test]
fn two_claims_never_get_the_same_slot() {
    model(|| {
        let pool = pool(3, 3);
        let theirs = Arc::clone(&pool);
        let other = thread::spawn(move || {
            let a = claim(&theirs).expect("three slots, three claims");
            touch(&a);
        });
        let a = claim(&pool).expect("three slots, three claims");
        let b = claim(&pool).expect("three slots, three claims");
        assert_ne!(a.index(), b.index());
        touch(&a);
        touch(&b);
        other.join().unwrap();
        drop((a, b));
        bury(pool);
    });
}

#[test]
fn a_claim_sees_what_the_last_holder_wrote() {
    model(|| {
        let pool = pool(1, 1);
        let theirs = Arc::clone(&pool);
        let other = thread::spawn(move || {
            for _ in 0..2 {
                if let Some(slot) = claim(&theirs) {
                    touch(&slot);
                }
            }
        });
        for _ in 0..2 {
            if let Some(slot) = claim(&pool) {
                touch(&slot);
            }
        }
        other.join().unwrap();
        bury(pool);
    });
}

#[test]
fn a_sweep_and_a_claim_never_hold_one_slot_together() {
    model(|| {
        let pool = pool(2, 2);
        let theirs = Arc::clone(&pool);
        let sweep = thread::spawn(move || {
            for index in 0..2 {
                if let Some(slot) = theirs.claim_idle_at(index) {
                    touch(&slot);
                    if index == 1 {
                        drop(slot.vacate());
                    }
                }
            }
        });
        if let Some(slot) = claim(&pool) {
            touch(&slot);
        }
        sweep.join().unwrap();
        bury(pool);
    });
}

/// Not a race: in which slots connections come to lie.
#[test]
fn few_connections_of_many_slots_lie_in_different_stripes() {
    model(|| {
        // Of two bits each.
        let pool = pool(8, 4);
        let held: Vec<_> = (0..4).map(|_| pool.claim().unwrap()).collect();
        let stripes: std::collections::BTreeSet<u32> =
            held.iter().map(|slot| slot.index() % 4).collect();
        assert_eq!(stripes.len(), 4);
        drop(held);
        bury(pool);
    });
}
