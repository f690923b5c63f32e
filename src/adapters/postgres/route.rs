//! How to reach a PostgreSQL server so that a [`Tap`] is on the connection, with TLS or without.
//! Shared by both drivers.

use super::course::Course;
use super::tap::Tap;
use super::tapped::{Patience, Tapped};
use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, Ready, ready};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_postgres::Socket;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

/// What the two drivers' configurations have in common.
pub(super) trait Reachable: Clone {
    fn host_count(&self) -> usize;
    fn wants_tls(&self) -> SslMode;
    fn all_hosts(&self) -> &[Host];
    fn all_ports(&self) -> &[u16];
    fn has_addresses(&self) -> bool;
    /// One for each host.
    fn set_addresses(&mut self, addresses: &[IpAddr]);
    /// To one address; less if that is set already.
    fn limit_connect(&mut self, limit: Duration);
    fn user_timeout(&self) -> Option<Duration>;
    fn set_user_timeout(&mut self, timeout: Duration);
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

            fn all_ports(&self) -> &[u16] {
                self.get_ports()
            }

            fn has_addresses(&self) -> bool {
                !self.get_hostaddrs().is_empty()
            }

            fn set_addresses(&mut self, addresses: &[IpAddr]) {
                for address in addresses {
                    self.hostaddr(*address);
                }
            }

            fn limit_connect(&mut self, limit: Duration) {
                let own = self.get_connect_timeout().copied().unwrap_or(limit);
                self.connect_timeout(own.min(limit));
            }

            fn user_timeout(&self) -> Option<Duration> {
                self.get_tcp_user_timeout().copied()
            }

            fn set_user_timeout(&mut self, timeout: Duration) {
                self.tcp_user_timeout(timeout);
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

/// What a connector's stream is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// A connection.
    Connect(Arc<Course>),
    /// A request to cancel.
    Cancel,
}

impl Purpose {
    fn begin_attempt(&self, tap: &Tap) {
        // The server before in the list may have had TLS, and this one may not.
        tap.detach();
        if let Self::Connect(course) = self {
            course.begin_attempt(tap);
        }
    }

    fn meet(&self, socket: &Socket) {
        if let Self::Connect(course) = self {
            course.meet(socket);
        }
    }

    fn tapped<S>(&self, stream: S, binding: fn(&S) -> ChannelBinding, tap: Tap) -> Tapped<S> {
        let tapped = Tapped::on(stream, binding, tap);
        match self {
            Self::Connect(_) => tapped,
            Self::Cancel => tapped.until_the_server_hangs_up(),
        }
    }
}

/// A TLS connector with a tap behind it.
#[derive(Clone)]
pub(super) struct Secured<T> {
    pub(super) tls: T,
    pub(super) tap: Tap,
    pub(super) purpose: Purpose,
}

impl<T: MakeTlsConnect<Socket>> MakeTlsConnect<Socket> for Secured<T> {
    type Stream = Tapped<T::Stream>;
    type TlsConnect = Secured<T::TlsConnect>;
    type Error = T::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Self::TlsConnect, T::Error> {
        self.purpose.begin_attempt(&self.tap);
        let (tap, purpose) = (self.tap.clone(), self.purpose.clone());
        Ok(Secured { tls: self.tls.make_tls_connect(domain)?, tap, purpose })
    }
}

impl<T: TlsConnect<Socket>> TlsConnect<Socket> for Secured<T> {
    type Stream = Tapped<T::Stream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Handshake<T::Future>;

    fn connect(self, socket: Socket) -> Self::Future {
        self.purpose.meet(&socket);
        Handshake {
            future: Box::pin(self.tls.connect(socket)),
            tap: self.tap,
            purpose: self.purpose,
            patience: Patience::default(),
        }
    }
}

/// A connector's own, which may take no longer than the rest.
pub(super) struct Handshake<F> {
    future: Pin<Box<F>>,
    tap: Tap,
    purpose: Purpose,
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
            let tapped = this.purpose.tapped(stream, S::channel_binding, this.tap.clone());
            return Poll::Ready(Ok(tapped));
        }
        this.patience.poll(&this.tap, context).map(|late| Err(late.into()))
    }
}

/// Passes for a TLS connector, and puts nothing but a tap on the socket.
#[derive(Clone)]
pub(super) struct Plain {
    pub(super) tap: Tap,
    pub(super) purpose: Purpose,
}

impl MakeTlsConnect<Socket> for Plain {
    type Stream = Tapped<Socket>;
    type TlsConnect = Self;
    type Error = Infallible;

    fn make_tls_connect(&mut self, _: &str) -> Result<Self, Infallible> {
        self.purpose.begin_attempt(&self.tap);
        Ok(self.clone())
    }
}

impl TlsConnect<Socket> for Plain {
    type Stream = Tapped<Socket>;
    type Error = Infallible;
    type Future = Ready<Result<Tapped<Socket>, Infallible>>;

    fn connect(self, socket: Socket) -> Self::Future {
        self.purpose.meet(&socket);
        ready(Ok(self.purpose.tapped(socket, |_| ChannelBinding::none(), self.tap)))
    }
}
