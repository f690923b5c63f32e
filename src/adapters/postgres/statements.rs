//! The prepared statements that one connection keeps, for both drivers.

use super::named::number_of;
use super::tap::Tap;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Statement};

/// How many statements a connection keeps unless told otherwise.
pub(super) const USUAL_SIZE: usize = 100;

/// The statements that were prepared last, by their text and the types that were asked for.
///
/// One that is evicted is closed at the server once the last copy of it is dropped.
#[derive(Debug)]
pub(super) struct Statements {
    size: usize,
    tap: Tap,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The tap's, when what is kept was known to be there.
    epoch: u64,
    /// Ever looked for: the clock by which the least recently used is found.
    uses: u64,
    count: usize,
    by_text: HashMap<Box<str>, Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    types: Box<[Type]>,
    statement: Statement,
    used: u64,
}

impl Statements {
    pub(super) fn new(size: usize, tap: Tap) -> Self {
        Self { size, tap, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None of those that the server has, or may have, forgotten.
    pub(super) fn get(&self, text: &str, types: &[Type]) -> Option<Statement> {
        let epoch = self.tap.named(|named| named.epoch());
        let mut kept = self.kept();
        if kept.epoch != epoch {
            let forgotten = kept.forget(epoch);
            drop(kept);
            drop(forgotten);
            return None;
        }
        kept.uses += 1;
        let now = kept.uses;
        let entries = kept.by_text.get_mut(text)?;
        let entry = entries.iter_mut().find(|entry| *entry.types == *types)?;
        entry.used = now;
        Some(entry.statement.clone())
    }

    pub(super) fn put(&self, text: &str, types: &[Type], statement: &Statement) {
        if self.size == 0 {
            return;
        }
        let mut kept = self.kept();
        let evicted = if kept.count >= self.size { kept.evict() } else { None };
        kept.count += 1;
        let used = kept.uses;
        let entry = Entry { types: types.into(), statement: statement.clone(), used };
        let entries = kept.by_text.entry(text.into()).or_default();
        // Two may have prepared the same at once.
        let twin = entries.iter().position(|other| other.types == entry.types);
        let twin = twin.map(|at| entries.swap_remove(at));
        entries.push(entry);
        kept.count -= usize::from(twin.is_some());
        drop(kept);
        // Not under the lock: to drop them is to ask for their end.
        drop((evicted, twin));
    }

    /// All of them may be gone, or be of no use.
    pub(super) fn forget(&self) {
        let epoch = self.tap.named(|named| named.epoch());
        let forgotten = self.kept().forget(epoch);
        drop(forgotten);
    }

    /// The driver counts on a statement that is gone: the connection is of no use for long.
    pub(super) fn spoil(&self) {
        self.tap.named(|named| named.spoil());
    }

    /// What was closed at the server since was none of these.
    pub(super) fn trust(&self) {
        self.kept().epoch = self.tap.named(|named| named.epoch());
    }

    /// The numbers in their names, which the driver shows only to those who debug. `None`: it has
    /// come to show them otherwise.
    pub(super) fn numbers(&self) -> Option<BTreeSet<u64>> {
        let kept = self.kept();
        let statements = kept.by_text.values().flatten().map(|entry| &entry.statement);
        statements
            .map(|statement| {
                let shown = format!("{statement:?}");
                let (_, rest) = shown.split_once("name: \"")?;
                number_of(rest.split_once('"')?.0.as_bytes())
            })
            .collect()
    }

    /// Whether a request that failed with this error is worth a second try with a statement that is
    /// prepared anew. Nothing of it has been executed, and no transaction has failed with it.
    pub(super) fn may_retry(&self, error: &Error) -> bool {
        let code = error.code();
        let is_gone = code == Some(&SqlState::INVALID_SQL_STATEMENT_NAME);
        let is_stale = code == Some(&SqlState::FEATURE_NOT_SUPPORTED)
            && error.as_db_error().and_then(|error| error.routine())
                == Some("RevalidateCachedQuery");
        if !is_gone && !is_stale {
            return false;
        }
        self.forget();
        !self.tap.is_in_transaction()
    }
}

impl Kept {
    fn forget(&mut self, epoch: u64) -> HashMap<Box<str>, Vec<Entry>> {
        self.epoch = epoch;
        self.count = 0;
        std::mem::take(&mut self.by_text)
    }

    fn evict(&mut self) -> Option<Entry> {
        let entries = self.by_text.iter().flat_map(|(text, entries)| {
            entries.iter().enumerate().map(move |(at, entry)| (entry.used, text, at))
        });
        let (_, text, at) = entries.min_by_key(|(used, ..)| *used)?;
        let text = text.clone();
        let entries = self.by_text.get_mut(&text)?;
        let evicted = entries.swap_remove(at);
        if entries.is_empty() {
            self.by_text.remove(&text);
        }
        self.count -= 1;
        Some(evicted)
    }
}

/// The methods of a client or of a transaction that use the statements it keeps, for threads and
/// for tasks: `$driver` is its field that has the driver's, `$statements` the one that has them.
macro_rules! cached {
    (
        $type:ty, $driver:ident, $retries:literal,
        [$($receiver:tt)+] $this:tt $(, $async:tt $await:tt)?
    ) => {
        impl $type {
            /// As `prepare`, but a statement that this connection has prepared already, on this
            /// loan or an earlier one, is there at once.
            ///
            /// Up to `statement_cache_size` statements are kept for each connection, those that
            /// were used last. They are prepared anew once the server has forgotten them
            /// (`DISCARD ALL`, `DEALLOCATE`), or they no longer fit (a table has changed): the
            /// query that finds that out fails, unless it is one of `query_cached` and the like.
            ///
            /// # Errors
            ///
            /// Returns the driver's error if the statement could not be prepared.
            pub $($async)? fn prepare_cached($($receiver)+, sql: &str) -> Result<Statement, Error> {
                $this.prepare_typed_cached(sql, &[])$(.$await)?
            }

            /// As `prepare_typed`, otherwise as [`prepare_cached`](Self::prepare_cached).
            ///
            /// # Errors
            ///
            /// Returns the driver's error if the statement could not be prepared.
            pub $($async)? fn prepare_typed_cached(
                $($receiver)+,
                sql: &str,
                types: &[Type],
            ) -> Result<Statement, Error> {
                if let Some(statement) = $this.statements.get(sql, types) {
                    return Ok(statement);
                }
                let statement = $this.$driver.prepare_typed(sql, types)$(.$await)?;
                if let Err(error) = &statement {
                    // Of the driver's own, by which it looks up types, and which it does not
                    // prepare again.
                    if error.code() == Some(&SqlState::INVALID_SQL_STATEMENT_NAME) {
                        $this.statements.spoil();
                    }
                }
                let statement = statement?;
                $this.statements.put(sql, types, &statement);
                Ok(statement)
            }

            cached!(@query $driver, $retries, [$($receiver)+] $this, query, query_cached, Vec<Row> $(, $async $await)?);
            cached!(@query $driver, $retries, [$($receiver)+] $this, query_one, query_one_cached, Row $(, $async $await)?);
            cached!(@query $driver, $retries, [$($receiver)+] $this, query_opt, query_opt_cached, Option<Row> $(, $async $await)?);
            cached!(@query $driver, $retries, [$($receiver)+] $this, execute, execute_cached, u64 $(, $async $await)?);
        }
    };
    (
        @query $driver:ident, $retries:literal, [$($receiver:tt)+] $this:tt,
        $query:ident, $cached:ident, $output:ty $(, $async:tt $await:tt)?
    ) => {
        #[doc = concat!("As `", stringify!($query), "`, with a statement that is [kept](Self::prepare_cached).")]
        /// Outside of a transaction, one that turns out to be gone or to no longer fit is prepared
        /// anew, once; a transaction has failed by then.
        ///
        /// # Errors
        ///
        /// Returns the driver's error, as the method it is named for.
        pub $($async)? fn $cached(
            $($receiver)+,
            sql: &str,
            parameters: &[&(dyn ToSql + Sync)],
        ) -> Result<$output, Error> {
            let statement = $this.prepare_cached(sql)$(.$await)??;
            let result = $this.$driver.$query(&statement, parameters)$(.$await)?;
            match result {
                Err(error) if $this.statements.may_retry(&error) && $retries => {
                    let statement = $this.prepare_cached(sql)$(.$await)??;
                    $this.$driver.$query(&statement, parameters)$(.$await)?
                }
                result => result,
            }
        }
    };
}
pub(super) use cached;
