//! The TLS connector that a manager for threads was given, of whatever type.

use super::connectors::{Purpose, Secured};
use super::tap::Tap;
use ::postgres::tls::{MakeTlsConnect, TlsConnect};
use ::postgres::{CancelToken, Client, Config, Error, Socket};

/// A TLS connector of whatever kind.
pub(super) trait Secure: Send + Sync {
    fn connect(&self, config: &Config, tap: Tap, purpose: Purpose) -> Result<Client, Error>;
    fn cancel(&self, token: &CancelToken, tap: Tap) -> Result<(), Error>;
}

impl<T> Secure for T
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    fn connect(&self, config: &Config, tap: Tap, purpose: Purpose) -> Result<Client, Error> {
        config.connect(Secured { tls: self.clone(), tap, purpose })
    }

    fn cancel(&self, token: &CancelToken, tap: Tap) -> Result<(), Error> {
        token.cancel_query(Secured { tls: self.clone(), tap, purpose: Purpose::Cancel })
    }
}
