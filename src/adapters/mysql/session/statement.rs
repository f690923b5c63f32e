//! What a statement's text tells of the transaction that may be open after it.
//!
//! In doubt the answer is [`Effect::Unknown`]: that costs a round trip after the loan.

/// How the pool's own transactions end, whatever the session's `completion_type` is.
#[cfg(feature = "mysql")]
pub(in crate::adapters::mysql) const COMMIT: &str = "COMMIT AND NO CHAIN NO RELEASE";
pub(in crate::adapters::mysql) const ROLLBACK: &str = "ROLLBACK AND NO CHAIN NO RELEASE";

/// What becomes of the session's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::adapters::mysql) enum Effect {
    /// Begins none. The server lets no function and no trigger do that; a procedure may.
    Keeps,
    Begins,
    Ends,
    /// Ends it, and if the session's `completion_type` says so, another one begins at once, or the
    /// session ends.
    MayChain,
    Unknown,
}

/// Verbs of statements that cannot begin a transaction in a session that commits by itself, and
/// leave no lock, and change no setting that the pool relies on.
const PLAIN: [&str; 24] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "REPLACE",
    "WITH",
    "SHOW",
    "VALUES",
    "TABLE",
    "EXPLAIN",
    "DESCRIBE",
    "DESC",
    "TRUNCATE",
    "RENAME",
    "ANALYZE",
    "OPTIMIZE",
    "CHECK",
    "CHECKSUM",
    "REPAIR",
    "GRANT",
    "REVOKE",
    "SAVEPOINT",
    "DO",
    "LOAD",
];

/// What can be created, altered and dropped without a change to the session. A database is not
/// among it: the session may lose its own.
const OBJECTS: [&str; 14] = [
    "TABLE",
    "TEMPORARY",
    "INDEX",
    "UNIQUE",
    "FULLTEXT",
    "SPATIAL",
    "VIEW",
    "TRIGGER",
    "FUNCTION",
    "PROCEDURE",
    "EVENT",
    "USER",
    "ROLE",
    "SEQUENCE",
];

impl Effect {
    /// Of the text as it is sent.
    pub(in crate::adapters::mysql) fn of(sql: &str) -> Self {
        let mut words = Words::of(sql);
        let mut next = || words.next().map(|word| word.to_ascii_uppercase());
        let Some(verb) = next() else { return Self::Unknown };
        let effect = match &*verb {
            "CREATE" | "ALTER" | "DROP" => {
                let mut object = next();
                if object.as_deref() == Some("OR") && next().as_deref() == Some("REPLACE") {
                    object = next();
                }
                match object {
                    Some(object) if OBJECTS.contains(&&*object) => Self::Keeps,
                    _ => Self::Unknown,
                }
            }
            verb if PLAIN.contains(&verb) => Self::Keeps,
            "RELEASE" => match next().as_deref() {
                Some("SAVEPOINT") => Self::Keeps,
                _ => Self::Unknown,
            },
            "BEGIN" => match (next().as_deref(), next()) {
                (None | Some("WORK"), None) => Self::Begins,
                _ => Self::Unknown,
            },
            "START" => match next().as_deref() {
                Some("TRANSACTION") => Self::Begins,
                _ => Self::Unknown,
            },
            "COMMIT" | "ROLLBACK" => {
                let rest: Vec<_> = std::iter::from_fn(next).take(7).collect();
                let rest: Vec<_> = rest.iter().map(String::as_str).collect();
                match rest.strip_prefix(&["WORK"]).unwrap_or(&rest) {
                    [] | ["AND", "NO", "CHAIN"] | ["NO", "RELEASE"] => Self::MayChain,
                    ["AND", "NO", "CHAIN", "NO", "RELEASE"] => Self::Ends,
                    ["TO", ..] => Self::Keeps,
                    _ => Self::Unknown,
                }
            }
            _ => Self::Unknown,
        };
        if words.end_a_single_one() { effect } else { Self::Unknown }
    }
}

/// The words with which a statement begins, up to the first other thing.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn of(sql: &'a str) -> Self {
        Self { rest: sql }
    }

    /// Goes over blanks, brackets that open, and comments.
    fn skip(&mut self) {
        // As the server has it: with the vertical tab.
        let is_blank = |c: char| c.is_ascii_whitespace() || matches!(c, '\x0b' | '(');
        loop {
            self.rest = self.rest.trim_start_matches(is_blank);
            match comment(self.rest) {
                Some(length) => self.rest = &self.rest[length..],
                None => return,
            }
        }
    }

    fn next(&mut self) -> Option<&'a str> {
        self.skip();
        let is_over = |c: char| !c.is_ascii_alphabetic() && c != '_';
        let end = self.rest.find(is_over).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    /// Nothing that follows can be a second statement: neither after a `;`, nor in a comment that
    /// is executed.
    fn end_a_single_one(mut self) -> bool {
        let tells = |byte| matches!(byte, b'\'' | b'"' | b'`' | b';' | b'#' | b'-' | b'/');
        while let Some(at) = self.rest.bytes().position(tells) {
            self.rest = &self.rest[at..];
            let length = match (self.rest.as_bytes()[0], comment(self.rest)) {
                (_, Some(length)) => length,
                (b'/', None) if self.rest.starts_with("/*") => return false,
                (b'\'' | b'"' | b'`', None) => match quoted(self.rest) {
                    Some(length) => length,
                    None => return is_without_a_second(&self.rest[1..]),
                },
                (b';', None) => {
                    let mut tail = Self::of(&self.rest[1..]);
                    tail.skip();
                    return tail.rest.is_empty();
                }
                _ => 1,
            };
            self.rest = &self.rest[length..];
        }
        true
    }
}

/// The length of a comment with which `sql` begins. Not of one that the server may execute.
fn comment(sql: &str) -> Option<usize> {
    let is_blank = |byte: u8| byte == b' ' || byte.is_ascii_control();
    let is_dashed =
        sql.strip_prefix("--").is_some_and(|after| after.bytes().next().is_none_or(is_blank));
    if sql.starts_with('#') || is_dashed {
        return Some(sql.find('\n').map_or(sql.len(), |end| end + 1));
    }
    let inside = sql.strip_prefix("/*")?;
    if inside.starts_with('!') || inside.starts_with("M!") {
        return None;
    }
    inside.find("*/").map(|end| end + 4)
}

/// The length of the quoted text with which `sql` begins. `None`: where it ends depends on the
/// session's settings, on whether a backslash escapes and which characters have more than one
/// byte; or it does not end.
fn quoted(sql: &str) -> Option<usize> {
    let bytes = sql.as_bytes();
    let quote = bytes[0];
    for at in 1..bytes.len() {
        let may_be_half = bytes[at] == b'`' && !bytes[at - 1].is_ascii();
        if bytes[at] == b'\\' && quote != b'`' || may_be_half {
            return None;
        }
        if bytes[at] == quote {
            // One that is doubled opens the next quoted text, which is as good.
            return Some(at + 1);
        }
    }
    None
}

/// Whether text of which it is not known what is quoted cannot contain another statement.
fn is_without_a_second(sql: &str) -> bool {
    let sql = sql.trim_ascii_end();
    let sql = sql.strip_suffix(';').unwrap_or(sql);
    !sql.contains(';') && !sql.contains("/*")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(effect: Effect, statements: &[&str]) {
        for sql in statements {
            assert_eq!(Effect::of(sql), effect, "{sql}");
        }
    }

    #[test]
    fn usual_statements_keep_things_as_they_are() {
        check(
            Effect::Keeps,
            &[
                "select 1",
                " SELECT\n1; ",
                "INSERT INTO t VALUES (1)",
                "select(1)",
                "(SELECT 1) UNION (SELECT 2)",
                "SHOW TABLES",
                "-- who asks\nSELECT 1",
                "# who asks\nSELECT 1",
                "/* who asks */ /* and why */ SELECT 1 -- because",
                "SELECT /*+ NO_ICP(t) */ 1;  -- because; and so on",
                "SELECT ';', \"a;b\", `c;d`, 'it''s; so'",
                "SELECT 'a\\n'",
                "SELECT 'it\\'s', 1;",
                "INSERT INTO t VALUES ('ü', 'ß;')",
                "CREATE TABLE t (id INT)",
                "ROLLBACK TO a",
                "ROLLBACK WORK TO SAVEPOINT a",
                "SAVEPOINT a",
                "RELEASE SAVEPOINT a",
                "/*My own*/ DROP TABLE t",
                "DROP\x0bTABLE t",
                "CREATE OR REPLACE TABLE t (id INT)",
                "CREATE UNIQUE INDEX i ON t (id)",
                "ALTER TABLE t ADD (name TEXT)",
            ],
        );
    }

    #[test]
    fn what_begins_and_ends_a_transaction_is_known() {
        check(
            Effect::Begins,
            &["BEGIN", "begin work;", "START TRANSACTION READ ONLY", "/* */ BEGIN"],
        );
        check(Effect::MayChain, &["COMMIT", " rollback ; ", "COMMIT WORK", "-- done\nCOMMIT"]);
        // Each leaves open what `completion_type` may add.
        check(Effect::MayChain, &["commit work and no chain;", "ROLLBACK NO RELEASE"]);
        check(Effect::Ends, &[COMMIT, ROLLBACK, "commit work and no chain no release;"]);
    }

    #[test]
    fn all_else_is_not_known() {
        check(
            Effect::Unknown,
            &[
                "",
                ";",
                "SET autocommit = 0",
                "CALL p()",
                "SELECT 1; BEGIN",
                "SELECT 1 /*! ; BEGIN */",
                "SELECT 1 /*M! ; BEGIN */",
                "/*! BEGIN */",
                "/*!50003 SELECT */ 1",
                "SELECT 1 /* no end ; BEGIN",
                "SELECTED",
                "XA START 'x'",
                "LOCK TABLES t WRITE",
                "USE other",
                "DROP DATABASE here",
                "DROP\x0bDATABASE here",
                "DROP/**/SCHEMA here",
                "DROP `",
                "CREATE OR REPLACE DATABASE here",
                "CREATE DATABASE there",
                "ALTER SCHEMA here CHARACTER SET utf8mb4",
                "KILL 1",
                "HANDLER t OPEN",
                "FLUSH TABLES WITH READ LOCK",
                "BEGIN NOT ATOMIC SELECT 1",
                "COMMIT AND CHAIN",
                "ROLLBACK RELEASE",
                "START SLAVE",
                "BEGIN; SELECT 1",
                "COMMIT; SELECT 1",
                "CREATE PROCEDURE p() BEGIN SELECT 1; END",
                // Where backslashes do not escape, this begins a transaction.
                "SELECT 'a\\'; BEGIN; -- '",
                "SELECT 'a\\' /*! ; BEGIN */ -- '",
                "SELECT 'no end; BEGIN",
                "SELECT --1; BEGIN",
                "SELECT 1 --\u{1}'\n; BEGIN -- '",
                "SELECT 1 --\u{a0}\n; BEGIN",
            ],
        );
    }
}
