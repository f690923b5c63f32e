//! What a borrower may leave on a connection to SQLite, and a file that is replaced under the pool.
#![cfg(feature = "rusqlite")]

use crate::common::{PLENTY, eventually};
use caliburn::adapters::sqlite::{Connection, Pool, SqliteConnection, SqliteManager};
use caliburn::{ConnectionInfo, EvictionCause, HealthStrategy, Verdict};
use rusqlite::hooks::Authorization;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

fn memory(name: &str) -> Pool {
    Pool::builder(SqliteManager::shared_memory(name)).max_size(1).build().unwrap()
}

/// Lends the one connection twice: what the first borrower does is done to it.
fn after_a_loan(pool: &Pool, first: impl FnOnce(&mut Connection)) -> Connection {
    let mut conn = pool.get_timeout(PLENTY).unwrap();
    conn.execute_batch("CREATE TABLE IF NOT EXISTS song (title TEXT)").unwrap();
    first(&mut conn);
    drop(conn);
    pool.get_timeout(PLENTY).unwrap()
}

type Leave = fn(&mut Connection, Arc<AtomicUsize>);

/// Each hook that a borrower may set, set to fail or to count.
const HOOKS: [(&str, Leave); 5] = [
    ("commit hook", |conn, calls| {
        let refuse = move || {
            calls.fetch_add(1, SeqCst);
            true
        };
        conn.commit_hook(Some(refuse)).unwrap();
    }),
    ("rollback hook", |conn, calls| {
        let count = move || {
            calls.fetch_add(1, SeqCst);
        };
        conn.rollback_hook(Some(count)).unwrap();
    }),
    ("update hook", |conn, calls| {
        let count = move |_, _: &str, _: &str, _| {
            calls.fetch_add(1, SeqCst);
        };
        conn.update_hook(Some(count)).unwrap();
    }),
    ("progress handler", |conn, calls| {
        let interrupt = move || {
            calls.fetch_add(1, SeqCst);
            true
        };
        conn.progress_handler(1, Some(interrupt)).unwrap();
    }),
    ("authorizer", |conn, calls| {
        let deny = move |_: rusqlite::hooks::AuthContext<'_>| {
            calls.fetch_add(1, SeqCst);
            Authorization::Deny
        };
        conn.authorizer(Some(deny)).unwrap();
    }),
];

#[test]
fn no_hook_of_a_borrower_meets_the_next() {
    for (name, leave) in HOOKS {
        for is_in_transaction in [false, true] {
            let pool = memory(&format!("{name}, {is_in_transaction}"));
            let calls = Arc::new(AtomicUsize::new(0));
            let conn = after_a_loan(&pool, |conn| {
                if is_in_transaction {
                    conn.execute_batch("BEGIN; INSERT INTO song VALUES ('left open')").unwrap();
                }
                leave(conn, Arc::clone(&calls));
            });
            calls.store(0, SeqCst);
            conn.execute_batch("INSERT INTO song VALUES ('Nimue'); BEGIN; ROLLBACK").unwrap();
            let count: i64 =
                conn.query_row("SELECT count(*) FROM song", [], |row| row.get(0)).unwrap();
            assert_eq!((count, calls.load(SeqCst)), (1, 0), "{name}, {is_in_transaction}");
            assert_eq!(pool.stats().connects, 1, "{name}: it is the same connection");
        }
    }
}

#[test]
fn hooks_of_a_new_connection_stay_if_they_are_to_be_kept() {
    for keeps in [true, false] {
        let commits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&commits);
        let manager = SqliteManager::shared_memory(format!("kept {keeps}"));
        let manager = if keeps { manager.keep_hooks() } else { manager };
        let pool = caliburn::Pool::builder(manager)
            .max_size(1)
            .after_connect(move |conn, _| {
                let counted = Arc::clone(&counted);
                let count = move || {
                    counted.fetch_add(1, SeqCst);
                    false
                };
                Ok(conn.commit_hook(Some(count))?)
            })
            .build()
            .unwrap();
        // A transaction is begun by a `&mut`, as hooks are set.
        let conn = after_a_loan(&pool, |conn| drop(conn.transaction().unwrap()));
        commits.store(0, SeqCst);
        conn.execute("INSERT INTO song VALUES ('Nimue')", []).unwrap();
        assert_eq!(commits.load(SeqCst), usize::from(keeps));
    }
}

#[test]
fn the_busy_timeout_is_the_managers_again() {
    let pool = memory("busy");
    let conn = after_a_loan(&pool, |conn| conn.busy_timeout(Duration::from_millis(3)).unwrap());
    let timeout: i64 = conn.query_row("PRAGMA busy_timeout", [], |row| row.get(0)).unwrap();
    assert_eq!(timeout, 5000);
}

#[test]
fn an_interrupt_that_comes_between_two_loans_meets_nobody() {
    let pool = memory("interrupt");
    let conn = after_a_loan(&pool, |conn| conn.get_interrupt_handle().interrupt());
    conn.execute_batch("INSERT INTO song VALUES ('Nimue')").unwrap();
}

fn with_title(path: &Path, title: &str) {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch("CREATE TABLE song (title TEXT)").unwrap();
    conn.execute("INSERT INTO song VALUES (?1)", [title]).unwrap();
}

fn title(conn: &SqliteConnection) -> String {
    conn.query_row("SELECT title FROM song", [], |row| row.get(0)).unwrap()
}

/// However short ago it answered.
struct PingAll;

impl HealthStrategy for PingAll {
    fn on_borrow(&self, _: &ConnectionInfo) -> Verdict {
        Verdict::Ping
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_is_replaced_is_noticed_by_the_next_ping() {
    assert_replacement_is_noticed(|path| path.display().to_string());
}

#[cfg(unix)]
#[test]
fn a_file_that_is_replaced_is_noticed_if_a_uri_leads_to_it() {
    assert_replacement_is_noticed(|path| {
        let path = path.display().to_string().replace("app", "%61pp");
        format!("file:{path}?mode=rw")
    });
}

#[cfg(unix)]
fn assert_replacement_is_noticed(name: impl Fn(&Path) -> String) {
    let directory = tempfile::tempdir().unwrap();
    let (path, other) = (directory.path().join("app.db"), directory.path().join("new.db"));
    with_title(&path, "old");
    let pool = caliburn::Pool::builder(SqliteManager::file(name(&path)))
        .max_size(2)
        .min_size(2)
        .health(PingAll)
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    let held = pool.get().unwrap();
    assert_eq!(title(&held), "old");
    with_title(&other, "new");
    std::fs::rename(&other, &path).unwrap();
    assert_eq!(title(&held), "old", "what is lent stays as it is");
    drop(held);
    for _ in 0..4 {
        assert_eq!(title(&pool.get_timeout(PLENTY).unwrap()), "new");
    }
    assert!(pool.stats().evictions.by(EvictionCause::PingFailed) >= 1);
    assert!(pool.close_within(PLENTY).is_complete());
}

#[cfg(unix)]
#[test]
fn a_file_that_is_gone_is_said_to_be() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    with_title(&path, "old");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let pool = caliburn::Pool::builder(SqliteManager::file(&path).flags(flags))
        .max_size(1)
        .health(PingAll)
        .build()
        .unwrap();
    drop(pool.get_timeout(PLENTY).unwrap());
    std::fs::remove_file(&path).unwrap();
    let error = pool.get_timeout(PLENTY).unwrap_err();
    assert!(format!("{error:#}").contains("unable to open database file"), "{error:#}");
    eventually("the ping has failed", || pool.stats().ping_failures == 1);
}

#[test]
fn a_cursor_that_was_forgotten_holds_no_other_borrower_to_the_data_of_its_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    let pool = caliburn::Pool::builder(SqliteManager::file(&path))
        .after_connect(|conn, _| Ok(conn.pragma_update(None, "journal_mode", "WAL")?))
        .max_size(1)
        .build()
        .unwrap();
    let conn = after_a_loan(&pool, |conn| {
        conn.execute_batch("INSERT INTO song VALUES ('one'), ('two')").unwrap();
        let mut statement = conn.prepare("SELECT title FROM song").unwrap();
        let mut rows = statement.query([]).unwrap();
        rows.next().unwrap();
        std::mem::forget(rows);
        std::mem::forget(statement);
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("INSERT INTO song VALUES ('three')").unwrap();
    });
    let count: i64 = conn.query_row("SELECT COUNT(*) FROM song", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 3);
    conn.execute("INSERT INTO song VALUES ('four')", []).unwrap();
    assert_eq!(pool.stats().connects, 2);
}
