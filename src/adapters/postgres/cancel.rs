//! Requests to give up a query, for tasks: over connections of their own, limited in time.

use super::connectors::{Plain, Purpose, Secured};
use super::reach::Route;
use super::tap::Tap;
use super::tls::Secure;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Error, NoTls, Socket};

/// Has the server give up what a connection is busy with.
#[derive(Clone)]
pub(super) struct Canceller {
    token: CancelToken,
    route: Route,
    tls: Option<Arc<dyn Secure>>,
    /// That of the connect.
    limit: Duration,
}

impl Canceller {
    pub(super) fn new(
        token: CancelToken,
        route: Route,
        tls: Option<Arc<dyn Secure>>,
        limit: Duration,
    ) -> Self {
        Self { token, route, tls, limit }
    }

    pub(super) fn token(&self) -> AsyncPostgresCancelToken {
        AsyncPostgresCancelToken(self.clone())
    }

    /// With the manager's own TLS. Where the stream is seen, the request has reached the server's
    /// process when this is through.
    pub(super) async fn cancel(&self) -> Result<(), Error> {
        let tap = self.tap();
        let cancel = async {
            match (self.route, &self.tls) {
                (Route::Secured, Some(tls)) => tls.cancel(&self.token, tap).await,
                (Route::Plain, _) => self.token.cancel_query(plain(tap)).await,
                _ => self.token.cancel_query(NoTls).await,
            }
        };
        limited(self.limit, cancel).await
    }

    fn tap(&self) -> Tap {
        let tap = Tap::default();
        tap.set_limit(Some(Instant::now() + self.limit));
        tap
    }
}

fn plain(tap: Tap) -> Plain {
    Plain { tap, purpose: Purpose::Cancel }
}

/// The question whether the server has TLS has no limit of the driver's.
async fn limited(
    limit: Duration,
    cancel: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    match tokio::time::timeout(limit, cancel).await {
        Ok(result) => result,
        Err(_) => Err(super::errors::timed_out().await),
    }
}

/// Asks the server to cancel a query, over a separate connection: see [`CancelToken`].
#[derive(Clone)]
pub struct AsyncPostgresCancelToken(Canceller);

impl AsyncPostgresCancelToken {
    /// As [`CancelToken::cancel_query`]; the server does not report whether it cancelled a query.
    /// Uses `tls` only if the connection itself has TLS. Ends within the pool's `connect_timeout`.
    ///
    /// The request may arrive late: wait until the query has ended before you return the
    /// connection, or the request may cancel the next borrower's query.
    ///
    /// # Errors
    ///
    /// Returns the driver's error if the server could not be reached in time.
    pub async fn cancel_query<T>(&self, tls: T) -> Result<(), Error>
    where
        T: MakeTlsConnect<Socket>,
    {
        let Self(canceller) = self;
        let tap = canceller.tap();
        let token = &canceller.token;
        match canceller.route {
            Route::Plain => limited(canceller.limit, token.cancel_query(plain(tap))).await,
            Route::Secured => {
                let secured = Secured { tls, tap, purpose: Purpose::Cancel };
                limited(canceller.limit, token.cancel_query(secured)).await
            }
            Route::Untapped => limited(canceller.limit, token.cancel_query(tls)).await,
        }
    }
}

impl fmt::Debug for AsyncPostgresCancelToken {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncPostgresCancelToken").finish_non_exhaustive()
    }
}
