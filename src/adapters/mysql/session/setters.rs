//! The setters that both managers have.

/// Those of `$manager`, which says itself what the three do that the drivers make differ. To stand
/// in its `impl`.
macro_rules! setters {
    (
        $manager:ident;
        $(#[$reset:meta])* reset;
        $(#[$response_timeout:meta])* response_timeout;
        $(#[$password_without_tls:meta])* password_without_tls;
    ) => {
        /// Connects as `url` says: `mysql://user:password@host:port/database?option=value`.
        ///
        /// # Errors
        ///
        /// Returns what is wrong with the URL, without any part of its user and password.
        pub fn from_url(url: &str) -> std::result::Result<Self, UrlError> {
            parse(url, Opts::from_url).map(Self::new)
        }

        $(#[$reset])*
        pub fn reset(mut self, reset: Reset) -> Self {
            self.reset = reset;
            self
        }

        $(#[$response_timeout])*
        pub fn response_timeout(mut self, timeout: Option<Duration>) -> Self {
            self.response_timeout = timeout;
            self
        }

        $(#[$password_without_tls])*
        pub fn password_without_tls(mut self, is_allowed: bool) -> Self {
            self.connect = Arc::new(Connect::with_password(is_allowed));
            self.canceller = Arc::new(Canceller::new(Arc::clone(&self.connect)));
            self
        }

        /// Sets a hook that is called once before each connect, with a copy of the options: to fill
        /// in a password that changes, for example. Its time counts as the connect's.
        ///
        /// ```no_run
        /// # use caliburn::adapters::mysql::UrlError;
        #[doc = concat!("# use caliburn::adapters::mysql::", stringify!($manager), ";")]
        /// # fn token_of_the_hour() -> String { String::new() }
        /// # fn example() -> Result<(), UrlError> {
        /// let url = "mysql://app@db.example";
        #[doc = concat!("let manager = ", stringify!($manager), "::from_url(url)?")]
        ///     .before_connect(|opts| opts.pass(Some(token_of_the_hour())));
        /// # let _ = manager;
        /// # Ok(())
        /// # }
        /// ```
        pub fn before_connect(
            mut self,
            change: impl Fn(OptsBuilder) -> OptsBuilder + Send + Sync + 'static,
        ) -> Self {
            self.before_connect = Some(Box::new(change));
            self
        }
    };
}
pub(in crate::adapters::mysql) use setters;
