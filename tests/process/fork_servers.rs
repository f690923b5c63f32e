//! A forked child and its parent, with real drivers: the parent's sessions live on, and the child
//! has its own.
#![cfg(all(
    unix,
    any(
        feature = "mysql",
        all(feature = "postgres", feature = "tokio-postgres"),
        feature = "redis",
        feature = "rusqlite"
    )
))]

use crate::common::PLENTY;
use crate::common::fork::{Finding, LIMIT, in_a_child, require};
use caliburn::{BlockingManager, Pool, PooledConnection};
use std::fmt::Display;

/// Connections of each pool.
const SIZE: usize = 4;

fn told<T>(what: &str, result: Result<T, impl Display>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

fn is_refused<T>(result: Result<T, impl Display>) -> Finding {
    match result {
        Ok(_) => Err("it was lent one of its parent's".into()),
        Err(error) => {
            let error = error.to_string();
            crate::common::fork::require(error.contains("forked"), error)
        }
    }
}

fn pool<M: BlockingManager>(manager: M) -> Pool<M> {
    let builder = Pool::builder(manager).max_size(SIZE).min_size(SIZE).idle_timeout(None);
    builder.wait_ready(PLENTY).build().unwrap()
}

/// The sessions' numbers at the server, which answer a query each.
fn sessions<M: BlockingManager>(
    pool: &Pool<M>,
    ask: impl Fn(&mut M::Connection) -> Result<u64, M::Error>,
) -> Result<Vec<u64>, String> {
    let mut all = Vec::new();
    for _ in 0..SIZE {
        all.push(told("a connection", pool.get_timeout(LIMIT))?);
    }
    let numbers = all.iter_mut().map(|conn| told("an answer", ask(conn)));
    let mut numbers = numbers.collect::<Result<Vec<_>, _>>()?;
    numbers.sort_unstable();
    Ok(numbers)
}

/// So many children, one after the other, while the parent has something open: `begin` and `end`
/// are the two halves of a transaction. `ask` is answered with the session's number.
fn children_end_no_session_of_their_parent<M: BlockingManager>(
    manager: impl Fn() -> M,
    children: usize,
    ask: impl Fn(&mut M::Connection) -> Result<u64, M::Error>,
    begin: impl Fn(&mut M::Connection) -> Result<(), M::Error>,
    end: impl Fn(&mut M::Connection) -> Result<(), M::Error>,
) {
    let parents = pool(manager());
    let before = sessions(&parents, &ask).unwrap();
    for _ in 0..children {
        let mut held = vec![parents.get().unwrap(), parents.get().unwrap()];
        begin(&mut held[0]).unwrap();
        let mut handle = Some(parents.clone());
        let found = in_a_child(|| {
            is_refused(handle.as_ref().unwrap().get_timeout(LIMIT))?;
            PooledConnection::discard(held.remove(1));
            held.clear();
            drop(handle.take());
            let own = pool(manager());
            let numbers = sessions(&own, &ask)?;
            require(numbers.iter().all(|number| !before.contains(number)), "its parent's")?;
            let report = own.close_within(LIMIT);
            require(report.is_complete(), report)
        });
        found.unwrap();
        // The transaction is still open, and ends where it was begun.
        end(&mut held[0]).unwrap();
        held.clear();
        assert_eq!(sessions(&parents, &ask).as_ref(), Ok(&before), "other sessions");
    }
    assert_eq!((parents.stats().closes, parents.stats().connects), (0, SIZE as u64));
    assert!(parents.close_within(PLENTY).is_complete());
}

#[cfg(all(feature = "postgres", feature = "tokio-postgres"))]
mod postgres {
    use super::children_end_no_session_of_their_parent;

    use crate::common::servers::postgres::Postgres;
    use caliburn::adapters::postgres::PostgresManager;

    fn forks(children: usize) {
        let server = Postgres::start(&[]);
        children_end_no_session_of_their_parent(
            || PostgresManager::new(server.dsn().parse().unwrap()),
            children,
            |client| {
                let row = client.query_one("SELECT pg_backend_pid()", &[])?;
                Ok(row.get::<_, i32>(0) as u64)
            },
            |client| client.batch_execute("BEGIN; CREATE TABLE song (title TEXT)"),
            |client| client.batch_execute("INSERT INTO song VALUES ('Nimue'); ROLLBACK"),
        );
    }

    #[test]
    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn a_child_ends_no_session_of_its_parent_and_has_its_own() {
        let _alone = crate::alone();
        forks(5);
    }

    #[test]
    #[ignore = "two hundred forks, with PostgreSQL"]
    fn soak_two_hundred_forks_with_postgres() {
        let _alone = crate::alone();
        forks(200);
    }
}

#[cfg(feature = "mysql")]
mod mysql {
    use super::children_end_no_session_of_their_parent;

    use crate::common::servers::mariadb::MariaDb;
    use ::mysql::prelude::Queryable;
    use caliburn::adapters::mysql::MysqlManager;

    fn forks(children: usize) {
        let server = MariaDb::start(&[]);
        server.ask("CREATE TABLE songs.forked (title TEXT)");
        children_end_no_session_of_their_parent(
            || MysqlManager::from_url(&server.url()).unwrap(),
            children,
            |conn| Ok(conn.query_first("SELECT CONNECTION_ID()")?.unwrap_or_default()),
            |conn| conn.query_drop("BEGIN"),
            |conn| {
                conn.query_drop("INSERT INTO forked VALUES ('Nimue')")?;
                conn.query_drop("ROLLBACK")
            },
        );
    }

    #[test]
    #[ignore = "needs MariaDB (mariadbd)"]
    fn a_child_ends_no_session_of_its_parent_and_has_its_own() {
        let _alone = crate::alone();
        forks(5);
    }

    #[test]
    #[ignore = "two hundred forks, with MariaDB"]
    fn soak_two_hundred_forks_with_mariadb() {
        let _alone = crate::alone();
        forks(200);
    }
}

#[cfg(feature = "redis")]
mod redis {
    use super::children_end_no_session_of_their_parent;

    use crate::common::servers::redis::Redis;
    use ::redis::cmd;
    use caliburn::adapters::redis::RedisManager;

    fn forks(children: usize) {
        let server = Redis::start(&[]);
        children_end_no_session_of_their_parent(
            || RedisManager::new(server.url()).unwrap(),
            children,
            |conn| cmd("CLIENT").arg("ID").query(conn),
            |conn| {
                cmd("MULTI").exec(conn)?;
                cmd("SET").arg("title").arg("Nimue").exec(conn)
            },
            |conn| cmd("EXEC").exec(conn),
        );
    }

    #[test]
    #[ignore = "needs Redis (redis-server)"]
    fn a_child_ends_no_session_of_its_parent_and_has_its_own() {
        let _alone = crate::alone();
        forks(5);
    }

    #[test]
    #[ignore = "two hundred forks, with Redis"]
    fn soak_two_hundred_forks_with_redis() {
        let _alone = crate::alone();
        forks(200);
    }
}

#[cfg(feature = "rusqlite")]
mod sqlite {
    use super::{is_refused, told};

    use crate::common::PLENTY;
    use crate::common::fork::{LIMIT, in_a_child, require};
    use caliburn::Pool;
    use caliburn::adapters::sqlite::SqliteManager;
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
    fn fork() {
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

    #[test]
    fn a_child_leaves_its_parents_database_alone_and_has_its_own() {
        let _alone = crate::alone();
        fork();
    }

    #[test]
    #[ignore = "two hundred forks"]
    fn soak_two_hundred_forks_with_sqlite() {
        let _alone = crate::alone();
        (0..200).for_each(|_| fork());
    }
}
