//! A forked child and its parent, with real drivers: the parent's sessions live on, and the child
//! has its own.
#![cfg(all(
    unix,
    any(feature = "rusqlite", all(feature = "postgres", feature = "tokio-postgres"))
))]

mod common;

use common::fork::Finding;
use std::fmt::Display;

fn told<T>(what: &str, result: Result<T, impl Display>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

fn is_refused<T>(result: Result<T, impl Display>) -> Finding {
    match result {
        Ok(_) => Err("it was lent one of its parent's".into()),
        Err(error) => {
            let error = error.to_string();
            common::fork::require(error.contains("forked"), error)
        }
    }
}

#[cfg(all(feature = "postgres", feature = "tokio-postgres"))]
mod postgres {
    use super::{is_refused, told};
    use caliburn::adapters::postgres::PostgresManager;
    use caliburn::{Pool, PooledConnection};
    use common::PLENTY;
    use common::fork::{LIMIT, in_a_child, require};
    use common::pg::named;
    use common::servers::postgres::Postgres;

    use super::common;

    const SIZE: usize = 4;

    fn pool(dsn: &str) -> Pool<PostgresManager> {
        let builder = Pool::builder(PostgresManager::new(dsn.parse().unwrap()));
        let builder = builder.max_size(SIZE).min_size(SIZE).idle_timeout(None);
        builder.wait_ready(PLENTY).build().unwrap()
    }

    /// The sessions' numbers at the server, which answer a query each.
    fn sessions(pool: &Pool<PostgresManager>) -> Vec<i32> {
        let mut all: Vec<_> = (0..SIZE).map(|_| pool.get_timeout(PLENTY).unwrap()).collect();
        let pid = |client: &mut PooledConnection<PostgresManager>| {
            client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0)
        };
        let mut pids: Vec<i32> = all.iter_mut().map(pid).collect();
        pids.sort_unstable();
        pids
    }

    #[test]
    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn a_child_ends_no_session_of_its_parent_and_has_its_own() {
        let server = Postgres::start(&[]);
        let parents = pool(&named(&server, "parent"));
        let before = sessions(&parents);
        let childs = named(&server, "child");
        for _ in 0..5 {
            let mut held = vec![parents.get().unwrap(), parents.get().unwrap()];
            held[0].simple_query("BEGIN; CREATE TABLE song (title TEXT)").unwrap();
            let (mut handle, server) = (Some(parents.clone()), &server);
            let found = in_a_child(|| {
                is_refused(handle.as_ref().unwrap().get_timeout(LIMIT))?;
                PooledConnection::discard(held.remove(1));
                held.clear();
                drop(handle.take());
                let own = pool(&childs);
                let mut all = Vec::new();
                for _ in 0..SIZE {
                    all.push(told("its own", own.get_timeout(LIMIT))?);
                }
                for client in &mut all {
                    let row = told("its own", client.query_one("SELECT 6 * 7", &[]))?;
                    require(row.get::<_, i32>(0) == 42, "a wrong answer")?;
                }
                require(server.sessions("child") == SIZE, "sessions of the child")?;
                drop(all);
                let report = own.close_within(LIMIT);
                require(report.is_complete(), report)
            });
            found.unwrap();
            assert_eq!(server.sessions("parent"), SIZE);
            // The transaction is still open, and is rolled back where it was begun.
            held[0].simple_query("INSERT INTO song VALUES ('Nimue')").unwrap();
            held.clear();
            assert_eq!(sessions(&parents), before, "other sessions");
        }
        assert_eq!((parents.stats().closes, parents.stats().connects), (0, SIZE as u64));
        assert!(parents.close_within(PLENTY).is_complete());
    }
}

#[cfg(feature = "rusqlite")]
mod sqlite {
    use super::common;
    use super::{is_refused, told};
    use caliburn::Pool;
    use caliburn::adapters::sqlite::SqliteManager;
    use common::PLENTY;
    use common::fork::{LIMIT, in_a_child, require};
    use rusqlite::Connection;
    use std::path::Path;

    fn pool(path: &Path) -> Pool<SqliteManager> {
        Pool::builder(SqliteManager::file(path)).max_size(2).build().unwrap()
    }

    fn count(conn: &Connection) -> rusqlite::Result<i64> {
        conn.query_row("SELECT COUNT(*) FROM song", [], |row| row.get(0))
    }

    /// Of another file: a child must not open what its parent has open, as SQLite would take its
    /// parent's locks for its own.
    #[test]
    fn a_child_leaves_its_parents_database_alone_and_has_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let parents = pool(&directory.path().join("parent.db"));
        let mut held = vec![parents.get().unwrap()];
        held[0].execute_batch("CREATE TABLE song (title TEXT)").unwrap();
        drop(parents.get().unwrap());
        held[0].execute_batch("BEGIN; INSERT INTO song VALUES ('Nimue')").unwrap();
        let found = in_a_child(|| {
            is_refused(parents.get_timeout(LIMIT))?;
            held.clear();
            let own = pool(&directory.path().join("child.db"));
            let conn = told("its own", own.get_timeout(LIMIT))?;
            told("its own", conn.execute_batch("CREATE TABLE song (title TEXT)"))?;
            require(told("its own", count(&conn))? == 0, "not its own")?;
            drop(conn);
            let report = own.close_within(LIMIT);
            require(report.is_complete(), report)
        });
        found.unwrap();
        held[0].execute_batch("COMMIT").unwrap();
        held.clear();
        assert_eq!(count(&parents.get().unwrap()), Ok(1));
        assert_eq!(parents.stats().closes, 0);
        assert!(parents.close_within(PLENTY).is_complete());
    }
}
