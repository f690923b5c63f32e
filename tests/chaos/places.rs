//! The servers, and how each is asked something that only the right answer fits.

use super::common::servers::{mariadb, postgres, redis};
use caliburn::adapters::mysql::{AsyncMysqlManager, MysqlManager};
use caliburn::adapters::postgres::{AsyncPostgresManager, PostgresManager};
use caliburn::adapters::redis::{AsyncRedisManager, RedisManager};
use caliburn::{AsyncManager, BlockingManager, Manager};
use mysql::prelude::Queryable as _;
use mysql_async::prelude::Queryable as _;
use std::net::SocketAddr;
use std::time::Duration;

/// A server that is reached by way of a proxy.
pub(crate) trait Place: Sized + 'static {
    type Blocking: BlockingManager;
    type Async: AsyncManager;

    /// Sessions that the server may still have while others take their place.
    const ON_THEIR_WAY_OUT: usize = 0;

    fn start() -> Self;
    fn seat(&mut self) -> &mut Seat;
    fn restart(&mut self);
    /// The pool's sessions, as the server itself tells.
    fn sessions(&mut self) -> usize;

    fn blocking(&self, proxy: SocketAddr) -> Self::Blocking;
    fn for_tasks(&self, proxy: SocketAddr) -> Self::Async;

    /// Asks for `number` back, after `pause`. `None`: it failed.
    fn ask(
        conn: &mut <Self::Blocking as Manager>::Connection,
        number: u64,
        pause: Duration,
    ) -> Option<u64>;
    async fn ask_async(
        conn: &mut <Self::Async as Manager>::Connection,
        number: u64,
        pause: Duration,
    ) -> Option<u64>;
    /// Leaves a transaction open.
    fn begin(conn: &mut <Self::Blocking as Manager>::Connection);
    async fn begin_async(conn: &mut <Self::Async as Manager>::Connection);
}

pub(crate) use super::common::servers::process::Seat;

pub(crate) struct Postgres(postgres::Postgres);

impl Postgres {
    fn config(&self, proxy: SocketAddr) -> String {
        let (host, port, user) = (proxy.ip(), proxy.port(), postgres::SUPERUSER);
        format!("host={host} port={port} user={user} dbname=postgres application_name=chaos")
    }
}

impl Place for Postgres {
    type Blocking = PostgresManager;
    type Async = AsyncPostgresManager;

    fn start() -> Self {
        Self(postgres::Postgres::start(&[]))
    }

    fn seat(&mut self) -> &mut Seat {
        &mut self.0
    }

    fn restart(&mut self) {
        self.0.restart();
    }

    fn sessions(&mut self) -> usize {
        self.0.sessions("chaos")
    }

    fn blocking(&self, proxy: SocketAddr) -> PostgresManager {
        PostgresManager::new(self.config(proxy).parse().unwrap())
    }

    fn for_tasks(&self, proxy: SocketAddr) -> AsyncPostgresManager {
        AsyncPostgresManager::new(self.config(proxy).parse().unwrap())
    }

    fn ask(
        conn: &mut <PostgresManager as Manager>::Connection,
        number: u64,
        pause: Duration,
    ) -> Option<u64> {
        let sql = "SELECT $1::int8 FROM pg_sleep($2)";
        let row = conn.query_one(sql, &[&(number as i64), &pause.as_secs_f64()]).ok()?;
        Some(row.get::<_, i64>(0) as u64)
    }

    async fn ask_async(
        conn: &mut <AsyncPostgresManager as Manager>::Connection,
        number: u64,
        pause: Duration,
    ) -> Option<u64> {
        let sql = "SELECT $1::int8 FROM pg_sleep($2)";
        let row = conn.query_one(sql, &[&(number as i64), &pause.as_secs_f64()]).await.ok()?;
        Some(row.get::<_, i64>(0) as u64)
    }

    fn begin(conn: &mut <PostgresManager as Manager>::Connection) {
        let _ = conn.batch_execute("BEGIN");
    }

    async fn begin_async(conn: &mut <AsyncPostgresManager as Manager>::Connection) {
        let _ = conn.batch_execute("BEGIN").await;
    }
}

pub(crate) struct MariaDb(mariadb::MariaDb);

impl MariaDb {
    fn url(&self, proxy: SocketAddr) -> String {
        use mariadb::{DATABASE, PASSWORD, USER};
        format!("mysql://{USER}:{PASSWORD}@{proxy}/{DATABASE}")
    }
}

impl Place for MariaDb {
    type Blocking = MysqlManager;
    type Async = AsyncMysqlManager;

    /// The drivers do not wait until the server has read their goodbye; and the one for tasks ends
    /// the connection of each request that is given up, which goes on at the server until that is
    /// told.
    const ON_THEIR_WAY_OUT: usize = 24;

    fn start() -> Self {
        Self(mariadb::MariaDb::start(&[]))
    }

    fn seat(&mut self) -> &mut Seat {
        &mut self.0
    }

    fn restart(&mut self) {
        self.0.restart();
    }

    fn sessions(&mut self) -> usize {
        self.0.sessions().len()
    }

    fn blocking(&self, proxy: SocketAddr) -> MysqlManager {
        MysqlManager::from_url(&self.url(proxy)).unwrap()
    }

    fn for_tasks(&self, proxy: SocketAddr) -> AsyncMysqlManager {
        AsyncMysqlManager::from_url(&self.url(proxy)).unwrap()
    }

    fn ask(
        conn: &mut <MysqlManager as Manager>::Connection,
        number: u64,
        pause: Duration,
    ) -> Option<u64> {
        let sql = "SELECT CAST(? AS UNSIGNED), SLEEP(?)";
        let row: Option<(u64, u8)> = conn.exec_first(sql, (number, pause.as_secs_f64())).ok()?;
        row.map(|(number, _)| number)
    }

    async fn ask_async(
        conn: &mut <AsyncMysqlManager as Manager>::Connection,
        number: u64,
        pause: Duration,
    ) -> Option<u64> {
        let sql = "SELECT CAST(? AS UNSIGNED), SLEEP(?)";
        let row: Option<(u64, u8)> =
            conn.exec_first(sql, (number, pause.as_secs_f64())).await.ok()?;
        row.map(|(number, _)| number)
    }

    fn begin(conn: &mut <MysqlManager as Manager>::Connection) {
        let _ = conn.query_drop("BEGIN");
    }

    async fn begin_async(conn: &mut <AsyncMysqlManager as Manager>::Connection) {
        let _ = conn.query_drop("BEGIN").await;
    }
}

pub(crate) struct Redis(redis::Redis);

impl Place for Redis {
    type Blocking = RedisManager;
    type Async = AsyncRedisManager;

    /// A connection is closed without a word to the server. One that was frozen may see the new
    /// sessions before the ends of those they replace.
    const ON_THEIR_WAY_OUT: usize = 8;

    fn start() -> Self {
        Self(redis::Redis::start(&[]))
    }

    fn seat(&mut self) -> &mut Seat {
        &mut self.0
    }

    fn restart(&mut self) {
        self.0.restart();
    }

    fn sessions(&mut self) -> usize {
        self.0.eye().others()
    }

    fn blocking(&self, proxy: SocketAddr) -> RedisManager {
        let manager = RedisManager::new(format!("redis://{proxy}/")).unwrap();
        manager.response_timeout(Some(Duration::from_secs(1)))
    }

    fn for_tasks(&self, proxy: SocketAddr) -> AsyncRedisManager {
        let manager = AsyncRedisManager::new(format!("redis://{proxy}/")).unwrap();
        manager.response_timeout(Some(Duration::from_secs(1)))
    }

    fn ask(
        conn: &mut <RedisManager as Manager>::Connection,
        number: u64,
        pause: Duration,
    ) -> Option<u64> {
        // A list that stays empty.
        let mut wait = ::redis::cmd("BLPOP");
        let _: Option<(String, String)> =
            wait.arg("nothing").arg(pause.as_secs_f64().max(0.001)).query(conn).ok()?;
        ::redis::cmd("ECHO").arg(number).query(conn).ok()
    }

    async fn ask_async(
        conn: &mut <AsyncRedisManager as Manager>::Connection,
        number: u64,
        pause: Duration,
    ) -> Option<u64> {
        let mut wait = ::redis::cmd("BLPOP");
        let wait = wait.arg("nothing").arg(pause.as_secs_f64().max(0.001));
        let _: Option<(String, String)> = wait.query_async(conn).await.ok()?;
        ::redis::cmd("ECHO").arg(number).query_async(conn).await.ok()
    }

    fn begin(conn: &mut <RedisManager as Manager>::Connection) {
        let _ = ::redis::cmd("MULTI").exec(conn);
    }

    async fn begin_async(conn: &mut <AsyncRedisManager as Manager>::Connection) {
        let _ = ::redis::cmd("MULTI").exec_async(conn).await;
    }
}
