//! Requests to give up a query, for threads: over connections of their own, limited in time.

use super::blocking_tls::Secure;
use super::connectors::{Plain, Purpose, Secured};
use super::course::Course;
use super::reach::Route;
use super::tap::Tap;
#[cfg(target_os = "linux")]
use crate::adapters::socket::{Leash, Tied};
use ::postgres::tls::MakeTlsConnect;
use ::postgres::{CancelToken, Error, NoTls, Socket};
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Has the server give up what a connection is busy with.
#[derive(Clone)]
pub(super) struct Canceller {
    pub(super) token: CancelToken,
    pub(super) route: Route,
    pub(super) tls: Option<Arc<dyn Secure>>,
    /// That of the connect.
    pub(super) limit: Duration,
    /// The connection's, whose mark the request's sockets have.
    pub(super) course: Arc<Course>,
}

impl Canceller {
    pub(super) fn token(&self) -> PostgresCancelToken {
        PostgresCancelToken(self.clone())
    }

    /// Where the stream is seen, the request has reached the server's process when this is through.
    fn cancel(&self) -> Result<(), Error> {
        self.limited(|tap| match (self.route, &self.tls) {
            (Route::Secured, Some(tls)) => tls.cancel(&self.token, tap),
            (Route::Plain, _) => self.token.cancel_query(plain(tap)),
            _ => self.token.cancel_query(NoTls),
        })
    }

    fn limited<T>(&self, call: impl FnOnce(Tap) -> T) -> T {
        let until = Instant::now() + self.limit;
        let tap = Tap::default();
        tap.set_limit(Some(until));
        #[cfg(target_os = "linux")]
        let _leash = Leash::until(until, Tied::Marked(self.course.mark()));
        #[cfg(not(target_os = "linux"))]
        let _ = &self.course;
        call(tap)
    }

    /// On a thread of its own. `None`: the system has none left.
    pub(super) fn cancel_after(&self, grace: Duration) -> Option<Cancelling> {
        let (in_vain, is_in_vain) = channel();
        let (begun, has_begun) = channel();
        let canceller = self.clone();
        let thread = thread::Builder::new().name("caliburn-cancel".into());
        thread
            .spawn(move || {
                let waited = is_in_vain.recv_timeout(grace);
                if waited == Err(RecvTimeoutError::Timeout) || grace.is_zero() {
                    let _ = begun.send(());
                    // A server that cannot be reached for this may still answer.
                    let _ = canceller.cancel();
                }
            })
            .ok()?;
        Some(Cancelling { in_vain, has_begun })
    }
}

fn plain(tap: Tap) -> Plain {
    Plain { tap, purpose: Purpose::Cancel }
}

/// A request that may be under way.
pub(super) struct Cancelling {
    in_vain: Sender<()>,
    has_begun: Receiver<()>,
}

impl Cancelling {
    /// It is not needed any more. Whether it was made; then it is through. `None`: it is not
    /// through in time.
    pub(super) fn end(self, until: Instant) -> Option<bool> {
        drop(self.in_vain);
        let mut was_made = false;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.has_begun.recv_timeout(left) {
                Ok(()) => was_made = true,
                Err(RecvTimeoutError::Disconnected) => return Some(was_made),
                Err(RecvTimeoutError::Timeout) => return None,
            }
        }
    }
}

/// Asks the server to cancel a query, over a separate connection: see [`CancelToken`].
#[derive(Clone)]
pub struct PostgresCancelToken(Canceller);

impl PostgresCancelToken {
    /// As [`CancelToken::cancel_query`]; the server does not report whether it cancelled a query.
    /// Uses `tls` only if the connection itself has TLS. Ends within the pool's `connect_timeout`.
    ///
    /// The request may arrive late: wait until the query has ended before you return the
    /// connection, or the request may cancel the next borrower's query.
    ///
    /// # Errors
    ///
    /// Returns the driver's error if the server could not be reached in time.
    pub fn cancel_query<T: MakeTlsConnect<Socket>>(&self, tls: T) -> Result<(), Error> {
        let Self(canceller) = self;
        canceller.limited(|tap| match canceller.route {
            Route::Plain => canceller.token.cancel_query(plain(tap)),
            Route::Secured => {
                let secured = Secured { tls, tap, purpose: Purpose::Cancel };
                canceller.token.cancel_query(secured)
            }
            Route::Untapped => canceller.token.cancel_query(tls),
        })
    }
}

impl fmt::Debug for PostgresCancelToken {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresCancelToken").finish_non_exhaustive()
    }
}
