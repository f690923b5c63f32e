//! Both PostgreSQL adapters behind one face, for scenarios that are the same for both.

pub use super::pg_pretence::{Pretence, Pretended};
use super::servers::postgres::Postgres;
use super::{PLENTY, eventually};
use bytes::Bytes;
use caliburn::adapters::Reset;
use caliburn::adapters::postgres::{AsyncPostgresManager, PostgresManager};
use caliburn::{Builder, Manager, Pool};
use futures_util::{SinkExt, StreamExt};
use std::fmt::Debug;
use std::io::{Read, Write};
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::time::Duration;
use tokio::runtime::{self, Runtime};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{CopyInSink, Error, NoTls, SimpleQueryMessage, Socket};

/// Where the connections of the async driver live.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

pub trait Driver: Manager<Error = Error, Connection: Debug> + Debug {
    fn open(dsn: &str) -> Self;
    /// A pool whose new connections are greeted so.
    fn greeting(builder: Builder<Self>, sql: &'static str) -> Builder<Self>
    where
        Self: Sized;
    fn reset(self, reset: Reset) -> Self;
    fn cancel_after(self, grace: Option<Duration>) -> Self;
    fn response_timeout(self, timeout: Option<Duration>) -> Self;
    fn statement_cache_size(self, statements: usize) -> Self;
    fn secured_by<T>(self, connector: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send;
    fn builder(self) -> Builder<Self>
    where
        Self: Sized;

    /// The first column of the first row, if there is one; `Err` as the driver says.
    fn ask(client: &mut Self::Connection, sql: &str) -> Result<Option<String>, Error>;

    /// With a parameter, and so with a statement of its own that ends with the query.
    fn echo(client: &mut Self::Connection, number: i64) -> Result<i64, Error>;

    /// With a statement of its own, whose types the driver looks up.
    fn echo_as(client: &mut Self::Connection, sql: &str) -> Result<(), Error>;

    /// With a parameter, in one round trip and without a statement that has a name.
    fn echo_at_once(client: &mut Self::Connection, number: i64) -> Result<i64, Error>;

    /// With a statement that the connection keeps, executed by the driver's own means.
    fn kept(client: &mut Self::Connection, sql: &str) -> Result<i64, Error>;

    /// The same in one call.
    fn kept_at_once(client: &mut Self::Connection, sql: &str) -> Result<i64, Error>;

    /// The same with a parameter.
    fn kept_with(
        client: &mut Self::Connection,
        sql: &str,
        parameter: &(dyn ToSql + Sync),
    ) -> Result<(), Error>;

    /// The same within a transaction, which is committed.
    fn kept_in_transaction(client: &mut Self::Connection, sql: &str) -> Result<i64, Error>;

    /// Begins a transaction by the driver's own means, and forgets it.
    fn begin_and_forget(client: &mut Self::Connection) -> Result<(), Error>;

    /// Asks the server to give up what that client asks for.
    fn canceller(client: &Self::Connection) -> impl Fn() + Send + 'static;

    /// The same, once, whether it can be done or not.
    fn cancel_somehow(client: &Self::Connection);

    /// A copy into the table `song` or out of it: in five ways by turns, of which only the first
    /// writes a line and ends well.
    fn copy(client: &mut Self::Connection, way: i64);

    /// A copy into something that the server does not refuse before it has asked for lines; ended
    /// in this way or that, at once or later, and with the statement still there.
    fn copy_in_vain(client: &mut Self::Connection, way: i64);
}

/// Long enough for the server to have said all it has to say; the load itself.
fn dawdle(way: i64) {
    std::thread::sleep(Duration::from_millis(if way % 4 < 2 { 3 } else { 0 }));
}

const ECHO: &str = "SELECT $1::INT8";
const COPY_IN: &str = "COPY song FROM STDIN";
const COPY_OUT: &str = "COPY (SELECT generate_series(1, 100000)) TO STDOUT";

impl Driver for PostgresManager {
    fn open(dsn: &str) -> Self {
        Self::new(dsn.parse().expect("a DSN"))
    }

    fn greeting(builder: Builder<Self>, sql: &'static str) -> Builder<Self> {
        builder.after_connect(move |client, _| Ok(client.batch_execute(sql)?))
    }

    fn reset(self, reset: Reset) -> Self {
        self.reset(reset)
    }

    fn cancel_after(self, grace: Option<Duration>) -> Self {
        self.cancel_after(grace)
    }

    fn response_timeout(self, timeout: Option<Duration>) -> Self {
        self.response_timeout(timeout)
    }

    fn statement_cache_size(self, statements: usize) -> Self {
        self.statement_cache_size(statements)
    }

    fn secured_by<T>(self, connector: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        self.tls(connector)
    }

    fn builder(self) -> Builder<Self> {
        Pool::builder(self)
    }

    fn ask(client: &mut Self::Connection, sql: &str) -> Result<Option<String>, Error> {
        client.simple_query(sql).map(|answer| first(&answer))
    }

    fn echo(client: &mut Self::Connection, number: i64) -> Result<i64, Error> {
        client.query_one(ECHO, &[&number]).map(|row| row.get(0))
    }

    fn echo_as(client: &mut Self::Connection, sql: &str) -> Result<(), Error> {
        client.query(sql, &[]).map(drop)
    }

    fn echo_at_once(client: &mut Self::Connection, number: i64) -> Result<i64, Error> {
        client.query_typed(ECHO, &[(&number, Type::INT8)]).map(|rows| rows[0].get(0))
    }

    fn kept(client: &mut Self::Connection, sql: &str) -> Result<i64, Error> {
        let statement = client.prepare_cached(sql)?;
        client.query_one(&statement, &[]).map(|row| row.get(0))
    }

    fn kept_at_once(client: &mut Self::Connection, sql: &str) -> Result<i64, Error> {
        client.query_one_cached(sql, &[]).map(|row| row.get(0))
    }

    fn kept_with(
        client: &mut Self::Connection,
        sql: &str,
        parameter: &(dyn ToSql + Sync),
    ) -> Result<(), Error> {
        client.query_cached(sql, &[parameter]).map(drop)
    }

    fn kept_in_transaction(client: &mut Self::Connection, sql: &str) -> Result<i64, Error> {
        let mut transaction = client.transaction()?;
        let statement = transaction.prepare_cached(sql)?;
        let row = transaction.query_one(&statement, &[])?;
        transaction.commit().map(|()| row.get(0))
    }

    fn begin_and_forget(client: &mut Self::Connection) -> Result<(), Error> {
        std::mem::forget(client.transaction()?);
        Ok(())
    }

    fn canceller(client: &Self::Connection) -> impl Fn() + Send + 'static {
        let token = client.cancel_token();
        move || token.cancel_query(NoTls).expect("a way to the server")
    }

    fn cancel_somehow(client: &Self::Connection) {
        let _ = client.cancel_token().cancel_query(Pretence);
    }

    fn copy(client: &mut Self::Connection, way: i64) {
        match way % 5 {
            0 => {
                let mut writer = client.copy_in(COPY_IN).unwrap();
                writer.write_all(b"Nimue\n").unwrap();
                assert_eq!(writer.finish().unwrap(), 1);
            }
            1 => {
                let mut writer = client.copy_in(COPY_IN).unwrap();
                writer.write_all(b"half a li").unwrap();
            }
            2 => {
                let failed = client.copy_in("COPY nothing FROM STDIN");
                assert!(failed.is_err());
            }
            3 => {
                let mut some = [0; 4];
                client.copy_out(COPY_OUT).unwrap().read_exact(&mut some).unwrap();
            }
            _ => {
                let mut all = Vec::new();
                client.copy_out(COPY_OUT).unwrap().read_to_end(&mut all).unwrap();
            }
        }
    }

    fn copy_in_vain(client: &mut Self::Connection, way: i64) {
        let statement = client.prepare(COPY_IN).unwrap();
        if let Ok(mut writer) = client.copy_in(&statement) {
            writer.write_all(b"1\n").unwrap();
            dawdle(way);
            if way % 2 == 0 {
                writer.finish().unwrap_err();
            }
        }
        std::mem::forget(statement);
    }
}

impl Driver for AsyncPostgresManager {
    fn open(dsn: &str) -> Self {
        Self::new(dsn.parse().expect("a DSN")).runtime(RUNTIME.handle().clone())
    }

    fn greeting(builder: Builder<Self>, sql: &'static str) -> Builder<Self> {
        builder.after_connect_async(move |client, _| {
            Box::pin(async move { Ok(client.batch_execute(sql).await?) })
        })
    }

    fn reset(self, reset: Reset) -> Self {
        self.reset(reset)
    }

    fn cancel_after(self, grace: Option<Duration>) -> Self {
        self.cancel_after(grace)
    }

    fn response_timeout(self, timeout: Option<Duration>) -> Self {
        self.response_timeout(timeout)
    }

    fn statement_cache_size(self, statements: usize) -> Self {
        self.statement_cache_size(statements)
    }

    fn secured_by<T>(self, connector: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        self.tls(connector)
    }

    fn builder(self) -> Builder<Self> {
        Pool::builder_async(self).spawner(|task| drop(RUNTIME.spawn(task)))
    }

    fn ask(client: &mut Self::Connection, sql: &str) -> Result<Option<String>, Error> {
        RUNTIME.block_on(client.simple_query(sql)).map(|answer| first(&answer))
    }

    fn echo(client: &mut Self::Connection, number: i64) -> Result<i64, Error> {
        RUNTIME.block_on(client.query_one(ECHO, &[&number])).map(|row| row.get(0))
    }

    fn echo_as(client: &mut Self::Connection, sql: &str) -> Result<(), Error> {
        RUNTIME.block_on(client.query(sql, &[])).map(drop)
    }

    fn echo_at_once(client: &mut Self::Connection, number: i64) -> Result<i64, Error> {
        let rows = RUNTIME.block_on(client.query_typed(ECHO, &[(&number, Type::INT8)]))?;
        Ok(rows[0].get(0))
    }

    fn kept(client: &mut Self::Connection, sql: &str) -> Result<i64, Error> {
        RUNTIME.block_on(async {
            let statement = client.prepare_cached(sql).await?;
            client.query_one(&statement, &[]).await.map(|row| row.get(0))
        })
    }

    fn kept_at_once(client: &mut Self::Connection, sql: &str) -> Result<i64, Error> {
        RUNTIME.block_on(client.query_one_cached(sql, &[])).map(|row| row.get(0))
    }

    fn kept_with(
        client: &mut Self::Connection,
        sql: &str,
        parameter: &(dyn ToSql + Sync),
    ) -> Result<(), Error> {
        RUNTIME.block_on(client.query_cached(sql, &[parameter])).map(drop)
    }

    fn kept_in_transaction(client: &mut Self::Connection, sql: &str) -> Result<i64, Error> {
        RUNTIME.block_on(async {
            let transaction = client.transaction().await?;
            let statement = transaction.prepare_cached(sql).await?;
            let row = transaction.query_one(&statement, &[]).await?;
            transaction.commit().await.map(|()| row.get(0))
        })
    }

    fn begin_and_forget(client: &mut Self::Connection) -> Result<(), Error> {
        std::mem::forget(RUNTIME.block_on(client.transaction())?);
        Ok(())
    }

    fn canceller(client: &Self::Connection) -> impl Fn() + Send + 'static {
        let token = client.cancel_token();
        move || RUNTIME.block_on(token.cancel_query(NoTls)).expect("a way to the server")
    }

    fn cancel_somehow(client: &Self::Connection) {
        let _ = RUNTIME.block_on(client.cancel_token().cancel_query(Pretence));
    }

    fn copy(client: &mut Self::Connection, way: i64) {
        RUNTIME.block_on(async {
            match way % 5 {
                0 => {
                    let mut sink = pin!(client.copy_in(COPY_IN).await.unwrap());
                    send(sink.as_mut(), b"Nimue\n").await;
                    assert_eq!(sink.finish().await.unwrap(), 1);
                }
                1 => {
                    let mut sink = pin!(client.copy_in(COPY_IN).await.unwrap());
                    send(sink.as_mut(), b"half a li").await;
                }
                2 => {
                    let failed = client.copy_in::<_, Bytes>("COPY nothing FROM STDIN").await;
                    assert!(failed.is_err());
                }
                3 => {
                    let mut rows = pin!(client.copy_out(COPY_OUT).await.unwrap());
                    rows.next().await.unwrap().unwrap();
                }
                _ => {
                    let mut rows = pin!(client.copy_out(COPY_OUT).await.unwrap());
                    while rows.next().await.is_some() {}
                }
            }
        });
    }

    fn copy_in_vain(client: &mut Self::Connection, way: i64) {
        RUNTIME.block_on(copy_in_vain(client, way));
    }
}

async fn copy_in_vain(client: &tokio_postgres::Client, way: i64) {
    let statement = client.prepare(COPY_IN).await.unwrap();
    if let Ok(sink) = client.copy_in(&statement).await {
        let mut sink = pin!(sink);
        send(sink.as_mut(), b"1\n").await;
        dawdle(way);
        if way % 2 == 0 {
            sink.finish().await.unwrap_err();
        }
    }
    std::mem::forget(statement);
}

async fn send(sink: Pin<&mut CopyInSink<Bytes>>, bytes: &'static [u8]) {
    let mut sink = sink;
    sink.send(Bytes::from_static(bytes)).await.unwrap();
}

fn first(answer: &[SimpleQueryMessage]) -> Option<String> {
    answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(Into::into),
        _ => None,
    })
}

/// A DSN whose sessions can be told from others.
pub fn named(server: &Postgres, application: &str) -> String {
    format!("{} application_name={application}", server.dsn())
}

/// One connection, so that each borrower gets what the last one left.
pub fn single<D: Driver>(manager: D) -> Pool<D> {
    manager.builder().max_size(1).build().unwrap()
}

/// The same scenario for threads and for tasks.
#[macro_export]
macro_rules! both {
    ($($(#[$attribute:meta])* fn $name:ident<D: Driver>() $body:block)*) => {$(
        mod $name {
            use super::*;

            fn scenario<D: Driver>() $body

            $(#[$attribute])*
            #[test]
            fn with_threads() {
                scenario::<PostgresManager>();
            }

            $(#[$attribute])*
            #[test]
            fn with_tasks() {
                scenario::<AsyncPostgresManager>();
            }
        }
    )*};
}
pub use both;

pub fn ask<D: Driver>(pool: &Pool<D>, sql: &str) -> Option<String> {
    D::ask(&mut pool.get_timeout(PLENTY).unwrap(), sql).unwrap()
}

/// Somebody sets this within a transaction; nobody else may ever see it.
pub const MARK: &str = "SET LOCAL caliburn.mark = 'somebody'";
pub const READ_MARK: &str = "SELECT coalesce(current_setting('caliburn.mark', true), '')";

/// Connects fail, one after the other.
#[track_caller]
pub fn assert_more_than_one_is_tried<D: Driver>(pool: &Pool<D>) {
    eventually("more than one was tried", || {
        // None is tried for nobody.
        pool.get_timeout(Duration::from_millis(300)).map(drop).unwrap_err();
        pool.stats().connect_failures >= 2
    });
}

#[track_caller]
pub fn assert_unmarked<D: Driver>(pool: &Pool<D>, after: &str) {
    let mark = ask(pool, READ_MARK).unwrap();
    assert_eq!(mark, "", "in somebody else's transaction after: {after}");
}

/// The end of a chain of sources.
pub fn root<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

pub fn drivers<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a tokio_postgres::Error {
    let mut error = error;
    loop {
        if let Some(error) = error.downcast_ref() {
            return error;
        }
        error = error.source().expect("an error of the driver's");
    }
}
