//! Where the current pass of a sweep stands. `upkeep` has the verbs.

use crate::clock::Tick;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) begun: Tick,
    /// The pool's generation when it was begun.
    pub(crate) generation: u64,
    /// Slots still to be judged.
    pub(crate) left: Vec<u32>,
    /// Idle connections may be closed down to the minimum.
    pub(crate) may_shrink: bool,
}

impl Pass {
    /// None: the next is due an interval after `now`.
    pub(crate) fn none(now: Tick) -> Self {
        Self { begun: now, generation: 0, left: Vec::new(), may_shrink: false }
    }
}
