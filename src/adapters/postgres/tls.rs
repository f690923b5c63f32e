//! The TLS connector that a manager for tasks was given, of whatever type.

use super::connectors::{Purpose, Secured};
use super::driver::Driver;
use super::tap::Tap;
use std::future::Future;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{CancelToken, Client, Config, Connection, Error, Socket};

pub(super) type Opened = Result<(Client, Driver), Error>;

/// A TLS connector of whatever kind.
pub(super) trait Secure: Send + Sync {
    fn connect<'a>(
        &'a self,
        config: &'a Config,
        tap: Tap,
        purpose: Purpose,
    ) -> Pin<Box<dyn Future<Output = Opened> + Send + 'a>>;

    fn cancel<'a>(
        &'a self,
        token: &'a CancelToken,
        tap: Tap,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;
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
        purpose: Purpose,
    ) -> Pin<Box<dyn Future<Output = Opened> + Send + 'a>> {
        let secured = Secured { tls: self.clone(), tap, purpose };
        Box::pin(async move { boxed(config.connect(secured).await) })
    }

    fn cancel<'a>(
        &'a self,
        token: &'a CancelToken,
        tap: Tap,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>> {
        let secured = Secured { tls: self.clone(), tap, purpose: Purpose::Cancel };
        Box::pin(token.cancel_query(secured))
    }
}

pub(super) fn boxed<T>(opened: Result<(Client, Connection<Socket, T>), Error>) -> Opened
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = opened?;
    Ok((client, Box::new(connection)))
}
