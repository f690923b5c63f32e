//! A pool, and a connection on loan, may be taken along where a panic is caught: the code is safe
//! in the face of panics, and the types say so.

use crate::common::*;
use caliburn::{Manager, Pool, PooledConnection};
use std::panic::{RefUnwindSafe, UnwindSafe, catch_unwind};

fn is_safe<T: UnwindSafe + RefUnwindSafe>() {}

/// Whatever the manager and its connections are.
fn whatever_is_pooled<M: Manager>() {
    is_safe::<Pool<M>>();
    is_safe::<&Pool<M>>();
    is_safe::<PooledConnection<M>>();
    is_safe::<&PooledConnection<M>>();
}

#[test]
fn pools_and_guards_may_be_taken_along_where_a_panic_is_caught() {
    whatever_is_pooled::<Fake>();
    whatever_is_pooled::<AsyncFake>();
}

/// A borrower's panic is caught without any assertion of the borrower's, and costs its connection
/// alone.
#[test]
fn a_panic_caught_around_a_loan_leaves_the_pool_as_good_as_before() {
    let fake = Fake::new();
    let (pool, _hand) = full_manual(&fake, 2, |b| b);
    let panic = catch_unwind(|| {
        let _conn = pool.get().unwrap();
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"on purpose"));
    let lent = pool.get().unwrap();
    let panic = catch_unwind(move || {
        let _conn = lent;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(panic.is_err());
    pool.maintain();
    assert_settled(&pool, fake.books());
    let lent = catch_unwind(|| pool.get_timeout(PLENTY).map(|conn| conn.id));
    assert!(lent.unwrap().is_ok());
}
