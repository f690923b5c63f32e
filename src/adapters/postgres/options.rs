//! The options that both managers have.

use super::errors::classify;
use super::reach::Reachable;
use super::statements::USUAL_SIZE;
use crate::ErrorClass;
use crate::adapters::Reset;
use std::fmt;
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
            /// As [`new`](Self::new), from a URL (`postgresql://user@host/db`) or a list of
            /// options (`host=… user=…`). No error shows any part of the user's name or password.
            ///
            /// # Errors
            ///
            /// Returns the driver's error if it is neither, or a URL of which it is not clear where
            /// the password ends: an `@` in it must be written as `%40`.
            pub fn from_url(url: &str) -> Result<Self, Error> {
                parse(url).map(Self::new)
            }

            /// Called with a copy of the configuration before each connect: to fill in a password
            /// that changes, for example. It must not block for long: its time counts as the
            /// connect's.
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

            /// How much of a loan the next borrower may find. Default: [`Reset::Transaction`].
            ///
            /// [`Reset::Session`] returns settings to what the URL's `options` and the role's own
            /// defaults say, and then runs the [hooks](crate::Builder::after_connect) of new
            /// connections again. Statements that were prepared by the driver stay, as they have
            /// names that nothing else can hit upon; those that were prepared in SQL go.
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

            /// How long the server may say nothing while a borrower waits for an answer. After
            /// that the query fails, and the connection is replaced. The server is asked to give
            /// up the query. Default: no limit, as the driver has none.
            ///
            /// It is a limit of silence: each byte from the server begins it anew, so it does not
            /// end an answer that trickles. Time that a borrower takes over rows that have come
            /// does not count.
            ///
            /// Without effect over Unix sockets.
            pub fn response_timeout(mut self, timeout: Option<Duration>) -> Self {
                self.options.response_timeout = timeout;
                self
            }

            /// After how long the server is asked to give up a query whose borrower has returned
            /// the connection without having waited for the answer. `None`: never, so that the
            /// connection is out of service until the query ends, or the pool's `reset_timeout`
            /// does. Default: 250 ms.
            ///
            /// The request takes a connection of its own, with the same TLS, for at most as long as
            /// a connect may take. The connection is lent again only once both have ended.
            pub fn cancel_after(mut self, grace: Option<Duration>) -> Self {
                self.options.cancel_after = grace;
                self
            }

            /// How many statements each connection keeps for `prepare_cached` and the like. 0:
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
