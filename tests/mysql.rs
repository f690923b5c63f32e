//! The adapters for MySQL and MariaDB, against MariaDB itself. Each harness is played twice: with
//! the driver for threads, whose callers are threads, and with the driver for tasks.
#![cfg(all(feature = "mysql", feature = "mysql_async"))]

mod common;

use caliburn::adapters::Reset;
use caliburn::adapters::mysql::{
    AsyncMysqlConnection, AsyncMysqlManager, MysqlConnection, MysqlManager,
};
use caliburn::health::{AgeEviction, PingOnBorrow};
use caliburn::{
    Builder, ErrorClass, EvictionCause, GetError, Manager, ManagerError, Pool, PooledConnection,
};
use common::servers::mariadb::{DATABASE, MariaDb, PASSWORD, ROOT, USER};
use common::servers::process::free_port;
use common::{PLENTY, eventually};
use std::future::Future;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// How late a busy machine may be.
const ROOM: Duration = Duration::from_secs(2);

/// What the two adapters have in common, as their callers see it.
trait Adapter: Manager<Connection: std::fmt::Debug, Error: Send> + Sized {
    fn manager(url: &str) -> Self;

    fn builder(manager: Self) -> Builder<Self>;

    /// Resets the session after each loan.
    fn renewing(self) -> Self;

    /// Starts a caller: a thread or a task.
    fn spawn<T: Send + 'static>(caller: impl Future<Output = T> + Send + 'static) -> JoinHandle<T>;

    fn get(
        pool: &Pool<Self>,
    ) -> impl Future<Output = Result<PooledConnection<Self>, GetError<Self::Error>>> + Send;

    /// The first column of the first row.
    fn ask(
        conn: &mut Self::Connection,
        sql: &str,
    ) -> impl Future<Output = Result<Option<String>, Self::Error>> + Send;

    /// As a prepared statement.
    fn execute(
        conn: &mut Self::Connection,
        sql: &str,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// As [`ask`](Self::ask), by the driver's own connection.
    fn ask_driver(
        conn: &mut Self::Connection,
        sql: &str,
    ) -> impl Future<Output = Result<Option<String>, Self::Error>> + Send;

    /// Begins a transaction by the driver's means, inserts something, and leaves it so.
    fn abandon_transaction(conn: &mut Self::Connection) -> impl Future<Output = ()> + Send;

    fn server_code(error: &Self::Error) -> Option<u16>;

    fn server_error(code: u16) -> Self::Error;
}

impl Adapter for MysqlManager {
    fn manager(url: &str) -> Self {
        Self::from_url(url).unwrap()
    }

    fn builder(manager: Self) -> Builder<Self> {
        Pool::builder(manager)
    }

    fn renewing(self) -> Self {
        self.reset(Reset::Session)
    }

    fn spawn<T: Send + 'static>(caller: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || runtime.block_on(caller))
    }

    async fn get(pool: &Pool<Self>) -> Result<PooledConnection<Self>, GetError<mysql::Error>> {
        pool.get()
    }

    async fn ask(conn: &mut MysqlConnection, sql: &str) -> mysql::Result<Option<String>> {
        mysql::prelude::Queryable::query_first(conn, sql)
    }

    async fn execute(conn: &mut MysqlConnection, sql: &str) -> mysql::Result<()> {
        mysql::prelude::Queryable::exec_drop(conn, sql, ())
    }

    async fn ask_driver(conn: &mut MysqlConnection, sql: &str) -> mysql::Result<Option<String>> {
        mysql::prelude::Queryable::query_first(&mut **conn, sql)
    }

    async fn abandon_transaction(conn: &mut MysqlConnection) {
        use mysql::prelude::Queryable;
        let mut transaction = conn.start_transaction(mysql::TxOpts::default()).unwrap();
        transaction.query_drop("INSERT INTO song VALUES (1)").unwrap();
        std::mem::forget(transaction);
    }

    fn server_code(error: &mysql::Error) -> Option<u16> {
        match error {
            mysql::Error::MySqlError(error) => Some(error.code),
            _ => None,
        }
    }

    fn server_error(code: u16) -> mysql::Error {
        let (state, message) = ("HY000".into(), String::new());
        mysql::Error::MySqlError(mysql::MySqlError { state, message, code })
    }
}

impl Adapter for AsyncMysqlManager {
    fn manager(url: &str) -> Self {
        Self::from_url(url).unwrap()
    }

    fn builder(manager: Self) -> Builder<Self> {
        Pool::builder_async(manager)
    }

    fn renewing(self) -> Self {
        self.reset(Reset::Session)
    }

    fn spawn<T: Send + 'static>(caller: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        tokio::spawn(caller)
    }

    async fn get(
        pool: &Pool<Self>,
    ) -> Result<PooledConnection<Self>, GetError<mysql_async::Error>> {
        pool.get_async().await
    }

    async fn ask(
        conn: &mut AsyncMysqlConnection,
        sql: &str,
    ) -> mysql_async::Result<Option<String>> {
        mysql_async::prelude::Queryable::query_first(conn, sql).await
    }

    async fn execute(conn: &mut AsyncMysqlConnection, sql: &str) -> mysql_async::Result<()> {
        mysql_async::prelude::Queryable::exec_drop(conn, sql, ()).await
    }

    async fn ask_driver(
        conn: &mut AsyncMysqlConnection,
        sql: &str,
    ) -> mysql_async::Result<Option<String>> {
        mysql_async::prelude::Queryable::query_first(&mut **conn, sql).await
    }

    async fn abandon_transaction(conn: &mut AsyncMysqlConnection) {
        use mysql_async::prelude::Queryable;
        let mut transaction = conn.start_transaction(Default::default()).await.unwrap();
        transaction.query_drop("INSERT INTO song VALUES (1)").await.unwrap();
    }

    fn server_code(error: &mysql_async::Error) -> Option<u16> {
        match error {
            mysql_async::Error::Server(error) => Some(error.code),
            _ => None,
        }
    }

    fn server_error(code: u16) -> mysql_async::Error {
        let (state, message) = ("HY000".into(), String::new());
        mysql_async::Error::Server(mysql_async::ServerError { state, message, code })
    }
}

/// Plays each harness with both adapters.
macro_rules! harnesses {
    ($($(#[$attribute:meta])* $harness:ident)+) => {
        mod threads {
            $(
                #[test]
                $(#[$attribute])*
                fn $harness() {
                    super::play(super::$harness::<super::MysqlManager>());
                }
            )+
        }

        mod tasks {
            $(
                #[test]
                $(#[$attribute])*
                fn $harness() {
                    super::play(super::$harness::<super::AsyncMysqlManager>());
                }
            )+
        }
    };
}

harnesses! {
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_server_killed_and_restarted_under_64_callers_costs_one_query_for_each_connection
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_frozen_server_keeps_nobody_beyond_the_limit_and_serves_within_a_second_after
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    sessions_killed_by_the_server_are_noticed_by_a_ping_before_they_are_lent
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    idle_connections_flow_while_others_have_taken_all_that_the_server_allows
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_transaction_left_open_is_rolled_back_however_it_was_begun
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    usual_statements_cost_no_reset
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    what_a_borrower_changed_in_its_session_is_gone_if_sessions_are_reset
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_wrong_password_and_an_unknown_database_are_told_at_once
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    tls_that_cannot_be_had_is_an_error_that_will_not_pass
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    the_server_has_no_more_sessions_than_the_pool_may_and_none_after_the_close
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    threads_and_tasks_share_a_pool
    a_port_that_nobody_listens_on_is_a_passing_error_with_its_cause
    a_server_that_cannot_be_reached_costs_one_connect_limit
    a_server_that_never_greets_costs_no_more_than_the_limit
    no_text_shows_the_password
    errors_of_the_server_are_told_apart
}

fn play(harness: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(128)
        .enable_all()
        .build()
        .unwrap();
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(harness)));
    // Threads that a call of the driver keeps are not waited for.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
}

/// Has all of them at work at once.
async fn all<A: Adapter, T, F>(callers: usize, caller: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let callers: Vec<_> = (0..callers).map(|n| A::spawn(caller(n))).collect();
    let mut outcomes = Vec::new();
    for caller in callers {
        outcomes.push(caller.await.unwrap());
    }
    outcomes
}

/// As [`eventually`], without keeping a thread of the runtime.
async fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PLENTY, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn close<M: Manager>(pool: &Pool<M>) {
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete(), "{report}");
}

/// Every slot is accounted for, and none is out of service.
async fn whole<M: Manager>(pool: &Pool<M>) {
    soon("every slot is idle or vacant", || {
        let stats = pool.stats();
        stats.idle + stats.vacant + stats.retired == stats.capacity && stats.waiting == 0
    })
    .await;
}

/// Asks for a number and for nothing else.
async fn echo<A: Adapter>(conn: &mut A::Connection, number: usize) -> Result<(), A::Error> {
    let answer = A::ask(conn, &format!("SELECT {number}")).await?;
    assert_eq!(answer.as_deref(), Some(&*number.to_string()), "somebody else's answer");
    Ok(())
}

async fn a_server_killed_and_restarted_under_64_callers_costs_one_query_for_each_connection<
    A: Adapter,
>() {
    let mut server = MariaDb::start(&[]);
    let pool = A::builder(A::manager(&server.url())).max_size(8).build().unwrap();
    let [served, failed] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let is_over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..64)
        .map(|caller| {
            let (pool, served, failed) = (pool.clone(), served.clone(), failed.clone());
            let is_over = is_over.clone();
            A::spawn(async move {
                while !is_over.load(SeqCst) {
                    let mut conn = A::get(&pool).await.unwrap_or_else(|error| panic!("{error}"));
                    match echo::<A>(&mut conn, caller).await {
                        Ok(()) => served.fetch_add(1, SeqCst),
                        Err(_) => failed.fetch_add(1, SeqCst),
                    };
                }
            })
        })
        .collect();
    for round in 1..=2 {
        let before = served.load(SeqCst);
        soon("all are at work", || served.load(SeqCst) > before + 500 && pool.stats().size == 8)
            .await;
        server.kill();
        soon("all is still", || pool.stats().size == 0 && pool.stats().waiting == 64).await;
        server.restart();
        let back = Instant::now();
        soon("all connections are open again", || pool.stats().size == 8).await;
        let took = back.elapsed();
        assert!(took < Duration::from_secs(4), "2 s are asked for: {took:?}");
        println!("round {round}: whole after {took:?}, {} queries failed", failed.load(SeqCst));
        assert!(failed.load(SeqCst) <= round * 8, "{} queries failed", failed.load(SeqCst));
    }
    is_over.store(true, SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    whole(&pool).await;
    close(&pool);
    soon("no session is left", || server.sessions().is_empty()).await;
}

/// A connection that has answered within a tenth of a second is not pinged again.
async fn no_longer_fresh() {
    tokio::time::sleep(Duration::from_millis(150)).await;
}

async fn a_frozen_server_keeps_nobody_beyond_the_limit_and_serves_within_a_second_after<
    A: Adapter,
>() {
    let limit = Duration::from_secs(2);
    let server = MariaDb::start(&[]);
    let pool = A::builder(A::manager(&server.url()))
        .max_size(8)
        .min_size(4)
        .checkout_timeout(limit)
        .health(PingOnBorrow::always())
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    no_longer_fresh().await;
    server.freeze();
    let waits = all::<A, _, _>(16, |_| {
        let pool = pool.clone();
        async move {
            let begun = Instant::now();
            let error = A::get(&pool).await.expect_err("the server is frozen");
            (begun.elapsed(), matches!(error, GetError::TimedOut { .. }))
        }
    })
    .await;
    let longest = waits.iter().map(|(wait, _)| *wait).max().unwrap();
    println!("longest wait {longest:?}");
    assert!(waits.iter().all(|(_, is_timeout)| *is_timeout));
    assert!(longest < limit + ROOM, "2.1 s are asked for: {longest:?}");
    server.thaw();
    let back = Instant::now();
    let mut conn = A::get(&pool).await.unwrap();
    echo::<A>(&mut conn, 1).await.unwrap();
    println!("served after {:?}", back.elapsed());
    assert!(back.elapsed() < Duration::from_secs(2), "1 s is asked for: {:?}", back.elapsed());
    drop(conn);
    whole(&pool).await;
    close(&pool);
}

async fn sessions_killed_by_the_server_are_noticed_by_a_ping_before_they_are_lent<A: Adapter>() {
    let server = MariaDb::start(&[]);
    let pool = A::builder(A::manager(&server.url()))
        .max_size(8)
        .min_size(8)
        .health(PingOnBorrow::always())
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    for round in 1..=3 {
        soon("eight sessions", || server.sessions().len() == 8).await;
        no_longer_fresh().await;
        server.kill_sessions();
        let failures = all::<A, _, _>(32, |caller| {
            let pool = pool.clone();
            async move {
                let mut conn = A::get(&pool).await.unwrap();
                echo::<A>(&mut conn, caller).await.err().map(|error| error.to_string())
            }
        })
        .await;
        assert!(failures.iter().all(Option::is_none), "{failures:?}");
        soon("all are replaced", || pool.stats().ping_failures >= round).await;
        soon("eight are open", || pool.stats().idle == 8).await;
    }
    close(&pool);
}

async fn idle_connections_flow_while_others_have_taken_all_that_the_server_allows<A: Adapter>() {
    use mysql::Conn;
    let server = MariaDb::start(&["--max-connections=10"]);
    let pool = A::builder(A::manager(&server.url()))
        .max_size(8)
        .min_size(4)
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    let opts = mysql::Opts::from_url(&server.url()).unwrap();
    let opts = mysql::OptsBuilder::from_opts(opts).prefer_socket(false);
    let mut others = Vec::new();
    // One session may still be that of somebody who has gone.
    soon("all others have come", || {
        others.extend(Conn::new(opts.clone()).ok());
        others.len() == 6
    })
    .await;
    let refused = Conn::new(opts).unwrap_err();
    assert_eq!(MysqlManager::server_code(&refused), Some(1040), "{refused}");
    all::<A, _, _>(16, |caller| {
        let pool = pool.clone();
        async move {
            for _ in 0..10 {
                let mut conn = A::get(&pool).await.unwrap();
                echo::<A>(&mut conn, caller).await.unwrap();
            }
        }
    })
    .await;
    // One who finds no idle connection has more opened, in vain.
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(A::get(&pool).await.unwrap());
    }
    let refused = pool.stats().connect_failures;
    let waiting = A::spawn({
        let pool = pool.clone();
        async move { A::get(&pool).await.map(drop) }
    });
    soon("a connect is refused", || pool.stats().connect_failures > refused).await;
    // A transient error: one may wait for better times.
    soon("somebody waits", || pool.stats().waiting == 1).await;
    drop(others);
    waiting.await.unwrap().unwrap();
    close_all(held, &pool).await;
}

async fn close_all<M: Manager>(held: Vec<PooledConnection<M>>, pool: &Pool<M>) {
    drop(held);
    whole(pool).await;
    close(pool);
}

/// A connection of root's, for an eye that is not the pool's.
fn root(server: &MariaDb) -> mysql::Conn {
    let opts = mysql::Opts::from_url(&server.url_as(ROOT, "", DATABASE)).unwrap();
    mysql::Conn::new(mysql::OptsBuilder::from_opts(opts).prefer_socket(false)).unwrap()
}

/// A pool of one, and a table to write to.
fn alone<A: Adapter>(server: &MariaDb) -> Pool<A> {
    use mysql::prelude::Queryable;
    let insert = "INSERT INTO song VALUES (1)";
    let mut root = root(server);
    root.query_drop("CREATE TABLE song (id INT NOT NULL)").unwrap();
    root.query_drop(format!("CREATE PROCEDURE beginning() BEGIN START TRANSACTION; {insert}; END"))
        .unwrap();
    A::builder(A::manager(&server.url())).max_size(1).build().unwrap()
}

async fn a_transaction_left_open_is_rolled_back_however_it_was_begun<A: Adapter>() {
    let server = MariaDb::start(&[]);
    let pool = alone::<A>(&server);
    let insert = "INSERT INTO song VALUES (1)";
    let mut borrowers = 0;
    let mut check = async |what: &str| {
        borrowers += 1;
        let mut conn = A::get(&pool).await.unwrap();
        let state =
            "SELECT CONCAT(@@in_transaction, @@autocommit + 0, (SELECT COUNT(*) FROM song))";
        assert_eq!(A::ask(&mut conn, state).await.unwrap().as_deref(), Some("010"), "{what}");
        drop(conn);
        let stats = pool.stats();
        assert_eq!((stats.connects, stats.resets), (1, borrowers), "{what}: {stats}");
    };
    for (begin, by_statement) in [
        ("START TRANSACTION", false),
        ("BEGIN", true),
        ("SET autocommit = 0", false),
        ("CALL beginning()", false),
        ("CALL beginning()", true),
        ("SELECT 1; START TRANSACTION", false),
        ("/*! START TRANSACTION */", false),
    ] {
        let mut conn = A::get(&pool).await.unwrap();
        match by_statement {
            true => A::execute(&mut conn, begin).await.unwrap(),
            false => drop(A::ask(&mut conn, begin).await.unwrap()),
        }
        A::ask(&mut conn, insert).await.unwrap();
        drop(conn);
        check(begin).await;
    }
    let mut conn = A::get(&pool).await.unwrap();
    A::ask_driver(&mut conn, "START TRANSACTION").await.unwrap();
    A::ask_driver(&mut conn, insert).await.unwrap();
    drop(conn);
    check("by the driver's connection").await;

    let mut conn = A::get(&pool).await.unwrap();
    A::abandon_transaction(&mut conn).await;
    drop(conn);
    check("by the driver's transaction").await;

    let mut conn = A::get(&pool).await.unwrap();
    A::ask(&mut conn, "START TRANSACTION").await.unwrap();
    A::ask(&mut conn, insert).await.unwrap();
    let error = A::ask(&mut conn, "SELECT nonsense").await.unwrap_err();
    assert_eq!(A::server_code(&error), Some(1054), "{error}");
    drop(conn);
    check("with an error in the end").await;
    close(&pool);
}

async fn usual_statements_cost_no_reset<A: Adapter>() {
    let server = MariaDb::start(&[]);
    let pool = alone::<A>(&server);
    for sql in [
        "SELECT 1",
        "INSERT INTO song VALUES (1), (2), (3)",
        " update song set id = 4 where id = 3;",
        "SELECT * FROM song",
        "SHOW TABLES",
        "DELETE FROM song",
    ] {
        for _ in 0..2 {
            let mut conn = A::get(&pool).await.unwrap();
            A::ask(&mut conn, sql).await.unwrap();
            drop(conn);
            let mut conn = A::get(&pool).await.unwrap();
            A::execute(&mut conn, sql.trim_end_matches(';')).await.unwrap();
            drop(conn);
        }
        let stats = pool.stats();
        assert_eq!((stats.connects, stats.resets), (1, 0), "{sql}: {stats}");
    }
    close(&pool);
}

async fn what_a_borrower_changed_in_its_session_is_gone_if_sessions_are_reset<A: Adapter>() {
    let server = MariaDb::start(&[]);
    for is_reset in [false, true] {
        let mut manager = A::manager(&server.url());
        if is_reset {
            manager = A::renewing(manager);
        }
        let pool = A::builder(manager).max_size(1).build().unwrap();
        let state = "SELECT CONCAT(COALESCE(@mine, 'nothing'), @@character_set_client, DATABASE())";
        let mut conn = A::get(&pool).await.unwrap();
        let fresh = A::ask(&mut conn, state).await.unwrap();
        A::ask(&mut conn, "SET @mine = 'something'").await.unwrap();
        let changed = A::ask(&mut conn, state).await.unwrap();
        assert_ne!(fresh, changed);
        drop(conn);
        let mut conn = A::get(&pool).await.unwrap();
        let found = A::ask(&mut conn, state).await.unwrap();
        assert_eq!(found, if is_reset { fresh } else { changed });
        drop(conn);
        assert_eq!(pool.stats().connects, 1);
        close(&pool);
    }
}

/// The manager's error behind a `get` that failed, and how long that took.
async fn refusal<A: Adapter>(pool: &Pool<A>) -> (GetError<A::Error>, Duration) {
    let begun = Instant::now();
    let error = A::get(pool).await.expect_err("no connection can be had");
    (error, begun.elapsed())
}

fn cause<E>(error: &GetError<E>) -> &ManagerError<E> {
    match error {
        GetError::Connect { cause, .. } | GetError::TimedOut { cause: Some(cause), .. } => cause,
        _ => panic!("no cause"),
    }
}

async fn a_wrong_password_and_an_unknown_database_are_told_at_once<A: Adapter>() {
    let server = MariaDb::start(&[]);
    for (url, code) in [
        (server.url_as(USER, "wrong-guess", DATABASE), 1045),
        (server.url_as("stranger", PASSWORD, DATABASE), 1045),
        (server.url_as(USER, PASSWORD, "mysql"), 1044),
        (server.url_as(ROOT, "", "nowhere"), 1049),
    ] {
        let pool = A::builder(A::manager(&url)).build().unwrap();
        let (error, took) = refusal(&pool).await;
        assert!(matches!(error, GetError::Connect { .. }), "{error}");
        let ManagerError::Failed(reason) = cause(&error) else { panic!("{error}") };
        assert_eq!(A::server_code(reason), Some(code), "{error}");
        assert_eq!(pool.manager().classify(reason), ErrorClass::Permanent);
        assert!(took < PLENTY / 4, "{took:?}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(PASSWORD) && !shown.contains("wrong-guess"), "{shown}");
    }
    // The connection itself shows nothing either.
    let pool = A::builder(A::manager(&server.url())).build().unwrap();
    let shown = format!("{:?}", A::get(&pool).await.unwrap());
    assert!(shown.contains("is_broken: false") && !shown.contains(PASSWORD), "{shown}");
    close(&pool);
}

async fn tls_that_cannot_be_had_is_an_error_that_will_not_pass<A: Adapter>() {
    use std::any::Any;
    let server = MariaDb::start(&[]);
    let mut manager = Some(A::manager(&server.url()));
    let any: &mut dyn Any = &mut manager;
    if let Some(manager) = any.downcast_mut::<Option<MysqlManager>>() {
        let opts = mysql::Opts::from_url(&server.url()).unwrap();
        let opts = mysql::OptsBuilder::from_opts(opts).ssl_opts(mysql::SslOpts::default());
        *manager = Some(MysqlManager::new(opts));
    } else if let Some(manager) = any.downcast_mut::<Option<AsyncMysqlManager>>() {
        let opts = mysql_async::Opts::from_url(&server.url()).unwrap();
        let opts =
            mysql_async::OptsBuilder::from_opts(opts).ssl_opts(mysql_async::SslOpts::default());
        *manager = Some(AsyncMysqlManager::new(opts));
    }
    let pool = A::builder(manager.unwrap()).build().unwrap();
    let (error, took) = refusal(&pool).await;
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
    assert!(matches!(cause(&error), ManagerError::Failed(_)), "a panic: {error}");
    assert!(took < PLENTY / 4, "{took:?}");
}

async fn the_server_has_no_more_sessions_than_the_pool_may_and_none_after_the_close<A: Adapter>() {
    use mysql::prelude::Queryable;
    const SIZE: usize = 6;
    let server = MariaDb::start(&[]);
    let mut eye = root(&server);
    let mut count = |what: &str| {
        let sql = format!("SHOW GLOBAL STATUS LIKE '{what}'");
        eye.query_first::<(String, usize), _>(sql).unwrap().unwrap().1 - 1
    };
    for uses in [u64::MAX, 20] {
        soon("nobody else is there", || count("Threads_connected") == 0).await;
        server.ask("FLUSH STATUS");
        soon("nobody else is there", || count("Threads_connected") == 0).await;
        let pool = A::builder(A::manager(&server.url()))
            .max_size(SIZE)
            .health(AgeEviction::default().max_uses(uses))
            .build()
            .unwrap();
        all::<A, _, _>(24, |caller| {
            let pool = pool.clone();
            async move {
                for _ in 0..50 {
                    let mut conn = A::get(&pool).await.unwrap();
                    echo::<A>(&mut conn, caller).await.unwrap();
                }
            }
        })
        .await;
        close(&pool);
        soon("no session is left", || count("Threads_connected") == 0).await;
        let (most, opened) = (count("Max_used_connections"), pool.stats().connects);
        println!("{opened} sessions, at most {most} at once");
        if uses == u64::MAX {
            assert_eq!((opened as usize, most), (SIZE, SIZE));
        } else {
            // The goodbye to an old session may be on its way yet when the next one is opened: one
            // for each worker.
            assert!(opened >= 50 && most <= SIZE + 4, "{opened} sessions, {most} at once");
        }
    }
}

async fn threads_and_tasks_share_a_pool<A: Adapter>() {
    let server = MariaDb::start(&[]);
    let pool = A::builder(A::manager(&server.url())).max_size(4).build().unwrap();
    let threads = all::<MysqlManager, _, _>(8, |_| {
        let pool = pool.clone();
        async move {
            for n in 0..20 {
                let mut conn = pool.get().unwrap();
                echo::<A>(&mut conn, n).await.unwrap();
            }
        }
    });
    let tasks = all::<AsyncMysqlManager, _, _>(8, |_| {
        let pool = pool.clone();
        async move {
            for n in 0..20 {
                let mut conn = pool.get_async().await.unwrap();
                echo::<A>(&mut conn, n).await.unwrap();
            }
        }
    });
    tokio::join!(threads, tasks);
    whole(&pool).await;
    close(&pool);
}

async fn a_port_that_nobody_listens_on_is_a_passing_error_with_its_cause<A: Adapter>() {
    let url = format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{}/", free_port());
    let limit = Duration::from_millis(300);
    let pool = A::builder(A::manager(&url)).checkout_timeout(limit).build().unwrap();
    let (error, took) = refusal(&pool).await;
    assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
    let ManagerError::Failed(reason) = cause(&error) else { panic!("{error}") };
    assert_eq!(pool.manager().classify(reason), ErrorClass::Transient);
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(took < limit + ROOM, "{took:?}");

    let pool = A::builder(A::manager(&url)).fail_fast(true).build().unwrap();
    let (error, took) = refusal(&pool).await;
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
    assert!(took < PLENTY / 4, "{took:?}");
}

async fn a_server_that_cannot_be_reached_costs_one_connect_limit<A: Adapter>() {
    // Set aside for documentation: nobody is there. Where there is no way at all the system says so
    // at once.
    let url = format!("mysql://{USER}@192.0.2.1:3306/");
    let limit = Duration::from_millis(300);
    let pool = A::builder(A::manager(&url)).fail_fast(true).connect_timeout(limit).build().unwrap();
    let (error, took) = refusal(&pool).await;
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
    assert!(took < limit + ROOM, "{took:?}");
    close(&pool);
}

async fn a_server_that_never_greets_costs_no_more_than_the_limit<A: Adapter>() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mysql://{USER}@{}/", mute.local_addr().unwrap());
    let limit = Duration::from_millis(300);
    let pool = A::builder(A::manager(&url))
        .checkout_timeout(limit)
        .connect_timeout(limit / 2)
        .build()
        .unwrap();
    let (error, took) = refusal(&pool).await;
    assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
    assert!(matches!(cause(&error), ManagerError::TimedOut | ManagerError::Pending), "{error}");
    assert!(took < limit + ROOM, "{took:?}");
    // A driver that blocks is let go by the end of the connection.
    drop(mute);
    whole(&pool).await;
}

async fn no_text_shows_the_password<A: Adapter>() {
    let manager = A::manager(&format!("mysql://{USER}:{PASSWORD}@localhost:3307/{DATABASE}"));
    let shown = format!("{:?}", A::builder(manager).build().unwrap());
    assert!(!shown.contains(PASSWORD), "{shown}");

    let manager = MysqlManager::manager(&format!("mysql://{USER}:{PASSWORD}@localhost:3307/"));
    let shown = format!("{manager:?}");
    assert!(shown.contains("localhost") && shown.contains("3307"), "{shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");
    let manager = AsyncMysqlManager::manager(&format!("mysql://{USER}:{PASSWORD}@localhost:3307/"));
    let shown = format!("{manager:?}");
    assert!(shown.contains("localhost") && shown.contains("3307"), "{shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");

    for rest in ["localhost:99999/", "localhost/?colour=red", "localhost/?stmt_cache_size=many"] {
        for scheme in ["mysql", "postgres"] {
            let url = format!("{scheme}://{USER}:{PASSWORD}@{rest}");
            let blocking = MysqlManager::from_url(&url).unwrap_err();
            let tasks = AsyncMysqlManager::from_url(&url).unwrap_err();
            let shown = format!("{blocking} {blocking:?} {tasks} {tasks:?}");
            assert!(!shown.contains(PASSWORD), "{shown}");
        }
    }
}

async fn errors_of_the_server_are_told_apart<A: Adapter>() {
    let manager = A::manager("mysql://localhost/");
    for code in [1044, 1045, 1049, 1130, 1698, 3118, 4151] {
        let class = manager.classify(&A::server_error(code));
        assert_eq!(class, ErrorClass::Permanent, "{code}");
    }
    for code in [1040, 1053, 1203, 1205, 1226, 1927] {
        let class = manager.classify(&A::server_error(code));
        assert_eq!(class, ErrorClass::Transient, "{code}");
    }
}

// What only one of them has to mind

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
async fn no_answer_of_20_000_belongs_to_a_request_that_was_dropped() {
    use mysql_async::prelude::Queryable;
    let server = MariaDb::start(&[]);
    let manager = AsyncMysqlManager::from_url(&server.url()).unwrap();
    let pool = Pool::builder_async(manager).max_size(8).build().unwrap();
    let dropped = Arc::new(AtomicUsize::new(0));
    all::<AsyncMysqlManager, _, _>(16, |caller| {
        let (pool, dropped) = (pool.clone(), dropped.clone());
        async move {
            for n in 0..1_250 {
                let number = caller * 10_000 + n;
                let mut conn = pool.get_async().await.unwrap();
                let answer = async {
                    match n % 3 {
                        0 => conn.query_first(format!("SELECT {number}")).await,
                        1 => conn.exec_first("SELECT ?", (number,)).await,
                        // Two answers, of which only the first is looked at.
                        _ => conn.query_first(format!("SELECT {number}; SELECT 'second'")).await,
                    }
                };
                if n % 5 == 0 {
                    tokio::select! {
                        biased;
                        answer = answer => assert_eq!(answer.unwrap(), Some(number)),
                        // From before the request is sent till after its answer has come.
                        () = linger(n / 5 % 4) => drop(dropped.fetch_add(1, SeqCst)),
                    }
                } else {
                    assert_eq!(answer.await.unwrap(), Some(number), "somebody else's answer");
                }
            }
        }
    })
    .await;
    let dropped = dropped.load(SeqCst);
    println!(
        "{dropped} dropped, {} connects, {} resets",
        pool.stats().connects,
        pool.stats().resets
    );
    assert!(dropped > 500, "only {dropped} were dropped");
    whole(&pool).await;
    close(&pool);
    soon("no session is left", || server.sessions().is_empty()).await;
}

/// Ready after it was polled so many times.
async fn linger(polls: usize) {
    for _ in 0..polls {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
async fn a_request_dropped_after_the_driver_tidied_up_for_it_leaves_no_answer_to_the_next() {
    use mysql_async::prelude::Queryable;
    let server = MariaDb::start(&[]);
    let manager = AsyncMysqlManager::from_url(&server.url()).unwrap();
    let pool = Pool::builder_async(manager).max_size(1).build().unwrap();
    for untidy in ["a transaction", "a second result"] {
        let mut conn = pool.get_async().await.unwrap();
        if untidy == "a transaction" {
            drop(conn.start_transaction(Default::default()).await.unwrap());
        } else {
            drop(conn.query_iter("SELECT 1; SELECT 2").await.unwrap());
        }
        // The driver first does what was left to do, and then forgets that a request is under way.
        let mut request = Box::pin(conn.query_first::<String, _>("SELECT SLEEP(1), 'mine'"));
        let is_running = async {
            let sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'";
            while server.ask(sql) != "1" {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            answer = &mut request => panic!("{answer:?}"),
            () = is_running => {}
        }
        drop(request);
        assert!(!conn.is_disconnected(), "the driver has become wiser");
        drop(conn);
        let mut conn = pool.get_async().await.unwrap();
        let answer: Option<String> = conn.query_first("SELECT 'theirs'").await.unwrap();
        assert_eq!(answer.as_deref(), Some("theirs"), "after {untidy}");
    }
    close(&pool);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
async fn an_answer_left_unread_by_a_task_is_read_before_the_next_loan() {
    use mysql_async::prelude::Queryable;
    let server = MariaDb::start(&[]);
    let manager = AsyncMysqlManager::from_url(&server.url()).unwrap();
    let pool = Pool::builder_async(manager).max_size(1).build().unwrap();
    let mut conn = pool.get_async().await.unwrap();
    let mut rows = conn.query_iter("SELECT seq FROM seq_1_to_10000").await.unwrap();
    rows.next().await.unwrap();
    drop(rows);
    drop(conn);
    let mut conn = pool.get_async().await.unwrap();
    assert_eq!(conn.query_first("SELECT 'theirs'").await.unwrap(), Some("theirs".to_owned()));
    drop(conn);
    assert_eq!((pool.stats().connects, pool.stats().resets), (1, 1));
    close(&pool);
}

#[test]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
fn after_a_read_timeout_no_thread_is_given_the_answer_that_came_too_late() {
    use mysql::prelude::Queryable;
    let server = MariaDb::start(&[]);
    let opts = mysql::OptsBuilder::from_opts(mysql::Opts::from_url(&server.url()).unwrap());
    let opts = opts.read_timeout(Some(Duration::from_millis(200)));
    let pool = Pool::builder(MysqlManager::new(opts)).max_size(1).build().unwrap();
    let slow = "SELECT 'mine', SLEEP(0.6)";
    type Misuse = (&'static str, EvictionCause, fn(&mut MysqlConnection, &str));
    let misuses: [Misuse; 3] = [
        ("seen", EvictionCause::Broken, |conn, sql| {
            conn.query_drop(sql).unwrap_err();
        }),
        ("out of sight", EvictionCause::ResetFailed, |conn, sql| {
            (**conn).query_drop(sql).unwrap_err();
        }),
        // A row arrives in time, the next one does not; the driver swallows the error.
        ("swallowed", EvictionCause::ResetFailed, |conn, _| {
            let rows = "SELECT REPEAT('mine', 100), SLEEP(seq DIV 2000) FROM seq_1_to_2000";
            drop((**conn).query_iter(rows).unwrap());
        }),
    ];
    for (n, (what, eviction, misuse)) in misuses.into_iter().enumerate() {
        let before = pool.stats().evictions.by(eviction);
        let mut conn = pool.get().unwrap();
        misuse(&mut conn, slow);
        drop(conn);
        let mut conn = pool.get_timeout(PLENTY).unwrap();
        let answer: Option<String> = conn.query_first("SELECT 'theirs'").unwrap();
        assert_eq!(answer.as_deref(), Some("theirs"), "{what}");
        drop(conn);
        let stats = pool.stats();
        assert_eq!(stats.evictions.by(eviction), before + 1, "{what}: {stats}");
        assert_eq!(stats.connects as usize, n + 2, "{what}: {stats}");
    }
    close(&pool);
}

#[test]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
fn connections_for_tasks_live_on_the_runtime_they_were_given() {
    let server = MariaDb::start(&[]);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let told = AsyncMysqlManager::from_url(&server.url()).unwrap();
    let told = told.runtime(runtime.handle().clone());
    let handle = runtime.handle().clone();
    let spawned = AsyncMysqlManager::from_url(&server.url()).unwrap();
    for pool in [
        Pool::builder_async(told).build().unwrap(),
        Pool::builder_async(spawned).spawner(move |task| drop(handle.spawn(task))).build().unwrap(),
    ] {
        let mut conn = pool.get_timeout(PLENTY).unwrap();
        runtime.block_on(echo::<AsyncMysqlManager>(&mut conn, 5)).unwrap();
        drop(conn);
        close(&pool);
    }
}

#[test]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
fn each_connection_of_a_thread_passes_through_the_hook_once() {
    use mysql::prelude::Queryable;
    let server = MariaDb::start(&[]);
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    let manager = MysqlManager::from_url(&server.url()).unwrap().on_connect(move |conn| {
        seen.fetch_add(1, SeqCst);
        conn.query_drop("SET SESSION wait_timeout = 77, autocommit = 0")
    });
    let pool = Pool::builder(manager).max_size(2).build().unwrap();
    for _ in 0..3 {
        for mut conn in [pool.get().unwrap(), pool.get().unwrap()] {
            let found: Option<(u32, u32)> =
                conn.query_first("SELECT @@wait_timeout, @@autocommit").unwrap();
            assert_eq!(found, Some((77, 0)));
            conn.query_drop("SET autocommit = 1").unwrap();
        }
    }
    eventually("all are back", || pool.stats().idle == 2);
    assert_eq!(calls.load(SeqCst), 2);
    close(&pool);

    let manager = MysqlManager::from_url(&server.url()).unwrap();
    let manager = manager.on_connect(|conn| conn.query_drop("SET no_such_thing = 1"));
    let error = Pool::builder(manager).build().unwrap().get_timeout(PLENTY).unwrap_err();
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
}
