//! Which part a server plays in its cluster, and signs that it has another one now.

use super::messages::text_of;
use crate::RoleReport;
use std::time::Duration;
use tokio_postgres::{Error, SimpleQueryMessage};

/// Asks for the role. Nothing that a session may have set changes it.
///
/// Whether the server takes writes is asked of what sessions begin with, not of this one, in which
/// a borrower may have set anything. The term is the timeline, which each promotion raises. A
/// replica that has replayed all that it has received is not behind, if it is receiving; else the
/// last commit that it has replayed tells, which is too old if nothing was written since; without
/// any, what it has is older than its server.
pub(super) const ROLE: &str = "\
    BEGIN ISOLATION LEVEL READ COMMITTED; \
    SELECT pg_catalog.pg_is_in_recovery(), \
    (SELECT reset_val FROM pg_catalog.pg_settings \
    WHERE name OPERATOR(pg_catalog.=) 'default_transaction_read_only'), \
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE pg_catalog.substr(\
    pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) END, \
    CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN NULL \
    WHEN pg_catalog.pg_last_wal_receive_lsn() OPERATOR(pg_catalog.=) \
    pg_catalog.pg_last_wal_replay_lsn() \
    AND EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver) THEN 0 \
    ELSE pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() \
    OPERATOR(pg_catalog.-) COALESCE(pg_catalog.pg_last_xact_replay_timestamp(), \
    pg_catalog.pg_postmaster_start_time())) END; \
    ROLLBACK";

/// What the answer says. Of a server that does not know the question, nothing is known.
pub(super) fn read(answer: Result<Vec<SimpleQueryMessage>, Error>) -> Result<RoleReport, Error> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if is_unknown(&error) => return Ok(RoleReport::default()),
        Err(error) => return Err(error),
    };
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let Some(row) = row else { return Ok(RoleReport::default()) };
    let said = |column| row.try_get(column).ok().flatten();
    let seconds = said(3).and_then(|lag: &str| lag.parse::<f64>().ok());
    let lag = seconds.and_then(|lag| Duration::try_from_secs_f64(lag.max(0.0)).ok());
    Ok(match (said(0), said(1)) {
        (Some("t"), _) => RoleReport::replica(lag),
        // It serves reads.
        (Some("f"), Some("on")) => RoleReport::replica(None),
        (Some("f"), _) => {
            RoleReport::primary(said(2).and_then(|line| u64::from_str_radix(line, 16).ok()))
        }
        _ => RoleReport::default(),
    })
}

/// The server is another database that speaks the protocol, or this user may not ask.
fn is_unknown(error: &Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("42") || code.code() == "0A000")
}

/// Whether an `ErrorResponse` says that the server or the transaction takes no writes:
/// `read_only_sql_transaction`.
pub(super) fn is_refused_write(mut fields: &[u8]) -> bool {
    while let Some((field, rest)) = text_of(fields) {
        if field.is_empty() || field.starts_with(b"C") {
            return field == b"C25006";
        }
        fields = rest;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::is_refused_write;

    #[test]
    fn a_refused_write_is_told_by_its_code() {
        assert!(is_refused_write(b"SERROR\0VERROR\0C25006\0Mcannot execute INSERT\0\0"));
        assert!(!is_refused_write(b"SERROR\0VERROR\0C25001\0MC25006\0\0"));
        assert!(!is_refused_write(b"SERROR\0VERROR\0\0"));
        assert!(!is_refused_write(b"SERROR\0VERROR\0C2500"));
    }
}
