//! Both MySQL adapters behind one face, for scenarios that are the same for both.

use super::PLENTY;
use super::servers::mariadb::{DATABASE, MariaDb, ROOT};
use caliburn::adapters::Reset;
use caliburn::adapters::mysql::{
    AsyncMysqlConnection, AsyncMysqlManager, MysqlConnection, MysqlManager,
};
use caliburn::{Builder, GetError, Manager, ManagerError, Pool, PooledConnection};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// What the two adapters have in common, as their callers see it.
pub trait Adapter: Manager<Connection: std::fmt::Debug, Error: Send> + Sized {
    fn manager(url: &str) -> Self;

    fn builder(manager: Self) -> Builder<Self>;

    /// Resets the session after each loan.
    fn renewing(self) -> Self;

    fn password_without_tls(self, is_allowed: bool) -> Self;

    /// With a limit for each call of a borrower's.
    fn answering_within(self, timeout: Duration) -> Self;

    /// Starts a caller: a thread or a task.
    fn spawn<T: Send + 'static>(caller: impl Future<Output = T> + Send + 'static) -> JoinHandle<T>;

    fn get(
        pool: &Pool<Self>,
    ) -> impl Future<Output = Result<PooledConnection<Self>, GetError<Self::Error>>> + Send;

    fn get_within(
        pool: &Pool<Self>,
        timeout: Duration,
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

    /// A transaction of the adapter's own, committed or left to be dropped.
    fn transact(
        conn: &mut Self::Connection,
        sql: &str,
        commits: bool,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Goes on as another user, who has no password, and in no database.
    fn become_another(
        conn: &mut Self::Connection,
        user: &str,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The statement, once for each of the numbers from 1 to 3.
    fn batch(
        conn: &mut Self::Connection,
        sql: &str,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

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

    fn password_without_tls(self, is_allowed: bool) -> Self {
        self.password_without_tls(is_allowed)
    }

    fn answering_within(self, timeout: Duration) -> Self {
        self.response_timeout(Some(timeout))
    }

    fn spawn<T: Send + 'static>(caller: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || runtime.block_on(caller))
    }

    async fn get(pool: &Pool<Self>) -> Result<PooledConnection<Self>, GetError<mysql::Error>> {
        pool.get()
    }

    async fn get_within(
        pool: &Pool<Self>,
        timeout: Duration,
    ) -> Result<PooledConnection<Self>, GetError<mysql::Error>> {
        pool.get_timeout(timeout)
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

    async fn transact(conn: &mut MysqlConnection, sql: &str, commits: bool) -> mysql::Result<()> {
        let mut transaction = conn.start_transaction(mysql::TxOpts::default())?;
        mysql::prelude::Queryable::query_drop(&mut transaction, sql)?;
        if commits { transaction.commit() } else { Ok(()) }
    }

    async fn become_another(conn: &mut MysqlConnection, user: &str) -> mysql::Result<()> {
        let other = mysql::ChangeUserOpts::new().with_user(Some(user.into()));
        conn.change_user(other.with_pass(None).with_db_name(None))
    }

    async fn batch(conn: &mut MysqlConnection, sql: &str) -> mysql::Result<()> {
        mysql::prelude::Queryable::exec_batch(conn, sql, (1..=3).map(|n| (n,)))
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

    fn password_without_tls(self, is_allowed: bool) -> Self {
        self.password_without_tls(is_allowed)
    }

    fn answering_within(self, timeout: Duration) -> Self {
        self.response_timeout(Some(timeout))
    }

    fn spawn<T: Send + 'static>(caller: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        tokio::spawn(caller)
    }

    async fn get(
        pool: &Pool<Self>,
    ) -> Result<PooledConnection<Self>, GetError<mysql_async::Error>> {
        pool.get_async().await
    }

    async fn get_within(
        pool: &Pool<Self>,
        timeout: Duration,
    ) -> Result<PooledConnection<Self>, GetError<mysql_async::Error>> {
        pool.get_timeout_async(timeout).await
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

    async fn transact(
        conn: &mut AsyncMysqlConnection,
        sql: &str,
        commits: bool,
    ) -> mysql_async::Result<()> {
        let mut transaction = conn.start_transaction(Default::default()).await?;
        mysql_async::prelude::Queryable::query_drop(&mut transaction, sql).await?;
        if commits { transaction.commit().await } else { Ok(()) }
    }

    async fn become_another(
        conn: &mut AsyncMysqlConnection,
        user: &str,
    ) -> mysql_async::Result<()> {
        let other = mysql_async::ChangeUserOpts::new().with_user(Some(user.into()));
        conn.change_user(other.with_pass(None).with_db_name(None)).await
    }

    async fn batch(conn: &mut AsyncMysqlConnection, sql: &str) -> mysql_async::Result<()> {
        let numbers: Vec<_> = (1..=3).map(|n| (n,)).collect();
        mysql_async::prelude::Queryable::exec_batch(conn, sql, numbers).await
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
#[macro_export]
macro_rules! harnesses {
    ($($(#[$attribute:meta])* $harness:ident)+) => {
        mod threads {
            $(
                #[test]
                $(#[$attribute])*
                fn $harness() {
                    $crate::my::play(super::$harness::<
                        caliburn::adapters::mysql::MysqlManager,
                    >());
                }
            )+
        }

        mod tasks {
            $(
                #[test]
                $(#[$attribute])*
                fn $harness() {
                    $crate::my::play(super::$harness::<
                        caliburn::adapters::mysql::AsyncMysqlManager,
                    >());
                }
            )+
        }
    };
}
pub use harnesses;

pub fn play(harness: impl Future<Output = ()>) {
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
pub async fn all<A: Adapter, T, F>(callers: usize, caller: impl Fn(usize) -> F) -> Vec<T>
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
pub async fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PLENTY, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub fn close<M: Manager>(pool: &Pool<M>) {
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete(), "{report}");
}

/// Every slot is accounted for, and none is out of service.
pub async fn whole<M: Manager>(pool: &Pool<M>) {
    soon("every slot is idle or vacant", || {
        let stats = pool.stats();
        stats.idle + stats.vacant + stats.retired == stats.capacity && stats.waiting == 0
    })
    .await;
}

/// Asks for a number and for nothing else.
pub async fn echo<A: Adapter>(conn: &mut A::Connection, number: usize) -> Result<(), A::Error> {
    let answer = A::ask(conn, &format!("SELECT {number}")).await?;
    assert_eq!(answer.as_deref(), Some(&*number.to_string()), "somebody else's answer");
    Ok(())
}

pub async fn close_all<M: Manager>(held: Vec<PooledConnection<M>>, pool: &Pool<M>) {
    drop(held);
    whole(pool).await;
    close(pool);
}

/// A connection of root's, for an eye that is not the pool's.
pub fn root(server: &MariaDb) -> mysql::Conn {
    let opts = mysql::Opts::from_url(&server.url_as(ROOT, "", DATABASE)).unwrap();
    mysql::Conn::new(mysql::OptsBuilder::from_opts(opts).prefer_socket(false)).unwrap()
}

/// A pool of one, and a table to write to.
pub fn alone<A: Adapter>(server: &MariaDb) -> Pool<A> {
    use mysql::prelude::Queryable;
    let insert = "INSERT INTO song VALUES (1)";
    let mut root = root(server);
    root.query_drop("CREATE TABLE song (id INT NOT NULL)").unwrap();
    root.query_drop(format!("CREATE PROCEDURE beginning() BEGIN START TRANSACTION; {insert}; END"))
        .unwrap();
    A::builder(A::manager(&server.url())).max_size(1).build().unwrap()
}

/// The manager's error behind a `get` that failed, and how long that took.
pub async fn refusal<A: Adapter>(pool: &Pool<A>) -> (GetError<A::Error>, Duration) {
    let begun = Instant::now();
    let error = A::get(pool).await.expect_err("no connection can be had");
    (error, begun.elapsed())
}

pub fn cause<E>(error: &GetError<E>) -> &ManagerError<E> {
    match error {
        GetError::Connect { cause, .. } | GetError::TimedOut { cause: Some(cause), .. } => cause,
        _ => panic!("no cause"),
    }
}
