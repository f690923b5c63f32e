//! `r2d2_sqlite`'s manager, which was written for r2d2, unchanged; beside diesel's and caliburn's
//! own for SQLite, which here are compiled with the same SQLite.

use caliburn::Pool;
use caliburn::adapters::bridges::R2d2Manager;
use caliburn::adapters::sqlite::SqliteManager;
use caliburn::health::PingOnBorrow;
use caliburn_diesel::{PLENTY, builder, open_account, prepare, sum};
use r2d2_sqlite::SqliteConnectionManager;
use r2d2_sqlite::rusqlite::params;
use std::thread;

fn insert(conn: &r2d2_sqlite::rusqlite::Connection, owner: &str) {
    let sql = "INSERT INTO account (owner, balance) VALUES (?1, ?2)";
    conn.execute(sql, params![owner, 1]).unwrap();
}

#[test]
fn it_serves_threads_and_its_init_runs_on_each_connection() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bank.db");
    prepare(&path);
    let manager = SqliteConnectionManager::file(&path)
        .with_init(|conn| conn.execute_batch("PRAGMA busy_timeout = 20000"));
    let builder = Pool::builder(R2d2Manager::new(manager)).max_size(2);
    let pool = builder.health(PingOnBorrow::always()).build().unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..25).for_each(|_| insert(&pool.get().unwrap(), "Vivian")));
        }
    });
    let mut conn = pool.get().unwrap();
    let transaction = conn.transaction().unwrap();
    let count = "SELECT count(*) FROM account";
    assert_eq!(transaction.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap(), 100);
    drop(transaction);
    drop(conn);
    assert!(pool.close_within(PLENTY).is_complete());
}

#[test]
fn three_managers_share_a_file_in_one_program() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bank.db");
    prepare(&path);
    let diesels = builder(&path).max_size(1).build().unwrap();
    let foreign = R2d2Manager::new(SqliteConnectionManager::file(&path));
    let foreign = Pool::builder(foreign).max_size(1).build().unwrap();
    let own = Pool::builder(SqliteManager::file(&path)).max_size(1).build().unwrap();
    open_account(&mut diesels.get().unwrap(), "Vivian", 1).unwrap();
    insert(&foreign.get().unwrap(), "Merlin");
    insert(&own.get().unwrap(), "Mordred");
    assert_eq!(sum(&mut diesels.get().unwrap()), (3, 3));
}
