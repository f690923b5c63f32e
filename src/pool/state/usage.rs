//! How many connections were in use of late. `upkeep` has the verbs.

use crate::clock::Tick;
use crate::pool::ground::random::Spread;
use std::time::Duration;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Usage {
    /// The setting that the samples were taken for.
    pub(crate) window: Option<Duration>,
    /// How many were in use at each look of the window so far.
    pub(crate) samples: Vec<usize>,
    /// When the next look is due. `NEVER`: as long after now as between two of them.
    pub(crate) next: Tick,
    /// How far looks are apart.
    pub(crate) spread: Spread,
    /// What the last window has shown, until all is done for it.
    pub(crate) surplus: Option<Unneeded>,
}

/// More connections are open than are needed.
#[derive(Debug)]
pub(crate) struct Unneeded {
    /// How many were in use at once.
    pub(crate) in_use: usize,
    /// Idle connections and when they were last used, the next to be closed last. `None`: nobody
    /// has looked for them yet.
    pub(crate) candidates: Option<Vec<(Tick, u32)>>,
}

impl Usage {
    pub(crate) fn of(window: Option<Duration>) -> Self {
        let (samples, spread) = (Vec::new(), Spread::new());
        Self { window, samples, next: Tick::NEVER, spread, surplus: None }
    }

    /// Begins anew.
    pub(crate) fn forget(&mut self) {
        (self.next, self.surplus) = (Tick::NEVER, None);
        self.samples.clear();
    }
}
