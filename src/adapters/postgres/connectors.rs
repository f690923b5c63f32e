//! Connectors that put a [`Tap`] on a connection, with TLS or without. Shared by both drivers.

use super::course::Course;
use super::tap::Tap;
use super::tapped::{Patience, Tapped};
use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio_postgres::tls::{
    ChannelBinding, MakeTlsConnect, NoTlsError, NoTlsStream, TlsConnect, TlsStream,
};
use tokio_postgres::{NoTls, Socket};

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
        match self {
            Self::Connect(course) => course.begin_attempt(tap),
            Self::Cancel => tap.detach(),
        }
    }

    fn meet(&self, socket: &Socket) {
        if let Self::Connect(course) = self {
            course.meet(socket);
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
            let tapped = Tapped::on(stream, S::channel_binding, this.tap.clone());
            return Poll::Ready(Ok(tapped));
        }
        this.patience.poll(&this.tap, context).map(|late| Err(late.into()))
    }
}

/// [`NoTls`], which learns when a socket is connected: so the limit holds there as well.
#[derive(Clone)]
pub(super) struct Bare {
    pub(super) tap: Tap,
    pub(super) purpose: Purpose,
}

impl MakeTlsConnect<Socket> for Bare {
    type Stream = NoTlsStream;
    type TlsConnect = NoTls;
    type Error = NoTlsError;

    fn make_tls_connect(&mut self, _: &str) -> Result<NoTls, NoTlsError> {
        self.purpose.begin_attempt(&self.tap);
        Ok(NoTls)
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
        ready(Ok(Tapped::on(socket, |_| ChannelBinding::none(), self.tap)))
    }
}
