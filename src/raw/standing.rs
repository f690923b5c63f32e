//! A waiter as the dispatcher sees it.

use super::waiter::{NEVER, Waiter};
use crate::sync::Arc;
use std::ops::Deref;

/// A waiter, and what only the dispatcher knows of it.
pub(super) struct Standing {
    pub(super) waiter: Arc<Waiter>,
    /// Its place in the line; a reservation has none.
    pub(super) place: u64,
    /// When what it was told last lapses.
    pub(super) due: u64,
    /// Whether it had let a grant lapse when it was granted another.
    pub(super) was_late: bool,
    /// Whether it has let a grant lapse.
    pub(super) has_lapsed: bool,
    /// Whether its last grant went to a waiter before it, and did not lapse.
    pub(super) was_robbed: bool,
}

impl Standing {
    pub(super) fn new(waiter: Arc<Waiter>) -> Self {
        let (was_late, has_lapsed, was_robbed) = (false, false, false);
        Self { waiter, place: 0, due: NEVER, was_late, has_lapsed, was_robbed }
    }
}

impl Deref for Standing {
    type Target = Waiter;

    fn deref(&self) -> &Waiter {
        &self.waiter
    }
}

impl Standing {
    /// Whether a grant may be taken back from it soon, if others were not taken. One that has come
    /// back is slow, but there; one that waits ahead, or for a certain slot, has no time to lose.
    pub(super) fn may_be_hurried(&self) -> bool {
        let is_back = self.has_lapsed && !self.was_late;
        !is_back && !self.terms.ahead
    }
}
