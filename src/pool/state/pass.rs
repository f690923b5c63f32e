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
    /// Idle connections that may be closed down to the minimum, and when they were last used; the
    /// next last.
    pub(crate) too_long_idle: Vec<(Tick, u32)>,
}

impl Pass {
    /// None: the next is due an interval after `now`.
    pub(crate) fn none(now: Tick) -> Self {
        Self { begun: now, generation: 0, left: Vec::new(), too_long_idle: Vec::new() }
    }
}
