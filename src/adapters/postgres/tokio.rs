//! PostgreSQL for tasks, by way of [tokio-postgres](https://docs.rs/tokio-postgres).

use super::cancel::Canceller;
use super::client::AsyncPostgresClient;
use super::connectors::{Bare, Plain, Purpose};
use super::course::{Course, anywhere, hosts_of, names};
use super::driver::Driver;
use super::errors::{classify, out_of_step, parse};
use super::options::{Options, setters};
use super::reach::{Reachable as _, Route};
use super::role;
use super::session::{OnNotice, Session};
use super::statements::Statements;
use super::tap::Tap;
use super::tls::{Secure, boxed};
use crate::adapters::Reset;
use crate::adapters::addresses::by_turns;
use crate::adapters::idle::Idle;
use crate::adapters::race::{HEAD_START, race};
use crate::adapters::runtime::Runtimes;
use crate::{AsyncManager, Deadline, ErrorClass, Face, Manager, RoleDoubt, RoleReport};
use std::any::TypeId;
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio_postgres::config::LoadBalanceHosts;
use tokio_postgres::error::DbError;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, Error, NoTls, Socket};

/// Opens connections to PostgreSQL.
///
/// Before the next loan the pool rolls back a transaction that a borrower left open, or that a
/// dropped future may still open. The adapter reads the transaction state off the server's answers,
/// so a clean connection costs no round trip on its way back. The pool also ends subscriptions to
/// notifications. Other session state (settings, temporary tables, advisory locks) stays, unless
/// [`reset`](Self::reset) says otherwise.
///
/// A borrower's future may be dropped in the middle of a query: the driver keeps requests and
/// answers in step, and the pool asks the server to cancel the query [after a short
/// grace](Self::cancel_after). A message of more than 16 MiB that no borrower waits for costs the
/// connection instead of memory.
///
/// Refused credentials, a missing database, an untrusted certificate and the like are
/// [permanent](ErrorClass::Permanent) errors: borrowers get them at once. A server that is down,
/// starts up, or has too many connections is a transient error. With several hosts all errors are
/// transient, as the driver reports only the last one; with several addresses of one host an error
/// is permanent once all addresses have refused.
///
/// Connections live on the tokio runtime given to [`runtime`](Self::runtime); without one, on that
/// of the borrower that waits for a connection; if no task waits, on a runtime of the crate's own.
/// The pool replaces connections whose runtime has ended. The runtime needs its timers
/// ([`enable_all`](tokio::runtime::Builder::enable_all)).
///
/// ```no_run
/// use caliburn::Pool;
/// use caliburn::adapters::postgres::AsyncPostgresManager;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = AsyncPostgresManager::from_url("postgresql://app@localhost/songs")?
///     .response_timeout(Some(Duration::from_secs(10)))
///     .cancel_after(Some(Duration::from_secs(1)))
///     .statement_cache_size(500)
///     .runtime(tokio::runtime::Handle::current())
///     .on_notice(|notice| eprintln!("{notice}"));
/// let pool = Pool::builder_async(manager).max_size(8).build()?;
///
/// let client = pool.get_async().await?;
/// let row = client.query_one("SELECT count(*) FROM song", &[]).await?;
/// let count: i64 = row.get(0);
/// client.clear_statement_cache();
///
/// // With the driver's configuration, and any of its connectors for TLS.
/// let config = tokio_postgres::Config::new().host("db").user("app").to_owned();
/// let manager = AsyncPostgresManager::new(config).tls(tokio_postgres::NoTls);
/// # let _ = (count, manager);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct AsyncPostgresManager {
    options: Options<Config>,
    tls: Option<Arc<dyn Secure>>,
    runtimes: Runtimes,
    on_notice: Option<OnNotice>,
}

setters!(AsyncPostgresManager, Config, "tokio_postgres");

impl AsyncPostgresManager {
    /// Connects as `config` says, without TLS.
    ///
    /// With several hosts each connect takes the first that accepts; with
    /// `target_session_attrs=read-write` that is the primary, wherever it moves. All addresses of
    /// all hosts share the time that a connect may take. The addresses of a single host race: each
    /// has a head start of 250 ms before the next, as in RFC 8305.
    pub fn new(config: Config) -> Self {
        let options = Options::new(config);
        Self { options, tls: None, runtimes: Runtimes::here(), on_notice: None }
    }

    /// Sets how to secure connections, where `sslmode` allows it: a connector of
    /// `postgres-native-tls` or `tokio-postgres-rustls`, for example. Default: no TLS.
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

    /// Sets the runtime on which all connections live, whichever runtimes their borrowers are on.
    pub fn runtime(mut self, handle: Handle) -> Self {
        self.runtimes.choose(handle);
        self
    }

    /// Sets a callback for each notice of the server. It runs on the connection's runtime and must
    /// not block.
    pub fn on_notice(mut self, callback: impl Fn(&DbError) + Send + Sync + 'static) -> Self {
        self.on_notice = Some(Arc::new(callback));
        self
    }

    async fn open(&self, limit: Duration) -> Result<Parts, Error> {
        let (until, config) = (Instant::now() + limit, self.options.config());
        let mut addresses = Vec::new();
        for (host, port) in names(&config) {
            // The driver says best what is wrong with a name.
            let found = tokio::net::lookup_host((host, port)).await;
            addresses.push(found.map(hosts_of).unwrap_or_default());
        }
        let reached = match &*addresses {
            [several] if several.len() > 1 => {
                let mut several = by_turns(several.iter().copied());
                if config.get_load_balance_hosts() == LoadBalanceHosts::Random {
                    several = anywhere(several);
                }
                let may_pass = &AtomicBool::new(false);
                let attempts = several.into_iter().map(|address| {
                    let attempt = self.reach(config.clone(), until, vec![vec![address]]);
                    async move {
                        attempt.await.inspect_err(|error| {
                            let is_final = classify(error, false) == ErrorClass::Permanent;
                            // O11: one task does it all.
                            may_pass.fetch_or(!is_final, Ordering::Relaxed);
                        })
                    }
                });
                let raced = race(attempts, HEAD_START, |_| false).await.ok_or_else(out_of_step)?;
                // O11: as above.
                self.options.note_failure(may_pass.load(Ordering::Relaxed));
                raced?
            }
            _ => {
                self.options.note_failure(false);
                self.reach(config, until, addresses).await?
            }
        };
        let Reached { client, driver, tap, course, route } = reached;
        #[cfg(unix)]
        let socket = course.arrive();
        #[cfg(not(unix))]
        let _ = course;
        tap.set_limit(Some(until));
        let canceller = Canceller::new(client.cancel_token(), route, self.tls.clone(), limit);
        let session = Session::spawn(driver, tap.clone(), canceller, self.on_notice.clone());
        tap.set_limit(None);
        tap.set_response_timeout(self.options.response_timeout);
        Ok(Parts {
            client,
            session,
            #[cfg(unix)]
            socket,
        })
    }

    /// By these addresses, one after the other.
    async fn reach(
        &self,
        mut config: Config,
        until: Instant,
        addresses: Vec<Vec<IpAddr>>,
    ) -> Result<Reached, Error> {
        let course = Arc::new(Course::plot(&mut config, until, &addresses));
        let tap = Tap::default();
        tap.set_doubt(&self.options.doubt);
        tap.set_limit(Some(until));
        let purpose = Purpose::Connect(course.clone());
        let route = Route::of(&config, self.tls.is_some());
        let connect = async {
            match (route, &self.tls) {
                (Route::Secured, Some(tls)) => tls.connect(&config, tap.clone(), purpose).await,
                (Route::Plain, _) => {
                    let plain = Plain { tap: tap.clone(), purpose };
                    boxed(config.in_plain().connect(plain).await)
                }
                _ => boxed(config.connect(Bare { tap: tap.clone(), purpose }).await),
            }
        };
        let (client, driver) = in_turns(&tap, connect).await?;
        Ok(Reached { client, driver, tap, course, route })
    }
}

/// A server that has let us in.
struct Reached {
    client: Client,
    driver: Driver,
    tap: Tap,
    course: Arc<Course>,
    route: Route,
}

/// Of a connection, before it has a home.
struct Parts {
    client: Client,
    session: Session,
    #[cfg(unix)]
    socket: Option<Arc<crate::adapters::socket::Socket>>,
}

/// The driver reads for as long as there is something to read.
async fn in_turns<T>(tap: &Tap, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        tap.begin_turn();
        work.as_mut().poll(context)
    })
    .await
}

impl Manager for AsyncPostgresManager {
    type Connection = AsyncPostgresClient;
    type Error = Error;

    fn has_broken(&self, client: &mut AsyncPostgresClient) -> bool {
        client.has_broken()
    }

    fn needs_ping(&self, client: &mut AsyncPostgresClient) -> bool {
        client.home.is_in_doubt()
    }

    fn may_wait_here(&self, face: Face) -> bool {
        self.runtimes.may_wait_here(face)
    }

    fn needs_reset(&self, client: &mut AsyncPostgresClient) -> bool {
        let is_due = self.options.reset != Reset::Transaction && client.idle.was_lent();
        is_due || !client.session.is_clean()
    }

    fn renews_session(&self) -> bool {
        self.options.reset == Reset::Session
    }

    fn classify(&self, error: &Error) -> ErrorClass {
        self.options.classify(error)
    }

    fn tell_doubts(&self, doubt: RoleDoubt) {
        self.options.doubt.set(doubt);
    }

    fn ping_is_cancel_safe(&self) -> bool {
        true
    }
}

impl AsyncManager for AsyncPostgresManager {
    async fn connect(&self, deadline: &Deadline) -> Result<AsyncPostgresClient, Error> {
        let limit = deadline.remaining();
        let (opened, home) = self.runtimes.run(|| self.open(limit)).await;
        let parts = opened?;
        let tap = parts.session.tap().clone();
        Ok(AsyncPostgresClient {
            client: parts.client,
            session: parts.session,
            statements: Statements::new(self.options.statement_cache_size, tap),
            home,
            idle: Idle::now(),
            #[cfg(unix)]
            socket: parts.socket,
        })
    }

    async fn ping(&self, client: &mut AsyncPostgresClient, _: &Deadline) -> Result<(), Error> {
        let _asks = client.session.tap().ask_for_the_pool();
        let home = client.home.clone();
        home.run(client.check_connection()).await.unwrap_or_else(|| Err(out_of_step()))
    }

    async fn reset(&self, client: &mut AsyncPostgresClient, _: &Deadline) -> Result<(), Error> {
        let home = client.home.clone();
        let _asks = client.session.tap().ask_for_the_pool();
        let reset = client.make_clean(&self.options);
        // A connection whose runtime is lost has broken.
        home.run(reset).await.unwrap_or_else(|| Err(out_of_step()))
    }

    async fn close(&self, client: AsyncPostgresClient, _: &Deadline) {
        let home = client.home.clone();
        home.run(client.close()).await;
    }

    async fn role(
        &self,
        client: &mut AsyncPostgresClient,
        _: &Deadline,
    ) -> Result<RoleReport, Error> {
        let _asks = client.session.tap().ask_for_the_pool();
        let home = client.home.clone();
        let answer = home.run(client.simple_query(role::ROLE)).await;
        role::read(answer.unwrap_or_else(|| Err(out_of_step())))
    }
}
