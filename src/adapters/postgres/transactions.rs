//! What the transactions of both drivers have in common.

/// A transaction that uses the statements that its connection keeps, and its builder, for threads
/// or for tasks. Where the driver's own is wanted, `$borrow` is what to give.
macro_rules! transactions {
    (
        $transaction:ident, $builder:ident, $client:ident, $token:ident, $borrow:literal
        $(, $async:tt $await:tt)?
    ) => {
        /// A transaction: derefs to the driver's [`Transaction`], and uses the statements that its
        /// connection keeps. Dropping it without a commit rolls back.
        ///
        /// Where a function wants the driver's transaction, or a `GenericClient`, pass
        #[doc = concat!("`", $borrow, "`.")]
        pub struct $transaction<'a> {
            transaction: Transaction<'a>,
            statements: &'a Statements,
            canceller: &'a Canceller,
        }

        impl $transaction<'_> {
            /// As [`Transaction::commit`].
            ///
            /// # Errors
            ///
            /// Returns the driver's error.
            pub $($async)? fn commit(self) -> Result<(), Error> {
                self.transaction.commit()$(.$await)?
            }

            /// As [`Transaction::rollback`].
            ///
            /// # Errors
            ///
            /// Returns the driver's error.
            pub $($async)? fn rollback(self) -> Result<(), Error> {
                self.transaction.rollback()$(.$await)?
            }

            /// As [`Transaction::transaction`]: a savepoint.
            ///
            /// # Errors
            ///
            /// Returns the driver's error.
            pub $($async)? fn transaction(&mut self) -> Result<$transaction<'_>, Error> {
                let transaction = self.transaction.transaction()$(.$await)??;
                let (statements, canceller) = (self.statements, self.canceller);
                Ok($transaction { transaction, statements, canceller })
            }

            /// As [`Transaction::savepoint`].
            ///
            /// # Errors
            ///
            /// Returns the driver's error.
            pub $($async)? fn savepoint(
                &mut self,
                name: impl Into<String>,
            ) -> Result<$transaction<'_>, Error> {
                let transaction = self.transaction.savepoint(name)$(.$await)??;
                let (statements, canceller) = (self.statements, self.canceller);
                Ok($transaction { transaction, statements, canceller })
            }

            #[doc = concat!(
                "As [`", stringify!($client), "::cancel_token`](super::", stringify!($client),
                "::cancel_token)."
            )]
            pub fn cancel_token(&self) -> $token {
                self.canceller.token()
            }
        }

        impl<'a> Deref for $transaction<'a> {
            type Target = Transaction<'a>;

            fn deref(&self) -> &Transaction<'a> {
                &self.transaction
            }
        }

        impl<'a> DerefMut for $transaction<'a> {
            fn deref_mut(&mut self) -> &mut Transaction<'a> {
                &mut self.transaction
            }
        }

        impl fmt::Debug for $transaction<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($transaction)).finish_non_exhaustive()
            }
        }

        /// The options of a transaction: the driver's [`TransactionBuilder`].
        #[must_use = "a transaction begins with `start`"]
        pub struct $builder<'a> {
            pub(super) builder: TransactionBuilder<'a>,
            pub(super) statements: &'a Statements,
            pub(super) canceller: &'a Canceller,
        }

        impl<'a> $builder<'a> {
            /// As [`TransactionBuilder::isolation_level`].
            pub fn isolation_level(self, isolation_level: IsolationLevel) -> Self {
                Self { builder: self.builder.isolation_level(isolation_level), ..self }
            }

            /// As [`TransactionBuilder::read_only`].
            pub fn read_only(self, read_only: bool) -> Self {
                Self { builder: self.builder.read_only(read_only), ..self }
            }

            /// As [`TransactionBuilder::deferrable`].
            pub fn deferrable(self, deferrable: bool) -> Self {
                Self { builder: self.builder.deferrable(deferrable), ..self }
            }

            /// As [`TransactionBuilder::start`].
            ///
            /// # Errors
            ///
            /// Returns the driver's error if it could not be begun.
            pub $($async)? fn start(self) -> Result<$transaction<'a>, Error> {
                let Self { builder, statements, canceller } = self;
                let transaction = builder.start()$(.$await)??;
                Ok($transaction { transaction, statements, canceller })
            }
        }

        impl fmt::Debug for $builder<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($builder)).finish_non_exhaustive()
            }
        }
    };
}
pub(super) use transactions;
