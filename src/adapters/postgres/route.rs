//! How to reach a PostgreSQL server so that a [`Tap`] is on the connection, with TLS or without,
//! and which errors on the way there are final. Shared by both drivers.

use super::tap::{Patience, Tap, Tapped};
use crate::ErrorClass;
use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Config, Error as DriverError, SimpleQueryMessage, Socket};

/// Ends what a session keeps beyond its transactions, other than prepared statements: some of those
/// the drivers keep for types they looked up, so `DISCARD ALL` would take too much.
pub const CLEAN_SESSION: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
    SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// To be asked of a session that must be in step, and may have a transaction open: one that no
/// earlier answer can hold. A rollback alone would be a warning in the server's log if there is
/// none.
pub(super) struct Probe(u64);

impl Probe {
    pub(super) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1_000_000_000);
        // O11: a counter.
        Self(NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn sql(&self) -> String {
        format!("BEGIN; ROLLBACK; SELECT {}", self.0)
    }

    /// Whether that is the answer.
    pub(super) fn check(&self, answer: &[SimpleQueryMessage]) -> Result<(), DriverError> {
        let is_answer = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(0) == Some(&*self.0.to_string()),
            _ => false,
        };
        if answer.iter().any(is_answer) {
            return Ok(());
        }
        // Nobody but the driver can make an error of its kind.
        "out of step".parse::<Config>().map(drop)
    }

    /// It was asked within a transaction that has failed.
    pub(super) fn is_too_early(error: &DriverError) -> bool {
        error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION)
    }
}

/// What the two drivers' configurations have in common.
pub(super) trait Reachable: Clone {
    fn host_count(&self) -> usize;
    fn wants_tls(&self) -> SslMode;
    fn all_hosts(&self) -> &[Host];
    /// As it is, but for what the plain connector needs to be called.
    fn in_plain(&self) -> Self;
}

macro_rules! reachable {
    ($config:ty) => {
        impl Reachable for $config {
            fn wants_tls(&self) -> SslMode {
                self.get_ssl_mode()
            }

            fn host_count(&self) -> usize {
                self.get_hosts().len().max(self.get_hostaddrs().len())
            }

            fn all_hosts(&self) -> &[Host] {
                self.get_hosts()
            }

            fn in_plain(&self) -> Self {
                let mut config = self.clone();
                if self.get_hosts().is_empty() {
                    for address in self.get_hostaddrs() {
                        config.host(&address.to_string());
                    }
                }
                // Without a question to the server first, so that nothing is said that is not in
                // plain.
                config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
                config
            }
        }
    };
}

#[cfg(feature = "postgres")]
reachable!(postgres::Config);
#[cfg(feature = "tokio-postgres")]
reachable!(tokio_postgres::Config);

/// Which connector goes with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The caller's TLS, tapped where the server agrees to it.
    Secured,
    /// None, tapped: the driver lets only what calls itself TLS between itself and the socket.
    Plain,
    /// None, and no tap: over a Unix socket the driver lets nothing in between. Also if TLS is
    /// required and there is none: the driver says so best.
    Untapped,
}

impl Route {
    pub(super) fn of(config: &impl Reachable, has_tls: bool) -> Self {
        let is_network = config.all_hosts().iter().all(|host| matches!(host, Host::Tcp(_)));
        match config.wants_tls() {
            SslMode::Disable if is_network => Self::Plain,
            SslMode::Disable => Self::Untapped,
            _ if has_tls => Self::Secured,
            SslMode::Prefer if is_network => Self::Plain,
            _ => Self::Untapped,
        }
    }
}

/// A TLS connector with a tap behind it.
#[derive(Clone)]
pub(super) struct Secured<T> {
    pub(super) tls: T,
    pub(super) tap: Tap,
}

impl<T: MakeTlsConnect<Socket>> MakeTlsConnect<Socket> for Secured<T> {
    type Stream = Tapped<T::Stream>;
    type TlsConnect = Secured<T::TlsConnect>;
    type Error = T::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Self::TlsConnect, T::Error> {
        // The server before in the list may have had TLS, and this one may not.
        self.tap.detach();
        Ok(Secured { tls: self.tls.make_tls_connect(domain)?, tap: self.tap.clone() })
    }
}

impl<T: TlsConnect<Socket>> TlsConnect<Socket> for Secured<T> {
    type Stream = Tapped<T::Stream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Handshake<T::Future>;

    fn connect(self, socket: Socket) -> Self::Future {
        Handshake {
            future: Box::pin(self.tls.connect(socket)),
            tap: self.tap,
            patience: Patience::default(),
        }
    }
}

/// A connector's own, which may take no longer than the rest.
pub(super) struct Handshake<F> {
    future: Pin<Box<F>>,
    tap: Tap,
    patience: Patience,
}

impl<F, S, E> Future for Handshake<F>
where
    F: Future<Output = Result<S, E>>,
    S: TlsStream,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    type Output = Result<Tapped<S>, Box<dyn Error + Send + Sync>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(result) = this.future.as_mut().poll(context) {
            let stream = result.map_err(Into::into)?;
            return Poll::Ready(Ok(this.tap.attach(stream, S::channel_binding)));
        }
        this.patience.poll(&this.tap, context).map(|late| Err(late.into()))
    }
}

/// Passes for a TLS connector, and puts nothing but a tap on the socket.
#[derive(Clone)]
pub(super) struct Plain(pub(super) Tap);

impl MakeTlsConnect<Socket> for Plain {
    type Stream = Tapped<Socket>;
    type TlsConnect = Self;
    type Error = Infallible;

    fn make_tls_connect(&mut self, _: &str) -> Result<Self, Infallible> {
        Ok(self.clone())
    }
}

impl TlsConnect<Socket> for Plain {
    type Stream = Tapped<Socket>;
    type Error = Infallible;
    type Future = Ready<Result<Tapped<Socket>, Infallible>>;

    fn connect(self, socket: Socket) -> Self::Future {
        ready(Ok(self.0.attach(socket, |_| ChannelBinding::none())))
    }
}

/// Whether an error in connecting (or in what is to be done on each new connection) may pass.
pub(super) fn classify(error: &DriverError, hosts: usize) -> ErrorClass {
    let is_permanent = match error.as_db_error() {
        Some(error) => is_permanent(error.code(), error.message()),
        None => is_misconfigured(error),
    };
    // Of several hosts, only what the last one said is known: another may be about to come back.
    if is_permanent && hosts <= 1 { ErrorClass::Permanent } else { ErrorClass::Transient }
}

/// By code (<https://www.postgresql.org/docs/current/errcodes-appendix.html>): no entry or wrong
/// password, no such database, no such schema, no right to what was asked or no sense in it, no
/// such value for a setting.
fn is_permanent(code: &SqlState, message: &str) -> bool {
    const CLASSES: [&str; 4] = ["28", "3D", "3F", "42"];
    // That there is already one of that name may be somebody else's doing.
    const DUPLICATES: [&str; 6] = ["42P03", "42P04", "42P05", "42P06", "42P07", "42710"];
    // PgBouncer has one code for all that it refuses by itself.
    const POOLER: [&str; 3] = ["no such database", "no such user", "authentication failed"];
    let is_final = CLASSES.iter().any(|class| code.code().starts_with(class))
        && !DUPLICATES.contains(&code.code());
    let is_poolers =
        *code == SqlState::PROTOCOL_VIOLATION && POOLER.iter().any(|text| message.contains(text));
    is_final || is_poolers || *code == SqlState::INVALID_PARAMETER_VALUE
}

/// The driver tells the kinds of its own errors apart by their text alone. ("server does not
/// support TLS" is not among these: so it calls all that a server says instead of yes, also that it
/// is out of processes.)
fn is_misconfigured(error: &DriverError) -> bool {
    const OWN: [&str; 3] =
        ["invalid configuration", "invalid connection string", "authentication error"];
    let text = error.to_string();
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    OWN.iter().any(|own| text.starts_with(own)) || cause == "no TLS implementation configured"
}
