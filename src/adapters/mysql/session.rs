//! What both adapters for MySQL and MariaDB know of the server: its error codes, and how to prove
//! that a session is fit for somebody else.

use crate::ErrorClass;
use std::any::Any;
use std::io;

/// What a connect was refused for.
pub(super) fn classify(code: u16) -> ErrorClass {
    match code {
        // Who asks, and for what: access denied (to the server, a database, a table, a privilege),
        // no such database, a host that may not connect or is blocked, an account that is locked or
        // must have a new password, one that needs TLS or a plugin that is not there.
        1044 | 1045 | 1049 | 1129 | 1130 | 1142 | 1227 | 1251 | 1524 | 1698 | 1820 | 1862
        | 3118 | 3159 | 3955 | 4151 => ErrorClass::Permanent,
        // What the first statements say: no database chosen, nonsense, names and values that are
        // unknown.
        1046 | 1064 | 1115 | 1193 | 1231 | 1232 | 1238 | 1273 | 1298 => ErrorClass::Permanent,
        _ => ErrorClass::Transient,
    }
}

/// Whether the server closes a connection on which it says this: it shuts down, somebody killed the
/// session, or it was silent for too long.
pub(super) fn is_farewell(code: u16) -> bool {
    matches!(code, 1053 | 1927 | 3169 | 4031)
}

/// Whether a statement can neither begin nor leave a transaction, in a session that commits by
/// itself: the usual ones, one at a time. In doubt the answer is no; that costs a round trip.
///
/// The server lets no function and no trigger begin or end a transaction; a procedure may.
#[cfg(feature = "mysql")]
pub(super) fn is_harmless(sql: &str) -> bool {
    let sql = sql.trim_ascii();
    let sql = sql.strip_suffix(';').unwrap_or(sql);
    let end = sql.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(sql.len());
    let usual = ["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "SHOW", "WITH"];
    usual.iter().any(|word| sql[..end].eq_ignore_ascii_case(word)) && !sql.contains(';')
}

/// One round trip that ends whatever transaction is open, and shows that the next answer to arrive
/// is the answer to the last question: an answer that somebody else has left behind would not
/// contain the mark.
pub(super) struct Proof {
    mark: String,
}

/// A row of the answer to a [`Proof`]: the mark, and whether the session commits by itself.
pub(super) type ProofRow = (Vec<u8>, bool);

impl Proof {
    /// `number` is another one each time on the same connection.
    pub(super) fn new(number: u64) -> Self {
        Self { mark: format!("caliburn {number}") }
    }

    pub(super) fn sql(&self) -> String {
        format!("ROLLBACK; SELECT '{}', @@autocommit", self.mark)
    }

    /// Whether the session commits by itself; nothing if the rows are no answer to this.
    pub(super) fn check<E>(&self, rows: &[Result<ProofRow, E>]) -> Option<bool> {
        match rows {
            [Ok((mark, is_autocommit))] if *mark == self.mark.as_bytes() => Some(*is_autocommit),
            _ => None,
        }
    }
}

/// Asked for TLS that was not compiled in, the drivers panic.
pub(super) fn without_tls(panic: Box<dyn Any + Send>) -> io::Error {
    let message = match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast::<&str>().map_or_else(|_| String::new(), |s| s.to_string()),
    };
    io::Error::new(io::ErrorKind::Unsupported, message)
}

/// Has a session commit by itself, or not.
pub(super) fn set_autocommit(on: bool) -> String {
    format!("SET autocommit = {}", u8::from(on))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "mysql")]
    #[test]
    fn only_single_usual_statements_are_harmless() {
        for sql in
            ["select 1", " SELECT\n1; ", "INSERT INTO t VALUES (1)", "select(1)", "SHOW TABLES"]
        {
            assert!(is_harmless(sql), "{sql}");
        }
        for sql in [
            "",
            ";",
            "BEGIN",
            "start transaction",
            "SET autocommit = 0",
            "CALL p()",
            "SELECT 1; BEGIN",
            "SELECT 1 /*! ; BEGIN */",
            "/*! BEGIN */",
            "SELECTED",
            "XA START 'x'",
            "LOCK TABLES t WRITE",
        ] {
            assert!(!is_harmless(sql), "{sql}");
        }
    }

    #[test]
    fn a_proof_takes_no_answer_but_its_own() {
        let proof = Proof::new(7);
        let row = |mark: &str| Ok::<ProofRow, ()>((mark.into(), true));
        assert_eq!(proof.check(&[row("caliburn 7")]), Some(true));
        assert_eq!(proof.check::<()>(&[]), None);
        assert_eq!(proof.check(&[row("caliburn 6")]), None);
        assert_eq!(proof.check(&[Err(())]), None);
        assert_eq!(proof.check(&[row("caliburn 7"), row("caliburn 7")]), None);
    }
}
