//! PostgreSQL for threads, by way of [postgres](https://docs.rs/postgres).

use super::route::{Plain, Probe, Reachable as _, Route, Secured, classify};
use super::tap::Tap;
use crate::{BlockingManager, Deadline, ErrorClass, Manager};
use ::postgres::tls::{MakeTlsConnect, TlsConnect};
use ::postgres::{CancelToken, Client, Config, Error, NoTls, Socket};
use std::any::TypeId;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

/// Opens connections to PostgreSQL.
///
/// A transaction that a borrower left open is rolled back before anybody else gets the connection.
/// Whether there is one is read off the server's answers, so a clean connection costs no round trip
/// on its way back. What else a borrower changed (settings, temporary tables, advisory locks,
/// prepared statements) stays, unless [`on_return`](Self::on_return) says otherwise.
///
/// Refused credentials, a missing database and all else that trying again would not change are
/// [permanent](ErrorClass::Permanent) errors: borrowers learn of them at once. A server that is
/// down, starts up, or has too many connections is a transient one. With several hosts all errors
/// are, as the driver tells only what the last one said.
///
/// The pool's limits hold down to the socket, also if the server is frozen: what it does not answer
/// in time fails, on the spot. Out of reach are the time to look up a name, and the server's answer
/// to the question whether it has TLS (`sslnegotiation=direct` does not ask). If a host has several
/// addresses, each may take the whole of its share. And over Unix sockets, or if the server does
/// without the TLS that `sslmode=prefer` offers, only pings have a limit: there the driver lets
/// nobody near the stream. For a borrower's own queries there is
/// [`silence_limit`](Self::silence_limit).
///
/// ```no_run
/// use caliburn::Pool;
/// use caliburn::adapters::postgres::PostgresManager;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = PostgresManager::new("host=localhost user=app dbname=songs".parse()?);
/// let pool = Pool::builder(manager).max_size(8).build()?;
///
/// let mut client = pool.get()?;
/// let row = client.query_one("SELECT count(*) FROM song", &[])?;
/// let count: i64 = row.get(0);
/// # let _ = count;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct PostgresManager {
    config: Config,
    tls: Option<Box<dyn Secure>>,
    before_connect: Option<Box<Hook>>,
    on_connect: Option<String>,
    on_return: Option<String>,
    silence_limit: Option<Duration>,
}

type Hook = dyn Fn(&mut Config) + Send + Sync;

impl PostgresManager {
    /// Connections as `config` says, without TLS.
    ///
    /// With several hosts the driver takes the first that will have it, each time anew; with
    /// `target_session_attrs=read-write` that is the primary, wherever it moves.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            tls: None,
            before_connect: None,
            on_connect: None,
            on_return: None,
            silence_limit: None,
        }
    }

    /// How to secure connections, where `sslmode` allows it: a connector of `postgres-native-tls`,
    /// for example.
    ///
    /// If the server then wants none (with `sslmode=prefer`), transactions cannot be listened for,
    /// each connection that comes back costs a round trip, and limits hold as little as over a Unix
    /// socket.
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

    /// Called with a copy of the configuration before each connect: to fill in a password that
    /// changes, for example. Its time counts as the connect's.
    ///
    /// ```no_run
    /// # use caliburn::adapters::postgres::PostgresManager;
    /// # fn token_of_the_hour() -> String { String::new() }
    /// # fn example() -> Result<(), postgres::Error> {
    /// let manager = PostgresManager::new("host=db user=app".parse()?)
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
    /// # use caliburn::adapters::postgres::PostgresManager;
    /// # fn example() -> Result<(), postgres::Error> {
    /// let manager = PostgresManager::new("host=db user=app".parse()?)
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
    /// # use caliburn::adapters::postgres::{CLEAN_SESSION, PostgresManager};
    /// # fn example() -> Result<(), postgres::Error> {
    /// let manager = PostgresManager::new("host=db user=app".parse()?).on_return(CLEAN_SESSION);
    /// # let _ = manager;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_return(mut self, sql: impl Into<String>) -> Self {
        self.on_return = Some(sql.into());
        self
    }

    /// How long the server may say nothing while a borrower waits for an answer. After that the
    /// query fails and the connection is replaced, though the server may go on with the query: a
    /// `statement_timeout` should be shorter. Default: for ever, as the driver has no such limit.
    ///
    /// Without effect over Unix sockets.
    pub fn silence_limit(mut self, limit: Duration) -> Self {
        self.silence_limit = Some(limit);
        self
    }

    fn open(&self, limit: Instant) -> Result<PostgresClient, Error> {
        let mut config = self.config.clone();
        if let Some(hook) = &self.before_connect {
            hook(&mut config);
        }
        let share = share(limit, config.host_count());
        let own = config.get_connect_timeout().copied().unwrap_or(share);
        config.connect_timeout(own.min(share));
        let tap = Tap::default();
        tap.set_limit(Some(limit));
        let route = Route::of(&config, self.tls.is_some());
        let client = match (route, &self.tls) {
            (Route::Secured, Some(tls)) => tls.connect(&config, tap.clone())?,
            (Route::Plain, _) => config.in_plain().connect(Plain(tap.clone()))?,
            _ => config.connect(NoTls)?,
        };
        let line = Line(tap.clone());
        let mut client = PostgresClient { line, client, is_plain: route == Route::Plain };
        if let Some(sql) = &self.on_connect {
            client.batch_execute(sql)?;
        }
        tap.set_limit(None);
        tap.set_silence_limit(self.silence_limit);
        Ok(client)
    }

    fn make_clean(&self, client: &mut PostgresClient) -> Result<(), Error> {
        let tap = client.line.0.clone();
        if !tap.is_attached() {
            client.roll_back_blindly()?;
        } else if !tap.is_clean() {
            // All that is still under way is answered before this.
            client.check_connection()?;
            if tap.may_be_out_of_step() {
                client.roll_back_blindly()?;
            } else if tap.is_in_transaction() {
                client.batch_execute("ROLLBACK")?;
            }
            tap.settle();
        }
        match &self.on_return {
            Some(sql) => client.batch_execute(sql),
            None => Ok(()),
        }
    }
}

/// So that all hosts together get no more than there is. The driver takes zero for no limit at all.
fn share(limit: Instant, hosts: usize) -> Duration {
    let hosts = u32::try_from(hosts.max(1)).unwrap_or(u32::MAX);
    let share = limit.saturating_duration_since(Instant::now()) / hosts;
    share.max(Duration::from_millis(1))
}

/// A TLS connector of whatever kind.
trait Secure: Send + Sync {
    fn connect(&self, config: &Config, tap: Tap) -> Result<Client, Error>;
}

impl<T> Secure for T
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    fn connect(&self, config: &Config, tap: Tap) -> Result<Client, Error> {
        config.connect(Secured { tls: self.clone(), tap })
    }
}

impl Manager for PostgresManager {
    type Connection = PostgresClient;
    type Error = Error;

    fn has_broken(&self, client: &mut PostgresClient) -> bool {
        client.is_closed() || client.line.0.is_gone()
    }

    fn needs_reset(&self, client: &mut PostgresClient) -> bool {
        self.on_return.is_some() || !client.line.0.is_clean()
    }

    /// The driver brings a runtime of its own, which panics on a thread that drives another.
    fn may_ping_here(&self) -> bool {
        tokio::runtime::Handle::try_current().is_err()
    }

    fn classify(&self, error: &Error) -> ErrorClass {
        classify(error, self.config.host_count())
    }
}

impl BlockingManager for PostgresManager {
    fn connect(&self, deadline: &Deadline) -> Result<PostgresClient, Error> {
        self.open(Instant::now() + deadline.remaining())
    }

    fn ping(&self, client: &mut PostgresClient, deadline: &Deadline) -> Result<(), Error> {
        if !client.line.0.is_attached() {
            return client.is_valid(deadline.remaining());
        }
        client.within(deadline, |client| client.check_connection())
    }

    fn reset(&self, client: &mut PostgresClient, deadline: &Deadline) -> Result<(), Error> {
        client.within(deadline, |client| self.make_clean(client))
    }

    fn close(&self, client: PostgresClient, deadline: &Deadline) {
        let PostgresClient { client, line, .. } = client;
        line.0.set_limit(Some(Instant::now() + deadline.remaining()));
        // The server has nothing to say to a goodbye.
        let _ = client.close();
    }
}

impl fmt::Debug for PostgresManager {
    /// Without user, password and SQL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresManager")
            .field("hosts", &self.config.get_hosts())
            .field("ports", &self.config.get_ports())
            .field("dbname", &self.config.get_dbname())
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// What is pooled: a [`postgres::Client`] in all but name.
///
/// Where a function wants one, or a `GenericClient`, give it `&mut **client`.
pub struct PostgresClient {
    /// Dropped before the client, whose own drop waits for all that is still unanswered.
    line: Line,
    client: Client,
    is_plain: bool,
}

impl PostgresClient {
    /// As [`Client::cancel_token`], which it stands in for: a connector that the manager did not
    /// need, `cancel_query` does not need either. A [`Transaction`](postgres::Transaction)'s own
    /// token does not know of that: take this one first.
    pub fn cancel_token(&self) -> PostgresCancelToken {
        PostgresCancelToken { token: self.client.cancel_token(), is_plain: self.is_plain }
    }

    fn roll_back_blindly(&mut self) -> Result<(), Error> {
        let probe = Probe::new();
        let mut answer = self.simple_query(&probe.sql());
        if answer.as_ref().is_err_and(Probe::is_too_early) {
            self.batch_execute("ROLLBACK")?;
            answer = self.simple_query(&probe.sql());
        }
        probe.check(&answer?)
    }

    fn within<T>(&mut self, deadline: &Deadline, call: impl FnOnce(&mut Self) -> T) -> T {
        self.line.0.set_limit(Some(Instant::now() + deadline.remaining()));
        let result = call(self);
        self.line.0.set_limit(None);
        result
    }
}

impl Deref for PostgresClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for PostgresClient {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl fmt::Debug for PostgresClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresClient").field("tap", &self.line.0).finish_non_exhaustive()
    }
}

/// When dropped, hangs up: from then on nothing is waited for.
struct Line(Tap);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.set_limit(Some(Instant::now()));
    }
}

/// Asks the server to give up a query, over a connection of its own: see [`CancelToken`].
#[derive(Clone)]
pub struct PostgresCancelToken {
    token: CancelToken,
    is_plain: bool,
}

impl PostgresCancelToken {
    /// As [`CancelToken::cancel_query`]: the server does not report whether a query was cancelled.
    /// `tls` is used only if the connection itself has TLS.
    ///
    /// It may arrive late: wait for the query's end before the connection goes back to the pool, or
    /// it may be the next borrower's query that is given up.
    ///
    /// # Errors
    ///
    /// If the server could not be reached.
    pub fn cancel_query<T: MakeTlsConnect<Socket>>(&self, tls: T) -> Result<(), Error> {
        if self.is_plain {
            self.token.cancel_query(Plain(Tap::default()))
        } else {
            self.token.cancel_query(tls)
        }
    }
}

impl fmt::Debug for PostgresCancelToken {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresCancelToken").finish_non_exhaustive()
    }
}
