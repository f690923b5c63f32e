//! On which terms a waiter stands in line.

/// "No deadline": the ticket's owner keeps it itself, or there is none. As a grace: the
/// waiter is polled once it is woken.
pub(crate) const NEVER: u64 = u64::MAX;

/// See the [module](self). Times are moments of the pool's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// When it expires, or [`NEVER`].
    pub(crate) deadline: u64,
    /// Until when newcomers may claim before it. Zero: they never may.
    pub(crate) patience: u64,
    /// How long a grant or a notification may lie unheeded, or [`NEVER`]: then the slot goes to
    /// another.
    pub(crate) grace: u64,
    /// Since when it has wanted a slot.
    pub(crate) since: u64,
    /// Goes before all who have wanted one since then, however long the line is: it has waited
    /// before, and nothing came of it.
    pub(crate) ahead: bool,
    /// Its class, by number. Each has a share of the slots, and a limit of its own on its queue.
    pub(crate) class: u8,
    /// One of several of a borrower that [counts as one](super::RawPool::enter_as_one).
    pub(crate) is_part: bool,
}

impl Terms {
    /// First in, first out, for as long as it takes.
    pub(crate) const STRICT: Self = Self {
        deadline: NEVER,
        patience: 0,
        grace: NEVER,
        since: 0,
        ahead: false,
        class: 0,
        is_part: false,
    };
}
