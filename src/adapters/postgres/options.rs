//! The options that both managers have.

use super::errors::classify;
use super::reach::Reachable;
use super::statements::USUAL_SIZE;
use crate::ErrorClass;
use crate::adapters::Reset;
use crate::adapters::doubt::Doubt;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio_postgres::Error;

/// For how long a query that its borrower has given up may run on, unless told otherwise.
const USUAL_GRACE: Duration = Duration::from_millis(250);

/// `C` is the driver's configuration.
pub(super) struct Options<C> {
    pub(super) config: C,
    pub(super) before_connect: Option<Box<BeforeConnect<C>>>,
    pub(super) reset: Reset,
    pub(super) response_timeout: Option<Duration>,
    pub(super) cancel_after: Option<Duration>,
    pub(super) statement_cache_size: usize,
    pub(super) doubt: Arc<Doubt>,
    last: Last,
}

/// Of the last connect.
#[derive(Debug, Default)]
struct Last {
    /// How many there were, with those that a hook has added.
    hosts: AtomicUsize,
    /// The host has several addresses, and not all of them have refused us.
    is_undecided: AtomicBool,
}

pub(super) type BeforeConnect<C> = dyn Fn(&mut C) + Send + Sync;

impl<C: Reachable> Options<C> {
    pub(super) fn new(config: C) -> Self {
        Self {
            config,
            before_connect: None,
            reset: Reset::default(),
            response_timeout: None,
            cancel_after: Some(USUAL_GRACE),
            statement_cache_size: USUAL_SIZE,
            doubt: Arc::default(),
            last: Last::default(),
        }
    }

    /// For one connect.
    pub(super) fn config(&self) -> C {
        let mut config = self.config.clone();
        if let Some(hook) = &self.before_connect {
            hook(&mut config);
        }
        // O11: what another connect says a moment later is as good.
        self.last.hosts.store(config.host_count(), Ordering::Relaxed);
        config
    }

    /// A connect has failed, and it is or is not known whether another address will do.
    pub(super) fn note_failure(&self, is_undecided: bool) {
        // O11: as above.
        self.last.is_undecided.store(is_undecided, Ordering::Relaxed);
    }

    pub(super) fn classify(&self, error: &Error) -> ErrorClass {
        // O11: as above.
        let hosts = self.last.hosts.load(Ordering::Relaxed).max(self.config.host_count());
        // O11: as above.
        let is_undecided = self.last.is_undecided.load(Ordering::Relaxed);
        classify(error, hosts > 1 || is_undecided)
    }
}

/// Their setters, for one of the managers; its examples name the driver's crate.
macro_rules! setters {
    ($manager:ident, $config:ty, $driver:literal) => {
        impl $manager {
            /// As [`new`](Self::new), from a URL (`postgresql://user@host/db`) or a list of options
            /// (`host=… user=…`).
            ///
            /// # Errors
            ///
            /// Returns the driver's error if `url` is neither, or if it is not clear where the
            /// password in a URL ends: write an `@` in it as `%40`. No error shows any part of the
            /// user's name or password.
            pub fn from_url(url: &str) -> Result<Self, Error> {
                parse(url).map(Self::new)
            }

            /// Sets a hook that is called once before each connect, with a copy of the
            /// configuration: to fill in a password that changes, for example. Its time counts as
            /// the connect's, so it must not block for long.
            ///
            /// ```no_run
            #[doc = concat!("# use caliburn::adapters::postgres::", stringify!($manager), ";")]
            /// # fn token_of_the_hour() -> String { String::new() }
            #[doc = concat!("# fn example() -> Result<(), ", $driver, "::Error> {")]
            /// let config = "host=db user=app";
            #[doc = concat!("let manager = ", stringify!($manager), "::from_url(config)?")]
            ///     .before_connect(|config| { config.password(token_of_the_hour()); });
            /// # let _ = manager;
            /// # Ok(())
            /// # }
            /// ```
            pub fn before_connect(
                mut self,
                hook: impl Fn(&mut $config) + Send + Sync + 'static,
            ) -> Self {
                self.options.before_connect = Some(Box::new(hook));
                self
            }

            /// Sets how much of a loan is undone before the next one. Default:
            /// [`Reset::Transaction`].
            ///
            /// [`Reset::Session`] returns settings to what the URL's `options` and the role's own
            /// defaults say, and then runs the [hooks](crate::Builder::after_connect) of new
            /// connections again. Statements prepared by the driver stay, as no other statement can
            /// have their names; statements prepared in SQL go.
            ///
            /// ```no_run
            /// # use caliburn::adapters::Reset;
            #[doc = concat!("# use caliburn::adapters::postgres::", stringify!($manager), ";")]
            #[doc = concat!("# fn example() -> Result<(), ", $driver, "::Error> {")]
            /// let config = "host=db user=app";
            #[doc = concat!("let manager = ", stringify!($manager), "::from_url(config)?")]
            ///     .reset(Reset::Session);
            /// # let _ = manager;
            /// # Ok(())
            /// # }
            /// ```
            pub fn reset(mut self, reset: Reset) -> Self {
                self.options.reset = reset;
                self
            }

            /// Sets how long the server may be silent while a borrower waits for an answer. After
            /// that the query fails, the pool replaces the connection, and asks the server to
            /// cancel the query. Default: `None`, no limit, as the driver has none.
            ///
            /// It limits silence: each byte from the server restarts it, so it does not end an
            /// answer that trickles. Time that a borrower takes over received rows does not count.
            /// It has no effect over Unix sockets.
            pub fn response_timeout(mut self, timeout: Option<Duration>) -> Self {
                self.options.response_timeout = timeout;
                self
            }

            /// Sets how long a query may go on after its borrower has returned the connection
            /// without waiting for the answer. Then the pool asks the server to cancel the query.
            /// `None`: never, so that the connection is out of service until the query or the
            /// pool's `reset_timeout` ends. Default: 250 ms.
            ///
            /// The request takes a separate connection with the same TLS, for `connect_timeout` at
            /// most. The pool lends the first connection again once both the query and the request
            /// have ended.
            pub fn cancel_after(mut self, grace: Option<Duration>) -> Self {
                self.options.cancel_after = grace;
                self
            }

            /// Sets how many statements each connection keeps for `prepare_cached` and the like. 0:
            /// none. Default: 100.
            pub fn statement_cache_size(mut self, statements: usize) -> Self {
                self.options.statement_cache_size = statements;
                self
            }
        }

        impl FromStr for $manager {
            type Err = Error;

            fn from_str(url: &str) -> Result<Self, Error> {
                Self::from_url(url)
            }
        }

        impl fmt::Debug for $manager {
            /// Without user, password and SQL.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($manager))
                    .field("options", &self.options)
                    .field("tls", &self.tls.is_some())
                    .finish_non_exhaustive()
            }
        }
    };
}
pub(super) use setters;

/// The part of a configuration that may be shown.
macro_rules! shown {
    ($config:ty) => {
        impl fmt::Debug for Options<$config> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct("Options")
                    .field("hosts", &self.config.get_hosts())
                    .field("ports", &self.config.get_ports())
                    .field("dbname", &self.config.get_dbname())
                    .field("reset", &self.reset)
                    .field("response_timeout", &self.response_timeout)
                    .field("cancel_after", &self.cancel_after)
                    .field("statement_cache_size", &self.statement_cache_size)
                    .finish_non_exhaustive()
            }
        }
    };
}

#[cfg(feature = "postgres")]
shown!(postgres::Config);
#[cfg(feature = "tokio-postgres")]
shown!(tokio_postgres::Config);
