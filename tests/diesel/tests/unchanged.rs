//! diesel's `ConnectionManager` was written for r2d2; here it serves caliburn as it is.

use caliburn::health::{PingAfterFailure, PingOnBorrow};
use caliburn::{ErrorClass, EvictionCause, GetError, Pool, PooledConnection};
use caliburn_diesel::{
    Bridge, Guard, PLENTY, account, bridge, builder, open_account, prepare, sum,
};
use diesel::connection::SimpleConnection;
use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;
use diesel::r2d2::TestCustomizer;
use diesel::result::Error;
use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

fn database() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bank.db");
    prepare(&path);
    (directory, path)
}

/// Closed within the test, so that the directory can go.
#[track_caller]
fn close(pool: Pool<Bridge>) {
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete(), "{report}");
}

fn evicted(pool: &Pool<Bridge>, cause: EvictionCause) -> u64 {
    pool.stats().evictions.by(cause)
}

#[test]
fn what_one_connection_inserts_another_loads() {
    let (_directory, path) = database();
    let pool = builder(&path).max_size(2).build().unwrap();
    let (mut one, mut other) = (pool.get().unwrap(), pool.get().unwrap());
    // A guard stands for its connection where the type is known; where it is not, `&mut *` says so.
    assert_eq!(open_account(&mut one, "Vivian", 40), Ok(1));
    let owner = account::table.select(account::owner).first::<String>(&mut *other);
    assert_eq!(owner.as_deref(), Ok("Vivian"));
    assert_eq!(sum(&mut other), (1, 40));
    drop((one, other));
    close(pool);
}

#[test]
fn a_guard_may_be_borrowed_as_a_connection_for_the_rest_of_a_block() {
    let (_directory, path) = database();
    let pool = builder(&path).max_size(1).build().unwrap();
    let conn = &mut *pool.get().unwrap();
    open_account(conn, "Vivian", 1).unwrap();
    diesel::update(account::table).set(account::balance.eq(2)).execute(conn).unwrap();
    assert_eq!(sum(conn), (1, 2));
    assert_eq!(pool.stats().lent, 1);
}

#[test]
fn transactions_commit_and_roll_back_and_the_connection_is_kept() {
    let (_directory, path) = database();
    let pool = builder(&path).max_size(1).build().unwrap();
    let mut conn = pool.get().unwrap();
    conn.transaction(|conn| open_account(conn, "Vivian", 40)).unwrap();
    let refused = conn.transaction(|conn| {
        open_account(conn, "Mordred", 1_000)?;
        conn.transaction(|conn| open_account(conn, "Morgan", 1_000))?;
        Err::<(), _>(Error::RollbackTransaction)
    });
    assert_eq!(refused, Err(Error::RollbackTransaction));
    drop(conn);
    assert_eq!(sum(&mut pool.get().unwrap()), (1, 40));
    let stats = pool.stats();
    assert!(stats.connects == 1 && stats.evictions.total() == 0, "{stats}");
    close(pool);
}

#[test]
fn a_connection_returned_with_an_open_transaction_is_replaced_and_nothing_of_it_stays() {
    let (_directory, path) = database();
    let pool = builder(&path).max_size(1).build().unwrap();
    let mut conn = pool.get().unwrap();
    AnsiTransactionManager::begin_transaction(&mut *conn).unwrap();
    open_account(&mut conn, "Mordred", 1_000).unwrap();
    drop(conn);
    assert_eq!(sum(&mut pool.get().unwrap()), (0, 0));
    assert_eq!(evicted(&pool, EvictionCause::Broken), 1);
    close(pool);
}

/// Panics between two statements of a transaction.
fn panic_midway(mut conn: Guard) {
    let outcome = catch_unwind(AssertUnwindSafe(move || {
        conn.transaction(|conn| -> QueryResult<()> {
            open_account(conn, "Mordred", 1_000)?;
            panic!("in the middle of a transaction");
        })
    }));
    assert!(outcome.is_err());
}

#[test]
fn a_panic_in_the_middle_of_a_transaction_leaves_no_trace_of_it() {
    for keeps in [false, true] {
        let (_directory, path) = database();
        let builder = builder(&path).max_size(1).health(PingAfterFailure);
        let builder = if keeps { builder.keep_on_unwind() } else { builder };
        let pool = builder.build().unwrap();
        panic_midway(pool.get().unwrap());
        let mut conn = pool.get().unwrap();
        assert_eq!(sum(&mut conn), (0, 0));
        // Its lock has gone with it: others can write.
        open_account(&mut conn, "Vivian", 40).unwrap();
        drop(conn);
        let cause = if keeps { EvictionCause::Broken } else { EvictionCause::Panicked };
        assert_eq!(evicted(&pool, cause), 1);
        close(pool);
    }
}

#[test]
fn a_transaction_that_diesel_does_not_know_of_is_rolled_back_if_told_how() {
    let (_directory, path) = database();
    let plain = builder(&path).max_size(1).build().unwrap();
    plain.get().unwrap().batch_execute("BEGIN").unwrap();
    assert!(plain.get().unwrap().batch_execute("BEGIN").is_err(), "it was still open");
    close(plain);

    let manager = bridge(&path).reset_with(
        |_| true,
        |conn, _| {
            // Nothing to roll back is no mistake.
            let _ = conn.batch_execute("ROLLBACK");
            Ok(())
        },
    );
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let mut conn = pool.get().unwrap();
    conn.batch_execute("BEGIN").unwrap();
    open_account(&mut conn, "Mordred", 1_000).unwrap();
    drop(conn);
    let mut conn = pool.get().unwrap();
    conn.batch_execute("BEGIN; ROLLBACK").unwrap();
    assert_eq!(sum(&mut conn), (0, 0));
    drop(conn);
    let stats = pool.stats();
    assert!(stats.connects == 1 && stats.resets >= 1, "{stats}");
    close(pool);
}

#[test]
fn eight_threads_move_money_about_and_none_is_lost() {
    let (_directory, path) = database();
    let pool = builder(&path).max_size(4).health(PingOnBorrow::always()).build().unwrap();
    for owner in 0..8 {
        open_account(&mut pool.get().unwrap(), &format!("{owner}"), 100).unwrap();
    }
    thread::scope(|scope| {
        for owner in 0..8 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..25 {
                    let mut conn = pool.get().unwrap();
                    let heir = (owner + 1 + round % 7) % 8;
                    let moved = conn.immediate_transaction(|conn| {
                        transfer(conn, owner, -7)?;
                        transfer(conn, heir, 7)?;
                        if round % 5 == 0 { Err(Error::RollbackTransaction) } else { Ok(()) }
                    });
                    assert_eq!(moved.is_err(), round % 5 == 0, "{moved:?}");
                }
            });
        }
    });
    assert_eq!(sum(&mut pool.get().unwrap()), (8, 800));
    let stats = pool.stats();
    assert_eq!((stats.lent, stats.evictions.total()), (0, 0), "{stats}");
    close(pool);
}

fn transfer(conn: &mut SqliteConnection, owner: i32, amount: i64) -> QueryResult<usize> {
    use diesel::dsl::update;
    let mine = account::table.filter(account::owner.eq(owner.to_string()));
    update(mine).set(account::balance.eq(account::balance + amount)).execute(conn)
}

#[test]
fn the_customizer_for_tests_never_commits() {
    let (_directory, path) = database();
    let manager = bridge(&path).customize(Box::new(TestCustomizer));
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    for accounts in 1..=3 {
        let mut conn = pool.get().unwrap();
        conn.transaction(|conn| open_account(conn, "Vivian", 1)).unwrap();
        assert_eq!(sum(&mut conn).0, accounts);
    }
    assert_eq!(pool.stats().connects, 1, "an open test transaction is not broken");
    close(pool);
    assert_eq!(sum(&mut builder(&path).build().unwrap().get().unwrap()), (0, 0));
}

#[test]
fn a_database_that_cannot_be_opened_is_told_at_once_and_with_its_cause() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("no such directory").join("bank.db");
    let manager = bridge(&path).classify_with(|error| match error {
        diesel::r2d2::Error::ConnectionError(_) => ErrorClass::Permanent,
        diesel::r2d2::Error::QueryError(_) => ErrorClass::Transient,
    });
    let pool = Pool::builder(manager).build().unwrap();
    let error = pool.get_timeout(PLENTY).err().unwrap();
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
    let cause = error.source().unwrap();
    assert!(cause.is::<diesel::r2d2::Error>(), "{cause:?}");
}

#[test]
fn a_discarded_connection_is_replaced_and_a_detached_one_still_works() {
    let (_directory, path) = database();
    let pool = builder(&path).max_size(1).build().unwrap();
    PooledConnection::discard(pool.get().unwrap());
    let mut conn: SqliteConnection = PooledConnection::detach(pool.get().unwrap());
    open_account(&mut conn, "Vivian", 40).unwrap();
    let mut other = pool.get_timeout(PLENTY).unwrap();
    assert_eq!(sum(&mut other), (1, 40));
    assert_eq!(pool.stats().connects, 3);
    drop(other);
    close(pool);
}

#[test]
fn a_pool_over_diesel_can_be_exhausted_and_says_so() {
    let (_directory, path) = database();
    let pool = builder(&path).max_size(1).build().unwrap();
    let _held = pool.get().unwrap();
    let error = pool.get_timeout(Duration::from_millis(20)).err().unwrap();
    assert!(error.to_string().contains("all are lent"), "{error}");
}
