//! PostgreSQL for threads, by way of [postgres](https://docs.rs/postgres).

use super::blocking_cancel::Canceller;
use super::blocking_client::{Line, PostgresClient};
use super::blocking_tls::Secure;
use super::connectors::{Bare, Plain, Purpose};
use super::course::{Course, hosts_of, names};
use super::errors::parse;
use super::options::{Options, setters};
use super::reach::{Reachable as _, Route};
use super::role;
use super::statements::Statements;
use super::tap::Tap;
use crate::adapters::Reset;
use crate::adapters::idle::Idle;
use crate::{BlockingManager, Deadline, ErrorClass, Manager, RoleDoubt, RoleReport};
use ::postgres::tls::{MakeTlsConnect, TlsConnect};
use ::postgres::{Config, Error, NoTls, Socket};
use std::any::TypeId;
use std::fmt;
use std::net::ToSocketAddrs as _;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Opens connections to PostgreSQL.
///
/// Before the next loan the pool rolls back a transaction that a borrower left open. The adapter
/// reads the transaction state off the server's answers, so a clean connection costs no round trip
/// on its way back. The pool also ends subscriptions to notifications. Other session state
/// (settings, temporary tables, advisory locks) stays, unless [`reset`](Self::reset) says
/// otherwise.
///
/// Refused credentials, a missing database, an untrusted certificate and the like are
/// [permanent](ErrorClass::Permanent) errors: borrowers get them at once. A server that is down,
/// starts up, or has too many connections is a transient error. With several hosts all errors are
/// transient, as the driver reports only the last one; with several addresses of one host an error
/// is permanent once all addresses have refused.
///
/// The pool's limits reach down to the socket, also if the server is frozen, trickles or sends
/// without end: a call fails on the spot when its time is up. They do not reach the look-up of a
/// name. Outside of Linux, over Unix sockets, only pings have a limit, and the question whether the
/// server has TLS has none (`sslnegotiation=direct` does not ask). To limit a borrower's own
/// queries use [`response_timeout`](Self::response_timeout).
///
/// A message of more than 16 MiB that no borrower waits for costs the connection instead of memory.
///
/// ```no_run
/// use caliburn::Pool;
/// use caliburn::adapters::postgres::PostgresManager;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = PostgresManager::from_url("postgresql://app@localhost/songs")?
///     .response_timeout(Some(Duration::from_secs(10)))
///     .cancel_after(Some(Duration::from_secs(1)))
///     .statement_cache_size(500);
/// let pool = Pool::builder(manager).max_size(8).build()?;
///
/// let mut client = pool.get()?;
/// let row = client.query_one("SELECT count(*) FROM song", &[])?;
/// let count: i64 = row.get(0);
/// client.clear_statement_cache();
///
/// // With the driver's configuration, and any of its connectors for TLS.
/// let config = postgres::Config::new().host("db").user("app").to_owned();
/// let manager = PostgresManager::new(config).tls(postgres::NoTls);
/// # let _ = (count, manager);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct PostgresManager {
    options: Options<Config>,
    tls: Option<Arc<dyn Secure>>,
}

setters!(PostgresManager, Config, "postgres");

impl PostgresManager {
    /// Connects as `config` says, without TLS.
    ///
    /// With several hosts each connect takes the first that accepts; with
    /// `target_session_attrs=read-write` that is the primary, wherever it moves. All addresses of
    /// all hosts share the time that a connect may take.
    pub fn new(config: Config) -> Self {
        Self { options: Options::new(config), tls: None }
    }

    /// Sets how to secure connections, where `sslmode` allows it: a connector of
    /// `postgres-native-tls`, for example. Default: no TLS.
    ///
    /// If the server then has no TLS (with `sslmode=prefer`), the adapter cannot read the
    /// transaction state off the wire, and each return costs a round trip.
    pub fn tls<T>(mut self, connector: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        // The driver's way to say that there is none.
        let is_one = TypeId::of::<T>() != TypeId::of::<NoTls>();
        self.tls = is_one.then(|| Arc::new(connector) as _);
        self
    }

    fn open(&self, deadline: &Deadline) -> Result<PostgresClient, Error> {
        let limit = deadline.remaining();
        let until = Instant::now() + limit;
        let mut config = self.options.config();
        // The driver says best what is wrong with a name.
        let found = names(&config).into_iter().map(|name| name.to_socket_addrs());
        let addresses: Vec<_> =
            found.map(|found| found.map(hosts_of).unwrap_or_default()).collect();
        let course = Arc::new(Course::plot(&mut config, until, &addresses));
        let tap = Tap::default();
        tap.set_doubt(&self.options.doubt);
        tap.set_limit(Some(until));
        let purpose = Purpose::Connect(course.clone());
        let route = Route::of(&config, self.tls.is_some());
        #[cfg(target_os = "linux")]
        course.watch_files(&config);
        let client = match (route, &self.tls) {
            (Route::Secured, Some(tls)) => tls.connect(&config, tap.clone(), purpose),
            (Route::Plain, _) => config.in_plain().connect(Plain { tap: tap.clone(), purpose }),
            _ => config.connect(Bare { tap: tap.clone(), purpose }),
        };
        let client = client.inspect_err(|error| {
            course.end_attempt(&tap);
            let several = addresses.first().map_or(0, Vec::len);
            let is_undecided = error.as_db_error().is_some() && course.is_undecided(several);
            self.options.note_failure(is_undecided);
        })?;
        #[cfg(unix)]
        let socket = course.arrive();
        tap.set_limit(Some(until));
        let canceller =
            Canceller { token: client.cancel_token(), route, tls: self.tls.clone(), limit, course };
        let statements = Statements::new(self.options.statement_cache_size, tap.clone());
        let client = PostgresClient {
            line: Line { tap: tap.clone(), canceller },
            client,
            statements,
            idle: Idle::now(),
            #[cfg(unix)]
            socket,
        };
        tap.set_limit(None);
        tap.set_response_timeout(self.options.response_timeout);
        Ok(client)
    }
}

impl Manager for PostgresManager {
    type Connection = PostgresClient;
    type Error = Error;

    fn has_broken(&self, client: &mut PostgresClient) -> bool {
        client.has_broken()
    }

    fn needs_reset(&self, client: &mut PostgresClient) -> bool {
        let is_due = self.options.reset != Reset::Transaction && client.idle.was_lent();
        is_due || !client.line.tap.is_clean()
    }

    fn renews_session(&self) -> bool {
        self.options.reset == Reset::Session
    }

    /// The driver brings a runtime of its own, which panics on a thread that drives another.
    fn may_ping_here(&self) -> bool {
        tokio::runtime::Handle::try_current().is_err()
    }

    fn classify(&self, error: &Error) -> ErrorClass {
        self.options.classify(error)
    }

    fn tell_doubts(&self, doubt: RoleDoubt) {
        self.options.doubt.set(doubt);
    }
}

impl BlockingManager for PostgresManager {
    fn connect(&self, deadline: &Deadline) -> Result<PostgresClient, Error> {
        self.open(deadline)
    }

    fn ping(&self, client: &mut PostgresClient, deadline: &Deadline) -> Result<(), Error> {
        client.ping(deadline)
    }

    fn reset(&self, client: &mut PostgresClient, deadline: &Deadline) -> Result<(), Error> {
        let until = Instant::now() + deadline.remaining();
        client.within(until, |client| client.make_clean(&self.options, until))
    }

    fn close(&self, client: PostgresClient, deadline: &Deadline) {
        client.close(deadline);
    }

    fn role(&self, client: &mut PostgresClient, deadline: &Deadline) -> Result<RoleReport, Error> {
        let until = Instant::now() + deadline.remaining();
        role::read(client.within(until, |client| client.client.simple_query(role::ROLE)))
    }
}
