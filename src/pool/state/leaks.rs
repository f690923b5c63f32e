//! Which loans last for too long. `upkeep` has the verbs.

use crate::clock::Tick;
use std::collections::HashMap;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Leaks {
    /// When to look again.
    pub(crate) next: Tick,
    /// Slots whose loans have been told of, and the transitions that they had made then.
    pub(crate) told: HashMap<usize, u64>,
}
