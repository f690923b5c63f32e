//! The SQLite adapter, against SQLite itself.
#![cfg(feature = "rusqlite")]

use crate::common::{PLENTY, eventually};
use caliburn::adapters::sqlite::SqliteManager;
use caliburn::health::PingOnBorrow;
use caliburn::{
    BlockingManager, BuildError, Builder, Clock, Deadline, ErrorClass, GetError, Manager,
    ManagerError, Pool, PooledConnection,
};
use rusqlite::{Connection, Error, ErrorCode, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SCHEMA: &str = "CREATE TABLE entry (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL)";

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    (directory, path)
}

/// A file database with a table, in WAL mode.
fn prepared() -> (TempDir, PathBuf) {
    let (directory, path) = directory();
    let conn = Connection::open(&path).unwrap();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    conn.execute_batch(SCHEMA).unwrap();
    (directory, path)
}

/// Closed within the test, so that the directory can go.
fn close(pool: Pool<SqliteManager>) {
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete(), "{report}");
}

fn insert(conn: &Connection, amount: i64) {
    conn.execute("INSERT INTO entry (amount) VALUES (?1)", [amount]).unwrap();
}

/// How many entries there are, and what they come to.
fn sum(conn: &Connection) -> (i64, i64) {
    let sql = "SELECT COUNT(*), COALESCE(SUM(amount), 0) FROM entry";
    conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

fn deadline() -> Deadline {
    Deadline::after(PLENTY)
}

/// The SQLite error at the end of a chain of sources.
fn root<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a Error {
    let mut error = error;
    loop {
        if let Some(error) = error.downcast_ref::<Error>() {
            return error;
        }
        error = error.source().expect("an error of SQLite's at the root");
    }
}

/// Building with `wait_ready` fails at once with `code`, and so does the first `get` without it.
#[track_caller]
fn assert_permanent(builder: impl Fn() -> Builder<SqliteManager>, code: ErrorCode) {
    let begun = Instant::now();
    let error = builder().min_size(1).wait_ready(PLENTY * 10).build().unwrap_err();
    let BuildError::NotReady(not_ready) = &error else { panic!("{error}") };
    assert!(
        matches!(not_ready.cause.as_deref(), Some(ManagerError::Failed(_))),
        "no cause: {error}"
    );
    assert_eq!(root(&error).sqlite_error_code(), Some(code), "{error}");

    let pool = builder().build().unwrap();
    let error = pool.get_timeout(PLENTY * 10).unwrap_err();
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
    assert_eq!(root(&error).sqlite_error_code(), Some(code), "{error}");
    assert_eq!(pool.manager().classify(root(&error)), ErrorClass::Permanent);
    assert!(begun.elapsed() < PLENTY, "waited for what will not pass");
}

#[test]
fn what_one_connection_writes_to_a_file_another_reads() {
    let (_directory, path) = directory();
    let pool = Pool::builder(SqliteManager::file(&path)).max_size(2).build().unwrap();
    let (one, other) = (pool.get().unwrap(), pool.get().unwrap());
    one.execute_batch(SCHEMA).unwrap();
    insert(&one, 7);
    assert_eq!(sum(&other), (1, 7));
    drop((one, other));
    close(pool);
    assert_eq!(sum(&Connection::open(&path).unwrap()), (1, 7));
}

#[test]
fn databases_in_memory_are_shared_by_name_and_by_nothing_else() {
    let names =
        ["shared", "shared?mode=ro", "shared#", "shared%20", "//shared", "geteilt für alle"];
    let pools: Vec<_> = names
        .map(|name| Pool::builder(SqliteManager::shared_memory(name)).max_size(2).build().unwrap())
        .into();
    for (n, pool) in pools.iter().enumerate() {
        let (one, other) = (pool.get().unwrap(), pool.get().unwrap());
        one.execute_batch(SCHEMA).unwrap();
        insert(&one, n as i64);
        assert_eq!(sum(&other), (1, n as i64));
    }
    let namesake = Pool::builder(SqliteManager::shared_memory("shared#")).build().unwrap();
    assert_eq!(sum(&namesake.get().unwrap()), (1, 2));
}

#[test]
fn a_database_in_memory_without_a_name_is_refused_for_good() {
    for name in ["", "cut\0short"] {
        let pool = Pool::builder(SqliteManager::shared_memory(name)).build().unwrap();
        let error = pool.get_timeout(PLENTY).unwrap_err();
        assert!(matches!(error, GetError::Connect { .. }), "{error}");
        assert!(matches!(root(&error), Error::InvalidPath(_)), "{error}");
    }
}

#[test]
fn data_in_memory_survives_the_eviction_of_all_connections() {
    let (clock, hand) = Clock::mock();
    let pool = Pool::builder(SqliteManager::shared_memory("survivor"))
        .clock(clock)
        .manual_maintenance()
        .initial_size(3)
        .idle_timeout(Some(Duration::from_secs(60)))
        .build()
        .unwrap();
    pool.ready(PLENTY).unwrap();
    let conn = pool.try_get().unwrap();
    conn.execute_batch(SCHEMA).unwrap();
    insert(&conn, 42);
    drop(conn);
    assert_eq!(pool.stats().size, 3);
    hand.advance(Duration::from_secs(61));
    pool.sweep();
    assert_eq!(pool.stats().size, 0, "{}", pool.stats());
    pool.change(|settings| settings.min_size = 1).unwrap();
    pool.maintain();
    assert_eq!(sum(&pool.try_get().unwrap()), (1, 42));
}

#[test]
fn data_in_memory_is_gone_with_the_pool() {
    let manager = || SqliteManager::shared_memory("mortal");
    let pool = Pool::builder(manager()).build().unwrap();
    pool.get().unwrap().execute_batch(SCHEMA).unwrap();
    drop(pool);
    // The manager, which keeps it alive between loans, goes with the pool, though in the
    // background.
    eventually("a database of that name is empty", || {
        let probe = manager().connect(&deadline()).unwrap();
        let is_empty = probe.execute_batch(SCHEMA).is_ok();
        drop(probe);
        std::thread::park_timeout(Duration::from_millis(20));
        is_empty
    });
}

#[test]
fn a_living_connection_answers_pings() {
    let manager = SqliteManager::shared_memory("ping");
    let mut conn = manager.connect(&deadline()).unwrap();
    assert!(!manager.has_broken(&mut conn));
    manager.ping(&mut conn, &deadline()).unwrap();
    // Nor does it matter what its borrower was about.
    conn.execute_batch("BEGIN EXCLUSIVE").unwrap();
    manager.ping(&mut conn, &deadline()).unwrap();
    drop(conn);

    let pool = Pool::builder(manager).health(PingOnBorrow::always()).build().unwrap();
    for _ in 0..3 {
        drop(pool.get().unwrap());
    }
    let stats = pool.stats();
    assert!(stats.pings >= 2, "{stats}");
    assert_eq!(stats.ping_failures, 0, "{stats}");
}

#[test]
fn the_first_ping_of_a_connection_waits_for_no_lock() {
    let (_directory, path) = directory();
    // Without a write-ahead log a writer may lock readers out.
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch(SCHEMA).unwrap();
    let manager = SqliteManager::file(&path).busy_timeout(PLENTY);
    let mut conn = manager.connect(&deadline()).unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let begun = Instant::now();
    manager.ping(&mut conn, &deadline()).unwrap();
    assert!(begun.elapsed() < PLENTY / 2, "{:?}", begun.elapsed());
}

#[test]
fn a_transaction_left_open_is_rolled_back_on_return() {
    let (_directory, path) = prepared();
    let pool = Pool::builder(SqliteManager::file(&path)).max_size(1).build().unwrap();
    let conn = pool.get().unwrap();
    insert(&conn, 1);
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    insert(&conn, 10);
    assert_eq!(sum(&conn), (2, 11));
    drop(conn);
    let conn = pool.get().unwrap();
    assert!(conn.is_autocommit(), "lent in the middle of a transaction");
    assert_eq!(sum(&conn), (1, 1));
    drop(conn);
    let stats = pool.stats();
    assert_eq!((stats.resets, stats.connects), (1, 1), "the same connection, reset: {stats}");
    close(pool);
}

#[test]
fn a_file_that_is_no_database_fails_for_good_at_build_and_at_the_first_get() {
    let (_directory, path) = directory();
    for content in ["no", &"This is a letter to my aunt.\n".repeat(1000)] {
        std::fs::write(&path, content).unwrap();
        assert_permanent(|| Pool::builder(SqliteManager::file(&path)), ErrorCode::NotADatabase);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content, "it was written to");
    }
}

#[test]
fn a_missing_directory_fails_for_good_at_build_and_at_the_first_get() {
    let (directory, _) = directory();
    let path = directory.path().join("missing").join("test.db");
    assert_permanent(|| Pool::builder(SqliteManager::file(&path)), ErrorCode::CannotOpen);
}

#[test]
fn a_directory_in_place_of_a_file_fails_for_good() {
    let (directory, _) = directory();
    assert_permanent(
        || Pool::builder(SqliteManager::file(directory.path())),
        ErrorCode::CannotOpen,
    );
}

#[test]
fn a_missing_file_fails_for_good_if_it_may_not_be_created() {
    let (_directory, path) = directory();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    assert_permanent(
        || Pool::builder(SqliteManager::file(&path).flags(flags)),
        ErrorCode::CannotOpen,
    );
    assert!(!path.exists());
}

/// Takes a file's write permission away, and gives it back at the end.
struct WriteProtected<'a>(&'a Path);

impl<'a> WriteProtected<'a> {
    fn new(path: &'a Path) -> Self {
        let this = Self(path);
        this.set(true);
        this
    }

    fn set(&self, readonly: bool) {
        let mut permissions = std::fs::metadata(self.0).unwrap().permissions();
        permissions.set_readonly(readonly);
        std::fs::set_permissions(self.0, permissions).unwrap();
    }
}

impl Drop for WriteProtected<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

#[test]
fn a_read_only_file_can_be_read_and_not_written() {
    let (_directory, path) = directory();
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(SCHEMA).unwrap();
    insert(&conn, 5);
    drop(conn);
    let _protected = WriteProtected::new(&path);
    let manager = || SqliteManager::file(&path).flags(OpenFlags::SQLITE_OPEN_READ_ONLY);
    let pool = Pool::builder(manager()).max_size(2).build().unwrap();
    let conn = pool.get().unwrap();
    assert_eq!(sum(&conn), (1, 5));
    let error = conn.execute("INSERT INTO entry (amount) VALUES (1)", []).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::ReadOnly));
    drop(conn);
    assert_eq!(sum(&pool.get().unwrap()), (1, 5));
    close(pool);
    // A hook that must write cannot do so here, now or later.
    assert_permanent(
        || {
            let builder = Pool::builder(manager());
            builder.after_connect(|conn, _| Ok(conn.pragma_update(None, "user_version", 2)?))
        },
        ErrorCode::ReadOnly,
    );
}

#[test]
fn threads_and_tasks_insert_together_and_nothing_is_lost() {
    const WORKERS: i64 = 4;
    const INSERTS: i64 = 25;
    let (_directory, path) = prepared();
    let pool = Pool::builder(SqliteManager::file(&path).busy_timeout(PLENTY))
        .after_connect(|conn, _| Ok(conn.pragma_update(None, "synchronous", "OFF")?))
        .max_size(3)
        .checkout_timeout(PLENTY)
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..INSERTS {
                    insert(&pool.get().unwrap(), worker * INSERTS + n);
                }
            });
        }
        let tasks: Vec<_> = (WORKERS..2 * WORKERS)
            .map(|worker| {
                let pool = pool.clone();
                runtime.spawn(async move {
                    for n in 0..INSERTS {
                        insert(&pool.get_async().await.unwrap(), worker * INSERTS + n);
                    }
                })
            })
            .collect();
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
    });
    let all = 2 * WORKERS * INSERTS;
    assert_eq!(sum(&pool.get().unwrap()), (all, all * (all - 1) / 2));
    close(pool);
}

#[test]
fn a_detached_connection_goes_on_working_without_its_pool() {
    let pool = Pool::builder(SqliteManager::shared_memory("detached")).build().unwrap();
    let conn = PooledConnection::detach(pool.get().unwrap());
    conn.execute_batch(SCHEMA).unwrap();
    insert(&pool.get().unwrap(), 3);
    close(pool);
    insert(&conn, 4);
    assert_eq!(sum(&conn), (2, 7));
}

#[test]
fn each_connection_passes_through_the_hook_once() {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let pool = Pool::builder(SqliteManager::shared_memory("hook"))
        .after_connect(move |conn, _| {
            seen.fetch_add(1, SeqCst);
            Ok(conn.pragma_update(None, "foreign_keys", true)?)
        })
        .max_size(2)
        .build()
        .unwrap();
    for _ in 0..3 {
        for conn in [pool.get().unwrap(), pool.get().unwrap()] {
            let keys: bool = conn.query_row("PRAGMA foreign_keys", [], |row| row.get(0)).unwrap();
            assert!(keys);
        }
    }
    assert_eq!(calls.load(SeqCst) as u64, pool.stats().connects);
}

#[test]
fn a_statement_waits_for_a_lock_no_longer_than_the_busy_timeout() {
    let (_directory, path) = prepared();
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    for timeout in [Duration::ZERO, Duration::from_millis(30)] {
        let pool = Pool::builder(SqliteManager::file(&path).busy_timeout(timeout)).build().unwrap();
        let conn = pool.get().unwrap();
        let begun = Instant::now();
        let error = conn.execute_batch("BEGIN IMMEDIATE").unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
        assert!(begun.elapsed() >= timeout && begun.elapsed() < PLENTY);
        drop(conn);
        close(pool);
    }
    // More than SQLite can count to is as long as it can count.
    let manager = SqliteManager::file(&path).busy_timeout(Duration::MAX);
    let conn = manager.connect(&Deadline::after(Duration::MAX)).unwrap();
    let timeout: i32 = conn.query_row("PRAGMA busy_timeout", [], |row| row.get(0)).unwrap();
    assert_eq!(timeout, i32::MAX);
}

#[test]
fn connecting_to_a_locked_database_ends_by_its_deadline_and_may_be_tried_again() {
    let (_directory, path) = directory();
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch(SCHEMA).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let manager = SqliteManager::file(&path).busy_timeout(PLENTY * 10);
    let error = manager.connect(&Deadline::after(Duration::from_millis(50))).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
    assert_eq!(manager.classify(&error), ErrorClass::Transient);

    let pool = Pool::builder(manager).connect_timeout(Duration::from_millis(20)).build().unwrap();
    std::thread::scope(|scope| {
        let borrower = scope.spawn(|| pool.get_timeout(PLENTY).map(|conn| sum(&conn)));
        eventually("a connect fails", || pool.stats().connect_failures > 0);
        holder.execute_batch("COMMIT").unwrap();
        assert_eq!(borrower.join().unwrap().unwrap(), (0, 0));
    });
    close(pool);
}

#[test]
fn the_manager_shows_neither_path_nor_name() {
    let path = SqliteManager::file("secret/customer.db?key=hush");
    let name = SqliteManager::shared_memory("secret");
    for manager in [path, name] {
        let shown = format!("{manager:?}");
        assert!(!shown.contains("secret") && !shown.contains("hush"), "{shown}");
        assert!(shown.starts_with("SqliteManager"), "{shown}");
    }
}
