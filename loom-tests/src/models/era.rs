//! Switch ‖ connect, invalidate ‖ return, invalidate ‖ grant: what is out of date is not lent, and
//! what bears the new era's number was made with what is new.

use super::{Payload, bury, claim, granted, model, pool, touch, wait};
use crate::raw::era::Stamp;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

#[test]
fn a_connect_that_bears_the_new_number_was_made_with_the_new_manager() {
    model(|| {
        let pool = pool(1, 0);
        let manager = Arc::new(AtomicU64::new(1));
        let (theirs, current) = (Arc::clone(&pool), Arc::clone(&manager));
        let worker = thread::spawn(move || {
            let stamp = Stamp::default();
            stamp.set(theirs.eras().current());
            (stamp, current.load(Ordering::Relaxed))
        });
        manager.store(2, Ordering::Relaxed);
        let era = pool.begin_era();
        let (stamp, made_by) = worker.join().unwrap();
        assert!(made_by == 2 || stamp.is_older_than(era), "the old manager's, and passes for new");
        bury(pool);
    });
}

/// What a borrower does: it looks closely if the epoch has risen since the slot was looked at.
fn may_be_lent(pool: &crate::raw::RawPool<super::Bare>, stamp: &Stamp, looked_at: u64) -> bool {
    pool.epoch() == looked_at || !pool.eras().is_refused(stamp)
}

#[test]
fn what_is_returned_while_it_is_refused_is_not_lent_afterwards() {
    model(|| {
        let pool = pool(1, 1);
        let stamp = Stamp::default();
        stamp.set(pool.eras().current());
        let slot = claim(&pool).unwrap();
        let era = pool.begin_era();
        // It was looked at closely while it was still lent.
        let looked_at = pool.epoch();
        let returner = thread::spawn(move || {
            touch(&slot);
            drop(slot);
        });
        pool.refuse_before(era);
        let next = claim(&pool);
        assert!(!may_be_lent(&pool, &stamp, looked_at), "an old one after the call");
        drop(next);
        returner.join().unwrap();
        bury(pool);
    });
}

/// One that sees the epoch sees what it rose for.
#[test]
fn who_looks_closely_sees_what_is_refused() {
    model(|| {
        let pool = pool(1, 1);
        let (stamp, looked_at) = (Arc::new(Stamp::default()), pool.epoch());
        stamp.set(pool.eras().current());
        let era = pool.begin_era();
        let begun = pool.epoch();
        let (theirs, old) = (Arc::clone(&pool), Arc::clone(&stamp));
        let borrower = thread::spawn(move || {
            if theirs.epoch() > begun {
                assert!(!may_be_lent(&theirs, &old, looked_at), "it was looked at, and not seen");
            }
        });
        pool.refuse_before(era);
        borrower.join().unwrap();
        bury(pool);
    });
}

#[test]
fn what_is_granted_while_it_is_refused_is_found_out_by_who_is_served() {
    model(|| {
        let pool = pool(1, 1);
        let (stamp, looked_at) = (Arc::new(Stamp::default()), pool.epoch());
        stamp.set(pool.eras().current());
        let slot = claim(&pool).unwrap();
        let era = pool.begin_era();
        pool.refuse_before(era);
        let (theirs, old) = (Arc::clone(&pool), Arc::clone(&stamp));
        let waiter = thread::spawn(move || {
            let slot = granted(wait(&theirs));
            assert!(!may_be_lent(&theirs, &old, looked_at), "an old one after the call");
            let (vacant, _old) = slot.vacate();
            drop(vacant.fill(Payload::new()));
        });
        touch(&slot);
        drop(slot);
        waiter.join().unwrap();
        bury(pool);
    });
}
