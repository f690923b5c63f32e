//! How to reach a PostgreSQL server so that a [`Tap`] is on the connection, with TLS or without, and which
//! errors on the way there are final. Shared by both drivers.

use super::postgres_tap::{Tap, Tapped};
use crate::ErrorClass;
use std::convert::Infallible;
use std::error::Error as _;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Error, Socket};

/// `DISCARD ALL` takes prepared statements as well, some of which the drivers keep for types they looked up.
pub(super) const CLEAN_SESSION: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
    SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// What the two drivers' configurations have in common.
pub(super) trait Reachable: Clone {
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
                // Without a question to the server first, so that nothing is said that is not in plain.
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
    /// None, and no tap: over a Unix socket the driver lets nothing in between. Also if TLS is required and
    /// there is none: the driver says so best.
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
        Ok(Secured { tls: self.tls.make_tls_connect(domain)?, tap: self.tap.clone() })
    }
}

impl<T: TlsConnect<Socket>> TlsConnect<Socket> for Secured<T> {
    type Stream = Tapped<T::Stream>;
    type Error = T::Error;
    type Future = Handshake<T::Future>;

    fn connect(self, socket: Socket) -> Self::Future {
        Handshake { future: Box::pin(self.tls.connect(socket)), tap: self.tap }
    }
}

pub(super) struct Handshake<F> {
    future: Pin<Box<F>>,
    tap: Tap,
}

impl<F, S, E> Future for Handshake<F>
where
    F: Future<Output = Result<S, E>>,
    S: TlsStream,
{
    type Output = Result<Tapped<S>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.future.as_mut().poll(context);
        polled.map_ok(|stream| self.tap.attach(stream, S::channel_binding))
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
pub(super) fn classify(error: &Error) -> ErrorClass {
    let is_permanent = match error.as_db_error() {
        Some(error) => is_permanent(error.code(), error.message()),
        None => is_misconfigured(error),
    };
    if is_permanent { ErrorClass::Permanent } else { ErrorClass::Passing }
}

/// By class (<https://www.postgresql.org/docs/current/errcodes-appendix.html>): no entry or wrong password,
/// no such database, no such schema, no right or no sense in what was asked, no such value for a setting.
fn is_permanent(code: &SqlState, message: &str) -> bool {
    const CLASSES: [&str; 5] = ["28", "3D", "3F", "42", "22"];
    // PgBouncer has one code for all that it refuses by itself.
    const POOLER: [&str; 3] = ["no such database", "no such user", "authentication failed"];
    CLASSES.iter().any(|class| code.code().starts_with(class))
        || *code == SqlState::PROTOCOL_VIOLATION && POOLER.iter().any(|text| message.contains(text))
}

/// The driver tells the kinds of its own errors apart by their text alone.
fn is_misconfigured(error: &Error) -> bool {
    const OWN: [&str; 3] =
        ["invalid configuration", "invalid connection string", "authentication error"];
    const NO_TLS: [&str; 2] = ["server does not support TLS", "no TLS implementation configured"];
    let text = error.to_string();
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    OWN.iter().any(|own| text.starts_with(own)) || NO_TLS.contains(&cause.as_str())
}
