//! The prepared statements that one connection keeps, for both drivers.

use super::named::number_of;
use super::tap::Tap;
use std::collections::HashMap;
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
    /// In its name.
    number: Option<u64>,
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

    /// None of those that the server has, or may have, forgotten, or that could not be executed.
    pub(super) fn get(&self, text: &str, types: &[Type]) -> Option<Statement> {
        let epoch = self.tap.named(|named| named.epoch());
        let mut kept = self.kept();
        if kept.epoch != epoch {
            let forgotten = kept.forget(epoch);
            drop(kept);
            self.let_go(forgotten);
            return None;
        }
        kept.uses += 1;
        let now = kept.uses;
        let entry = kept.find(text, types)?;
        let has_failed = |number| self.tap.named(|named| named.has_failed(number));
        if entry.number.is_some_and(has_failed) {
            let forgotten = kept.take(text, types);
            drop(kept);
            self.let_go(forgotten);
            return None;
        }
        entry.used = now;
        Some(entry.statement.clone())
    }

    /// Not under the lock: to drop them is to ask for their end.
    fn let_go(&self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            if let Some(number) = entry.number {
                self.tap.named(|named| named.let_go(number));
            }
        }
    }

    pub(super) fn put(&self, text: &str, types: &[Type], statement: &Statement) {
        if self.size == 0 {
            return;
        }
        let mut kept = self.kept();
        let evicted = if kept.count >= self.size { kept.evict() } else { None };
        kept.count += 1;
        let used = kept.uses;
        let number = number_in(statement);
        let entry = Entry { types: types.into(), number, statement: statement.clone(), used };
        let entries = kept.by_text.entry(text.into()).or_default();
        // Two may have prepared the same at once.
        let twin = entries.iter().position(|other| other.types == entry.types);
        let twin = twin.map(|at| entries.swap_remove(at));
        entries.push(entry);
        kept.count -= usize::from(twin.is_some());
        drop(kept);
        self.let_go(evicted.into_iter().chain(twin));
    }

    /// All of them may be gone, or be of no use.
    pub(super) fn forget(&self) {
        let epoch = self.tap.named(|named| named.epoch());
        let forgotten = self.kept().forget(epoch);
        self.let_go(forgotten);
    }

    /// The driver counts on a statement of its own that is gone, by which it looks up types, and
    /// which it does not prepare again: the connection is of no use for long.
    pub(super) fn note_failed_prepare(&self, error: &Error) {
        if error.code() == Some(&SqlState::INVALID_SQL_STATEMENT_NAME) {
            self.tap.named(|named| named.spoil());
        }
    }

    /// Whether a statement is gone that the driver or its owner still has. Statements kept here are
    /// prepared anew.
    pub(super) fn are_spoilt(&self) -> bool {
        let (are_spoilt, gone) =
            self.tap.named(|named| (named.are_spoilt(self.size), named.gone()));
        if gone.is_empty() {
            return are_spoilt;
        }
        let kept = self.kept();
        let mut numbers = kept.by_text.values().flatten().map(|entry| entry.number);
        // Without its number it may be any of them.
        let is_kept = |gone: &u64| numbers.any(|number| number.is_none_or(|of| of == *gone));
        are_spoilt || !gone.iter().all(is_kept)
    }

    /// What was closed at the server since was none of these.
    pub(super) fn trust(&self) {
        self.kept().epoch = self.tap.named(|named| named.epoch());
    }

    /// Whether a request with a kept statement that failed with this error is worth a second try
    /// with one that is prepared anew. Nothing of it has been executed, and no transaction has
    /// failed with it.
    pub(super) fn may_retry(&self, text: &str, error: &Error) -> bool {
        let Some(error) = error.as_db_error() else { return false };
        let is_gone = *error.code() == SqlState::INVALID_SQL_STATEMENT_NAME;
        let is_stale = *error.code() == SqlState::FEATURE_NOT_SUPPORTED
            && error.routine() == Some("RevalidateCachedQuery");
        if is_gone || is_stale {
            self.forget();
            // Said of the statement itself, and not by what it has called: of that, some may be
            // committed by then.
            let is_at_once = is_stale || error.routine() == Some("FetchPreparedStatement");
            return is_at_once && error.where_().is_none() && !self.tap.is_in_transaction();
        }
        let code = error.code().code();
        if code.starts_with("42") || code == "XX000" {
            // What it names may have been made anew.
            let forgotten = self.kept().take(text, &[]);
            self.let_go(forgotten);
        }
        false
    }
}

/// The number in the statement's name, which only `Debug` shows. `None`: its form has changed.
fn number_in(statement: &Statement) -> Option<u64> {
    let shown = format!("{statement:?}");
    let (_, rest) = shown.split_once("name: \"")?;
    number_of(rest.split_once('"')?.0.as_bytes())
}

/// Of the errors of two tries, the one that tells why: after a transaction has failed unseen with
/// the first, the second says only that it has.
pub(super) fn the_cause(first: Error, second: Error) -> Error {
    let is_late = second.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION);
    if is_late { first } else { second }
}

impl Kept {
    fn forget(&mut self, epoch: u64) -> Vec<Entry> {
        self.epoch = epoch;
        self.count = 0;
        std::mem::take(&mut self.by_text).into_values().flatten().collect()
    }

    fn find(&mut self, text: &str, types: &[Type]) -> Option<&mut Entry> {
        self.by_text.get_mut(text)?.iter_mut().find(|entry| *entry.types == *types)
    }

    fn take(&mut self, text: &str, types: &[Type]) -> Option<Entry> {
        let entries = self.by_text.get_mut(text)?;
        let at = entries.iter().position(|entry| *entry.types == *types)?;
        let taken = entries.swap_remove(at);
        if entries.is_empty() {
            self.by_text.remove(text);
        }
        self.count -= 1;
        Some(taken)
    }

    fn evict(&mut self) -> Option<Entry> {
        let entries = self.by_text.iter().flat_map(|(text, entries)| {
            entries.iter().enumerate().map(move |(at, entry)| (entry.used, text, at))
        });
        let (_, text, at) = entries.min_by_key(|(used, ..)| *used)?;
        let (text, types) = (text.clone(), self.by_text[text][at].types.clone());
        self.take(&text, &types)
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
            /// (`DISCARD ALL`, `DEALLOCATE`), or they no longer fit (a table has changed, a type
            /// was made anew): the query that finds that out fails, unless it is one of
            /// `query_cached` and the like and nothing of it has been executed.
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
                    $this.statements.note_failed_prepare(error);
                }
                let statement = statement?;
                $this.statements.put(sql, types, &statement);
                Ok(statement)
            }

            cached!(
                @query $driver, $retries, [$($receiver)+] $this,
                query, query_cached, Vec<Row> $(, $async $await)?
            );
            cached!(
                @query $driver, $retries, [$($receiver)+] $this,
                query_one, query_one_cached, Row $(, $async $await)?
            );
            cached!(
                @query $driver, $retries, [$($receiver)+] $this,
                query_opt, query_opt_cached, Option<Row> $(, $async $await)?
            );
            cached!(
                @query $driver, $retries, [$($receiver)+] $this,
                execute, execute_cached, u64 $(, $async $await)?
            );
        }
    };
    (
        @query $driver:ident, $retries:literal, [$($receiver:tt)+] $this:tt,
        $query:ident, $cached:ident, $output:ty $(, $async:tt $await:tt)?
    ) => {
        #[doc = concat!("As `", stringify!($query), "`, with a statement that is")]
        /// [kept](Self::prepare_cached).
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
                Err(error) if $this.statements.may_retry(sql, &error) && $retries => {
                    let statement = match $this.prepare_cached(sql)$(.$await)? {
                        Ok(statement) => statement,
                        Err(second) => return Err(the_cause(error, second)),
                    };
                    let result = $this.$driver.$query(&statement, parameters)$(.$await)?;
                    result.map_err(|second| the_cause(error, second))
                }
                result => result,
            }
        }
    };
}
pub(super) use cached;
