//! For how long a connection has been idle, as its adapter can tell.
//!
//! The pool asks a manager whether a connection [has broken](crate::Manager::has_broken) once
//! before each loan and once after it. So every other question is of one about to be lent.

use std::time::{Duration, Instant};

/// For how long a connection may lie idle before it is worth a look at its socket.
const UNSEEN: Duration = Duration::from_millis(1);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Idle {
    /// `None` while it is lent.
    since: Option<Instant>,
    was_lent: bool,
}

/// Why the pool asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// It is about to lend a connection, which was used or opened a moment ago.
    Loan,
    /// It is about to lend a connection that has been idle.
    LoanAfterIdling,
    /// A borrower has returned it: nothing may keep its thread.
    Return,
}

impl Idle {
    /// Of a connection that was just opened.
    pub(super) fn now() -> Self {
        Self { since: Some(Instant::now()), was_lent: false }
    }

    /// Whether it has been lent since it was opened or renewed: if not, what was done to it was
    /// done by a hook.
    #[cfg(any(feature = "postgres", feature = "redis", feature = "tokio-postgres"))]
    pub(super) fn was_lent(&self) -> bool {
        self.was_lent
    }

    /// Its session is as good as new.
    #[cfg(any(feature = "postgres", feature = "tokio-postgres"))]
    pub(super) fn renew(&mut self) {
        self.was_lent = false;
    }

    /// The pool asks.
    pub(super) fn occasion(&mut self) -> Occasion {
        self.was_lent = true;
        match self.since.take() {
            Some(since) if since.elapsed() > UNSEEN => Occasion::LoanAfterIdling,
            Some(_) => Occasion::Loan,
            None => {
                self.since = Some(Instant::now());
                Occasion::Return
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_question_is_of_a_loan() {
        let since = Instant::now().checked_sub(2 * UNSEEN);
        let mut idle = Idle { since, was_lent: false };
        assert_eq!(idle.occasion(), Occasion::LoanAfterIdling);
        assert_eq!(idle.occasion(), Occasion::Return);
        assert_ne!(idle.occasion(), Occasion::Return);
        assert_eq!(idle.occasion(), Occasion::Return);
    }
}
