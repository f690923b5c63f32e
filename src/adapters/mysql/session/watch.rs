//! What is known of a session while it is on loan.

use super::proof::{Found, Home};
use super::statement::Effect;
use std::mem::replace;

/// Watches the calls that are made on a connection. It is certain of a session as long as it has
/// seen every call end, and knows what each of them did.
#[derive(Debug)]
pub(in crate::adapters::mysql) struct Watch {
    home: Home,
    /// All calls were seen, every answer was read to its end.
    is_sure: bool,
    may_be_in_transaction: bool,
    /// A plain `COMMIT` or `ROLLBACK` begins nothing.
    ends_plainly: bool,
    is_broken: bool,
    was_lent: bool,
    /// Since the last loan hooks have been run, and not settled.
    is_after_hook: bool,
    /// They have changed what the loan finds.
    was_hooked: bool,
}

/// A call that has begun.
#[derive(Clone, Copy, Debug)]
pub(in crate::adapters::mysql) struct Call {
    effect: Effect,
    was_sure: bool,
}

#[cfg(feature = "mysql_async")]
impl Call {
    pub(in crate::adapters::mysql) fn with(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }
}

/// How a call ended. One that does not end, because it panicked or was dropped, leaves the session
/// uncertain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::adapters::mysql) enum End {
    /// As it should, or with an error that leaves the session in step.
    InStep { has_failed: bool },
    /// The connection is of no more use.
    Broken,
}

/// What the server's answer says of the session, where the driver shows it.
#[cfg(feature = "mysql_async")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::adapters::mysql) struct Flags {
    pub(in crate::adapters::mysql) is_in_transaction: bool,
    pub(in crate::adapters::mysql) is_autocommit: bool,
}

#[cfg(feature = "mysql_async")]
impl Flags {
    /// Whether the session is known to go on, and to be as before but for the transaction.
    fn are_enough(self, effect: Effect, home: &Home, ends_plainly: bool) -> bool {
        let is_known = match effect {
            Effect::Unknown => false,
            // They tell of a transaction that was begun, but not of a session that has ended.
            Effect::MayChain => ends_plainly,
            Effect::Keeps | Effect::Begins | Effect::Ends => true,
        };
        is_known && self.is_autocommit == home.is_autocommit
    }
}

impl Watch {
    /// Of a session that was just opened. It is not certain of it before a [proof](Self::adopt).
    pub(in crate::adapters::mysql) fn new() -> Self {
        Self {
            home: Home::unknown(),
            is_sure: false,
            may_be_in_transaction: false,
            ends_plainly: false,
            is_broken: false,
            was_lent: false,
            is_after_hook: false,
            was_hooked: false,
        }
    }

    pub(in crate::adapters::mysql) fn home(&self) -> &Home {
        &self.home
    }

    /// Whether it was lent since it was opened or made anew.
    pub(in crate::adapters::mysql) fn was_lent(&self) -> bool {
        self.was_lent
    }

    pub(in crate::adapters::mysql) fn is_broken(&self) -> bool {
        self.is_broken
    }

    pub(in crate::adapters::mysql) fn is_sure(&self) -> bool {
        self.is_sure
    }

    /// Whether the next borrower would find the session as it should.
    pub(in crate::adapters::mysql) fn is_clean(&self) -> bool {
        self.is_sure && !self.may_be_in_transaction
    }

    /// It is about to be lent. What was done before, when it was opened, is as it should be, even
    /// if it was out of sight: a database that was chosen there must not be undone.
    pub(in crate::adapters::mysql) fn lend(&mut self) {
        let was_hooked = replace(&mut self.was_hooked, false);
        if !replace(&mut self.was_lent, true) && !self.is_sure && !was_hooked {
            self.home.database = None;
        }
    }

    /// Whether hooks between two loans may have left something open. What else they have done is
    /// meant for the next loan, and is undone after it.
    pub(in crate::adapters::mysql) fn is_open_after_hook(&mut self) -> bool {
        self.is_after_hook = !self.is_clean();
        self.was_hooked |= self.is_after_hook;
        self.is_after_hook
    }

    /// What a proof has to make of the session, if it is not to stay as it is.
    pub(in crate::adapters::mysql) fn expected(&self) -> Option<&Home> {
        Some(&self.home).filter(|_| self.was_lent && !self.is_after_hook)
    }

    /// A proof has succeeded. True: on what hooks have left, so nothing more is to be done.
    pub(in crate::adapters::mysql) fn has_settled_hook(&mut self, found: &Found) -> bool {
        let is_after_hook = replace(&mut self.is_after_hook, false);
        if is_after_hook {
            self.settle(found);
            self.lose_sight();
        }
        is_after_hook
    }

    /// From here on statements go unseen.
    pub(in crate::adapters::mysql) fn lose_sight(&mut self) {
        self.is_sure = false;
    }

    pub(in crate::adapters::mysql) fn give_up(&mut self) {
        self.is_broken = true;
    }

    pub(in crate::adapters::mysql) fn begin(&mut self, effect: Effect) -> Call {
        Call { effect, was_sure: replace(&mut self.is_sure, false) }
    }

    pub(in crate::adapters::mysql) fn end(&mut self, call: Call, end: End) {
        let End::InStep { has_failed } = end else {
            self.is_broken = true;
            return;
        };
        self.is_sure = call.was_sure && call.effect != Effect::Unknown;
        match call.effect {
            Effect::Ends if !has_failed => self.may_be_in_transaction = false,
            Effect::MayChain if !has_failed && self.ends_plainly => {
                self.may_be_in_transaction = false;
            }
            Effect::Keeps if self.home.is_autocommit => {}
            _ => self.may_be_in_transaction = true,
        }
    }

    /// The same, if the server has said how the session stands.
    #[cfg(feature = "mysql_async")]
    pub(in crate::adapters::mysql) fn end_with(&mut self, call: Call, flags: Flags) {
        self.is_sure =
            call.was_sure && flags.are_enough(call.effect, &self.home, self.ends_plainly);
        self.may_be_in_transaction = flags.is_in_transaction;
    }

    /// A proof has succeeded: nothing is open.
    pub(in crate::adapters::mysql) fn settle(&mut self, found: &Found) {
        self.is_sure = true;
        self.may_be_in_transaction = false;
        self.ends_plainly = found.ends_plainly;
    }

    /// A proof has succeeded on a session that was not lent yet: this is how it should be.
    pub(in crate::adapters::mysql) fn adopt(&mut self, found: Found) {
        self.settle(&found);
        self.home = found.into_home();
    }

    /// The server has forgotten all about the session, and it was prepared anew.
    pub(in crate::adapters::mysql) fn renew(&mut self) {
        self.is_sure = true;
        self.may_be_in_transaction = false;
        self.ends_plainly = self.home.ends_plainly;
        self.was_lent = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::mysql::session::proof::Proof;

    const WELL: End = End::InStep { has_failed: false };

    fn watch(is_autocommit: bool, ends_plainly: bool) -> Watch {
        let proof = Proof::new();
        let sql = proof.sql(None);
        let (_, rest) = sql.split_once("SELECT ").unwrap();
        let (number, _) = rest.split_once(',').unwrap();
        let number = number.parse().unwrap();
        let row = (number, is_autocommit, ends_plainly, false, 1, 0, Some("songs".into()));
        let found = proof.check(vec![Ok::<_, ()>(row)]).unwrap();
        let mut watch = Watch::new();
        watch.adopt(found);
        watch
    }

    fn play(watch: &mut Watch, statements: &[&str]) {
        for sql in statements {
            let call = watch.begin(Effect::of(sql));
            watch.end(call, WELL);
        }
    }

    #[test]
    fn a_committed_transaction_leaves_the_session_clean() {
        let mut watch = watch(true, true);
        play(&mut watch, &["BEGIN", "INSERT INTO t VALUES (1)"]);
        assert!(!watch.is_clean());
        play(&mut watch, &["COMMIT"]);
        assert!(watch.is_clean());
    }

    #[test]
    fn a_commit_that_failed_or_may_begin_anew_does_not() {
        let mut failed = watch(true, true);
        play(&mut failed, &["BEGIN"]);
        let call = failed.begin(Effect::of("COMMIT"));
        failed.end(call, End::InStep { has_failed: true });
        assert!(!failed.is_clean());
        let mut chained = watch(true, false);
        play(&mut chained, &["BEGIN", "COMMIT"]);
        assert!(!chained.is_clean());
    }

    #[cfg(feature = "mysql_async")]
    #[test]
    fn the_flags_of_a_commit_do_not_tell_whether_the_session_has_ended() {
        let flags = Flags { is_in_transaction: false, is_autocommit: true };
        for (sql, ends_plainly, is_clean) in [
            ("COMMIT", true, true),
            ("COMMIT", false, false),
            ("COMMIT AND NO CHAIN", false, false),
            ("COMMIT AND NO CHAIN NO RELEASE", false, true),
            ("COMMIT RELEASE", true, false),
            ("SELECT 1", false, true),
        ] {
            let mut watch = watch(true, ends_plainly);
            let call = watch.begin(Effect::of(sql));
            watch.end_with(call, flags);
            assert_eq!(watch.is_clean(), is_clean, "{sql} {ends_plainly}");
        }
    }

    #[test]
    fn what_was_not_seen_stays_uncertain() {
        for sql in ["SET @x = 1", "USE other"] {
            let mut watch = watch(true, true);
            play(&mut watch, &[sql, "BEGIN", "COMMIT"]);
            assert!(!watch.is_clean(), "{sql}");
        }
        let mut watch = watch(true, true);
        let _dropped = watch.begin(Effect::Keeps);
        play(&mut watch, &["SELECT 1"]);
        assert!(!watch.is_clean());
    }

    #[test]
    fn in_a_session_that_does_not_commit_each_statement_may_begin_a_transaction() {
        let mut watch = watch(false, true);
        assert!(watch.is_clean());
        play(&mut watch, &["SELECT 1"]);
        assert!(!watch.is_clean());
        play(&mut watch, &["COMMIT"]);
        assert!(watch.is_clean());
    }

    #[test]
    fn a_database_that_was_chosen_before_the_first_loan_is_not_undone() {
        let mut watch = watch(true, true);
        watch.lend();
        assert_eq!(watch.home().database.as_deref(), Some("songs"));
        watch.renew();
        watch.lose_sight();
        watch.lend();
        assert_eq!(watch.home().database, None);
    }
}
