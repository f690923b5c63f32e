//! How much time is taken.

use std::time::Duration;

/// How often everybody has a slice. On a busy machine slices have to be repeated, and take longer.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    pub most: usize,
    pub least: usize,
    /// No round begins later than this, once there were enough.
    pub within: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For figures that are to be believed: less than three minutes for all.
    Full,
    /// To see that it runs, and roughly what comes out.
    Quick,
}

impl Effort {
    /// So many rounds, or as many as there is time for.
    pub fn rounds(self, most: usize, seconds: u64) -> Rounds {
        match self {
            Self::Full => Rounds { most, least: 9, within: Duration::from_secs(seconds) },
            Self::Quick => Rounds { most: 3, least: 2, within: Duration::from_secs(1) },
        }
    }

    pub fn slice(self, full: Duration) -> Duration {
        match self {
            Self::Full => full,
            Self::Quick => full / 2,
        }
    }
}
