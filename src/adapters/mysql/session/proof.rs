//! One round trip that undoes what a borrower left open, and shows that a session is fit for the
//! next one.

use super::statement::ROLLBACK;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// How a session was when it was opened, or made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::adapters::mysql) struct Home {
    /// It commits by itself.
    pub(in crate::adapters::mysql) is_autocommit: bool,
    /// A plain `COMMIT` or `ROLLBACK` begins nothing.
    pub(in crate::adapters::mysql) ends_plainly: bool,
    /// `None`: it has none, or one that cannot be named in each character set.
    pub(in crate::adapters::mysql) database: Option<String>,
    /// The server has its sessions begin with statements (`init_connect`), which it does not repeat
    /// when it resets one.
    pub(in crate::adapters::mysql) has_init_connect: bool,
    user: Option<u64>,
    role: Option<u64>,
}

impl Home {
    /// Of a session that nothing is known of.
    pub(in crate::adapters::mysql) fn unknown() -> Self {
        Self {
            is_autocommit: true,
            ends_plainly: false,
            database: None,
            has_init_connect: false,
            user: None,
            role: None,
        }
    }
}

/// A checksum of the role, in MySQL 8 and MariaDB 10. Older servers know no roles, and read over
/// it; and either reads over what is said to the other.
const ROLE: &str =
    "IFNULL(/*!80000 CRC32(CURRENT_ROLE()) + *//*M!100005 CRC32(CURRENT_ROLE()) + */ 0, 0)";

/// Ends whatever transaction is open and gives up locks on tables. That the next answer to arrive
/// is the answer to the last question shows in its number: an answer that a borrower has left
/// behind would not contain it.
///
/// Nothing that a borrower can set for its session changes what these statements do. They name what
/// `completion_type` would add, and the limit that `sql_select_limit` would set; they have no
/// quoted text but a name of plain letters in backticks, which no `sql_mode` takes for anything
/// else; and they ask for numbers, which are the same in each character set that the drivers know.
pub(in crate::adapters::mysql) struct Proof {
    number: u64,
}

/// The rows of an answer to a [`Proof`]: its number, whether the session commits by itself, whether
/// a plain `COMMIT` only commits, whether the server has statements for new sessions, checksums of
/// user and role, the database.
pub(in crate::adapters::mysql) type ProofRow = (u64, bool, bool, bool, u64, u64, Option<Vec<u8>>);

/// What the answer to a proof has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::adapters::mysql) struct Found {
    pub(in crate::adapters::mysql) is_autocommit: bool,
    pub(in crate::adapters::mysql) ends_plainly: bool,
    has_init_connect: bool,
    user: u64,
    role: u64,
    database: Option<Vec<u8>>,
}

impl Proof {
    /// Another one each time, and one that no other session has.
    pub(in crate::adapters::mysql) fn new() -> Self {
        // Keys differ from one to the next.
        Self { number: RandomState::new().build_hasher().finish() }
    }

    pub(in crate::adapters::mysql) fn sql(&self, home: Option<&Home>) -> String {
        let database = home.and_then(|home| home.database.as_deref());
        let back = database.map(|name| format!("USE `{name}`; ")).unwrap_or_default();
        // The longest name of a type is the one that does nothing more.
        format!(
            "{ROLLBACK}; UNLOCK TABLES; {back}SELECT {}, @@autocommit, \
             CHAR_LENGTH(@@completion_type) = {}, CHAR_LENGTH(@@init_connect) > 0, CRC32(USER()), \
             {ROLE}, DATABASE() LIMIT 1",
            self.number,
            "NO_CHAIN".len()
        )
    }

    /// `None`: the rows are no answer to this.
    pub(in crate::adapters::mysql) fn check<E>(
        &self,
        rows: Vec<Result<ProofRow, E>>,
    ) -> Option<Found> {
        let [row] = <[_; 1]>::try_from(rows).ok()?;
        let (number, is_autocommit, ends_plainly, has_init_connect, user, role, database) =
            row.ok()?;
        let found = Found { is_autocommit, ends_plainly, has_init_connect, user, role, database };
        (number == self.number).then_some(found)
    }
}

/// The question with which the pool pings: an answer that was left behind does not pass for the
/// answer to this, as it would for that to the protocol's own ping.
pub(in crate::adapters::mysql) struct Ping {
    number: u64,
}

impl Ping {
    pub(in crate::adapters::mysql) fn new() -> Self {
        Self { number: Proof::new().number }
    }

    pub(in crate::adapters::mysql) fn sql(&self) -> String {
        format!("SELECT {} LIMIT 1", self.number)
    }

    pub(in crate::adapters::mysql) fn is_answered_by(&self, number: Option<u64>) -> bool {
        number == Some(self.number)
    }
}

impl Found {
    /// This is how the session is from now on.
    pub(in crate::adapters::mysql) fn into_home(self) -> Home {
        let Self { is_autocommit, ends_plainly, has_init_connect, user, role, database } = self;
        let database = database.and_then(|name| String::from_utf8(name).ok());
        let database = database.as_deref().and_then(nameable);
        let (user, role) = (Some(user), Some(role));
        Home { is_autocommit, ends_plainly, database, has_init_connect, user, role }
    }

    /// Whether the server can make the session as good as new. Not if the borrower has taken
    /// another role: the server keeps it when it resets the session, and even when the user is
    /// changed. And not if new sessions begin with statements of the server's: those are run when a
    /// session is opened, and at no other time.
    pub(in crate::adapters::mysql) fn is_renewable(&self, home: &Home) -> bool {
        home.role == Some(self.role) && !home.has_init_connect && !self.has_init_connect
    }

    pub(in crate::adapters::mysql) fn has_database(&self) -> bool {
        self.database.is_some()
    }

    /// Not if it was given to another user.
    pub(in crate::adapters::mysql) fn is_of(&self, home: &Home) -> bool {
        home.user.is_none_or(|user| user == self.user)
    }
}

/// The name, if it is the same in each character set and needs no escaping.
fn nameable(name: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'`';
    name.bytes().all(is_plain).then(|| name.into()).filter(|name: &String| !name.is_empty())
}

/// Has a session commit by itself, or not.
pub(in crate::adapters::mysql) fn set_autocommit(on: bool) -> String {
    format!("SET autocommit = {}", u8::from(on))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_takes_no_answer_but_its_own() {
        let proof = Proof::new();
        let row =
            |number| Ok::<ProofRow, ()>((number, true, true, false, 7, 0, Some("songs".into())));
        let found = proof.check(vec![row(proof.number)]).unwrap();
        assert_eq!(found.into_home().database.as_deref(), Some("songs"));
        assert_eq!(proof.check::<()>(vec![]), None);
        assert_eq!(proof.check(vec![row(proof.number ^ 1)]), None);
        assert_eq!(proof.check(vec![Err(())]), None);
        assert_eq!(proof.check(vec![row(proof.number), row(proof.number)]), None);
    }

    #[test]
    fn only_names_that_mean_the_same_everywhere_are_named() {
        assert_eq!(nameable("my-songs").as_deref(), Some("my-songs"));
        for name in ["", "so`ngs", "so ngs", "Lieder für", "a\0b"] {
            assert_eq!(nameable(name), None, "{name}");
        }
    }
}
