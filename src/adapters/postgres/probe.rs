//! The statements that the adapters send of their own accord, and what is made of the answers.
//!
//! Nothing that a session may have set changes what they do: they name the schema of all that they
//! call, quote no text, and a plain `ROLLBACK` chains no transaction in PostgreSQL whatever is set.

use super::errors::out_of_step;
use super::named::number_of;
use crate::adapters::Reset;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error as DriverError, SimpleQueryMessage};

/// Ends an open transaction.
pub(super) const ROLLBACK: &str = "ROLLBACK";

pub(super) const UNLISTEN: &str = "UNLISTEN *";

/// Ends what a session keeps beyond its transactions, other than prepared statements: some of those
/// the drivers keep for types they looked up, so `DISCARD ALL` would take too much. Tells which
/// there are of SQL's.
///
/// The settings come first, in a transaction of their own: among them is what each later one begins
/// with, and one that is serializable, read-only and deferrable waits for all others.
pub(super) const RENEW: &str = "BEGIN; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; \
    COMMIT; CLOSE ALL; UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; \
    DISCARD SEQUENCES; \
    SELECT name, from_sql FROM pg_catalog.pg_prepared_statements WHERE from_sql";

/// The prepared statements of a session.
pub(super) const STATEMENTS: &str = "SELECT name, from_sql FROM pg_catalog.pg_prepared_statements";

/// What closes those that should not be there: those that a dropped request has left behind, and in
/// a session that is to be as good as new those that have been named in SQL.
pub(super) fn close_strays(
    statements: &[SimpleQueryMessage],
    strays: &BTreeSet<u64>,
    reset: Reset,
) -> Option<String> {
    let mut close = String::new();
    for message in statements {
        let SimpleQueryMessage::Row(row) = message else { continue };
        // Of those that tell of statements.
        let (Some(name), Ok(Some(is_from_sql))) = (row.get(0), row.try_get(1)) else { continue };
        let is_stray = number_of(name.as_bytes()).is_some_and(|number| strays.contains(&number));
        if is_stray || is_from_sql == "t" && reset == Reset::Session {
            close += &format!("DEALLOCATE \"{}\";", name.replace('"', "\"\""));
        }
    }
    (!close.is_empty()).then_some(close)
}

/// To be asked of a session that must be in step, and may have a transaction open: one that no
/// earlier answer can hold. A rollback alone would be a warning in the server's log if there is
/// none. What such a session listens to is not heard, so it ends that as well.
pub(super) struct Probe(u64);

impl Probe {
    pub(super) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1_000_000_000);
        // O11: a counter.
        Self(NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn sql(&self) -> String {
        // What transactions begin with may be one that waits for all others.
        let ask = format!("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT {}; ROLLBACK", self.0);
        format!("BEGIN; ROLLBACK; {ask}; {UNLISTEN}")
    }

    /// Whether that is the answer.
    pub(super) fn check(&self, answer: &[SimpleQueryMessage]) -> Result<(), DriverError> {
        let is_answer = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(0) == Some(&*self.0.to_string()),
            _ => false,
        };
        if answer.iter().any(is_answer) { Ok(()) } else { Err(out_of_step()) }
    }

    /// It was asked within a transaction that has failed.
    pub(super) fn is_too_early(error: &DriverError) -> bool {
        error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION)
    }
}
