//! PostgreSQL for tasks, by way of [tokio-postgres](https://docs.rs/tokio-postgres).

use super::route::{Plain, Probe, Reachable as _, Route, Secured, classify};
use super::session::{Driver, Session};
use super::tap::Tap;
use crate::adapters::idle::Idle;
use crate::adapters::runtime::{Home, Runtimes};
use crate::{AsyncManager, Deadline, ErrorClass, Face, Manager};
use std::any::TypeId;
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{CancelToken, Client, Config, Connection, Error, NoTls, Socket};

/// Opens connections to PostgreSQL.
///
/// A transaction that a borrower left open is rolled back before anybody else gets the connection;
/// so is one that a dropped future may still be about to open. Whether there is one is read off the
/// server's answers, so a clean connection costs no round trip on its way back. What else a
/// borrower changed (settings, temporary tables, advisory locks, prepared statements) stays, unless
/// [`on_return`](Self::on_return) says otherwise.
///
/// A borrower's future may be dropped in the middle of a query: the driver keeps requests and
/// answers in step. The query itself runs on at the server, and the connection waits for it before
/// it is lent again, `reset_timeout` at most.
///
/// Refused credentials, a missing database and all else that trying again would not change are
/// [permanent](ErrorClass::Permanent) errors: borrowers learn of them at once. A server that is
/// down, starts up, or has too many connections is a transient one. With several hosts all errors
/// are, as the driver tells only what the last one said.
///
/// Connections live on the tokio runtime on which [`new`](Self::new) was called, or the one given
/// to [`runtime`](Self::runtime).
///
/// ```no_run
/// use caliburn::Pool;
/// use caliburn::adapters::postgres::AsyncPostgresManager;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = AsyncPostgresManager::new("host=localhost user=app dbname=songs".parse()?);
/// let pool = Pool::builder_async(manager).max_size(8).build()?;
///
/// let client = pool.get_async().await?;
/// let row = client.query_one("SELECT count(*) FROM song", &[]).await?;
/// let count: i64 = row.get(0);
/// # let _ = count;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct AsyncPostgresManager {
    config: Config,
    tls: Option<Box<dyn Secure>>,
    runtimes: Runtimes,
    before_connect: Option<Box<Hook>>,
    on_connect: Option<String>,
    on_return: Option<String>,
}

type Hook = dyn Fn(&mut Config) + Send + Sync;
type Opened = Result<(Client, Driver), Error>;

impl AsyncPostgresManager {
    /// Connections as `config` says, without TLS.
    ///
    /// With several hosts the driver takes the first that will have it, each time anew; with
    /// `target_session_attrs=read-write` that is the primary, wherever it moves.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            tls: None,
            runtimes: Runtimes::here(),
            before_connect: None,
            on_connect: None,
            on_return: None,
        }
    }

    /// How to secure connections, where `sslmode` allows it: a connector of `postgres-native-tls`
    /// or `tokio-postgres-rustls`, for example.
    ///
    /// If the server then wants none (with `sslmode=prefer`), transactions cannot be listened for,
    /// and each connection that comes back costs a round trip.
    pub fn tls<T>(mut self, connector: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        // The driver's way to say that there is none.
        let is_one = TypeId::of::<T>() != TypeId::of::<NoTls>();
        self.tls = is_one.then(|| Box::new(connector) as _);
        self
    }

    /// Where connections live. Default: the runtime on which [`new`](Self::new) was called. Without
    /// any, connects panic, which borrowers see as their cause for having waited in vain.
    pub fn runtime(mut self, handle: Handle) -> Self {
        self.runtimes.choose(handle);
        self
    }

    /// Called with a copy of the configuration before each connect: to fill in a password that
    /// changes, for example. It must not block.
    ///
    /// ```no_run
    /// # use caliburn::adapters::postgres::AsyncPostgresManager;
    /// # fn token_of_the_hour() -> String { String::new() }
    /// # fn example() -> Result<(), tokio_postgres::Error> {
    /// let manager = AsyncPostgresManager::new("host=db user=app".parse()?)
    ///     .before_connect(|config| { config.password(token_of_the_hour()); });
    /// # let _ = manager;
    /// # Ok(())
    /// # }
    /// ```
    pub fn before_connect(mut self, hook: impl Fn(&mut Config) + Send + Sync + 'static) -> Self {
        self.before_connect = Some(Box::new(hook));
        self
    }

    /// SQL to run on each new connection before it is lent. If it fails, so does the connect.
    ///
    /// ```no_run
    /// # use caliburn::adapters::postgres::AsyncPostgresManager;
    /// # fn example() -> Result<(), tokio_postgres::Error> {
    /// let manager = AsyncPostgresManager::new("host=db user=app".parse()?)
    ///     .on_connect("SET statement_timeout = '5s'; SET search_path = songs");
    /// # let _ = manager;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_connect(mut self, sql: impl Into<String>) -> Self {
        self.on_connect = Some(sql.into());
        self
    }

    /// SQL to run on each connection that comes back, after a rollback if one is due. If it fails,
    /// the connection is replaced. It costs a round trip on the pool's side each time.
    ///
    /// [`CLEAN_SESSION`](super::CLEAN_SESSION) makes a session as good as new but for its prepared
    /// statements. (Not `DISCARD ALL`, which takes away statements that the driver still counts
    /// on.) What [`on_connect`](Self::on_connect) has set goes as well: have it in the DSN instead,
    /// as `options='-c statement_timeout=5s'`.
    ///
    /// ```no_run
    /// # use caliburn::adapters::postgres::{CLEAN_SESSION, AsyncPostgresManager};
    /// # fn example() -> Result<(), tokio_postgres::Error> {
    /// let manager = AsyncPostgresManager::new("host=db user=app".parse()?).on_return(CLEAN_SESSION);
    /// # let _ = manager;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_return(mut self, sql: impl Into<String>) -> Self {
        self.on_return = Some(sql.into());
        self
    }

    async fn open(&self) -> Result<(Client, Session, bool), Error> {
        let mut config = self.config.clone();
        if let Some(hook) = &self.before_connect {
            hook(&mut config);
        }
        let tap = Tap::default();
        let route = Route::of(&config, self.tls.is_some());
        let (client, driver) = match (route, &self.tls) {
            (Route::Secured, Some(tls)) => tls.connect(&config, tap.clone()).await?,
            (Route::Plain, _) => boxed(config.in_plain().connect(Plain(tap.clone())).await)?,
            _ => boxed(config.connect(NoTls).await)?,
        };
        let session = Session::spawn(driver, tap);
        if let Some(sql) = &self.on_connect {
            client.batch_execute(sql).await?;
        }
        Ok((client, session, route == Route::Plain))
    }
}

/// A TLS connector of whatever kind.
trait Secure: Send + Sync {
    fn connect<'a>(
        &'a self,
        config: &'a Config,
        tap: Tap,
    ) -> Pin<Box<dyn Future<Output = Opened> + Send + 'a>>;
}

impl<T> Secure for T
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    fn connect<'a>(
        &'a self,
        config: &'a Config,
        tap: Tap,
    ) -> Pin<Box<dyn Future<Output = Opened> + Send + 'a>> {
        let secured = Secured { tls: self.clone(), tap };
        Box::pin(async move { boxed(config.connect(secured).await) })
    }
}

fn boxed<T>(opened: Result<(Client, Connection<Socket, T>), Error>) -> Opened
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = opened?;
    Ok((client, Box::pin(connection)))
}

impl Manager for AsyncPostgresManager {
    type Connection = AsyncPostgresClient;
    type Error = Error;

    fn has_broken(&self, client: &mut AsyncPostgresClient) -> bool {
        let occasion = client.idle.occasion();
        client.is_closed() || client.session.tap().is_gone() || client.home.fails(occasion)
    }

    fn may_wait_here(&self, face: Face) -> bool {
        self.runtimes.may_wait_here(face)
    }

    fn needs_reset(&self, client: &mut AsyncPostgresClient) -> bool {
        self.on_return.is_some() || !client.session.is_clean()
    }

    fn classify(&self, error: &Error) -> ErrorClass {
        classify(error, self.config.host_count())
    }

    fn ping_is_cancel_safe(&self) -> bool {
        true
    }
}

impl AsyncManager for AsyncPostgresManager {
    async fn connect(&self, _: &Deadline) -> Result<AsyncPostgresClient, Error> {
        let (opened, home) = self.runtimes.run(|| self.open()).await;
        let (client, session, is_plain) = opened?;
        Ok(AsyncPostgresClient { client, session, is_plain, home, idle: Idle::now() })
    }

    async fn ping(&self, client: &mut AsyncPostgresClient, _: &Deadline) -> Result<(), Error> {
        client.check_connection().await
    }

    async fn reset(&self, client: &mut AsyncPostgresClient, _: &Deadline) -> Result<(), Error> {
        client.session.settle().await;
        let tap = client.session.tap();
        if !tap.is_attached() {
            client.roll_back_blindly().await?;
        } else if !tap.is_clean() {
            // All that is still under way is answered before this.
            client.check_connection().await?;
            if tap.may_be_out_of_step() {
                client.roll_back_blindly().await?;
            } else if tap.is_in_transaction() {
                client.batch_execute("ROLLBACK").await?;
            }
            tap.settle();
        }
        match &self.on_return {
            Some(sql) => client.batch_execute(sql).await,
            None => Ok(()),
        }
    }

    async fn close(&self, client: AsyncPostgresClient, _: &Deadline) {
        let AsyncPostgresClient { client, session, .. } = client;
        drop(client);
        session.end().await;
    }
}

impl fmt::Debug for AsyncPostgresManager {
    /// Without user, password and SQL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncPostgresManager")
            .field("hosts", &self.config.get_hosts())
            .field("ports", &self.config.get_ports())
            .field("dbname", &self.config.get_dbname())
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// What is pooled: a [`tokio_postgres::Client`] in all but name.
///
/// Where a function wants one, or a `GenericClient`, give it `&**client`. The connection is driven
/// by a task of the runtime; if this is dropped outside of a pool, it ends at once.
///
/// Do not keep a `RowStream` or the like when the client goes back: the driver delivers what is
/// left in it before the next borrower's answers, who would have to wait until somebody takes it.
pub struct AsyncPostgresClient {
    client: Client,
    session: Session,
    is_plain: bool,
    home: Arc<Home>,
    idle: Idle,
}

impl AsyncPostgresClient {
    /// As [`Client::cancel_token`], which it stands in for: a connector that the manager did not
    /// need, `cancel_query` does not need either. A [`Transaction`](tokio_postgres::Transaction)'s
    /// own token does not know of that: take this one first.
    pub fn cancel_token(&self) -> AsyncPostgresCancelToken {
        AsyncPostgresCancelToken { token: self.client.cancel_token(), is_plain: self.is_plain }
    }

    async fn roll_back_blindly(&self) -> Result<(), Error> {
        let probe = Probe::new();
        let mut answer = self.simple_query(&probe.sql()).await;
        if answer.as_ref().is_err_and(Probe::is_too_early) {
            self.batch_execute("ROLLBACK").await?;
            answer = self.simple_query(&probe.sql()).await;
        }
        probe.check(&answer?)
    }
}

impl Deref for AsyncPostgresClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for AsyncPostgresClient {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl fmt::Debug for AsyncPostgresClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncPostgresClient")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// Asks the server to give up a query, over a connection of its own: see [`CancelToken`].
#[derive(Clone)]
pub struct AsyncPostgresCancelToken {
    token: CancelToken,
    is_plain: bool,
}

impl AsyncPostgresCancelToken {
    /// As [`CancelToken::cancel_query`]: the server does not report whether a query was cancelled.
    /// `tls` is used only if the connection itself has TLS.
    ///
    /// It may arrive late: wait for the query's end before the connection goes back to the pool, or
    /// it may be the next borrower's query that is given up.
    ///
    /// # Errors
    ///
    /// If the server could not be reached.
    pub async fn cancel_query<T: MakeTlsConnect<Socket>>(&self, tls: T) -> Result<(), Error> {
        if self.is_plain {
            self.token.cancel_query(Plain(Tap::default())).await
        } else {
            self.token.cancel_query(tls).await
        }
    }
}

impl fmt::Debug for AsyncPostgresCancelToken {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncPostgresCancelToken").finish_non_exhaustive()
    }
}
