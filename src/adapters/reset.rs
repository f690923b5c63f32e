//! How much of a loan the next borrower may find.

/// How much of a loan is undone before the next one: an option of managers whose sessions keep more
/// than a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reset {
    /// Ends a transaction that was left open. Costs a round trip only if there may be one.
    #[default]
    Transaction,
    /// Gives each borrower a session as good as new: settings, temporary tables, locks, cursors and
    /// subscriptions of the one before are gone. Costs a round trip or two after each loan, in the
    /// background.
    Session,
}
