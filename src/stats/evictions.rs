//! How many connections were evicted, and why.

use super::counters::Counter;
use crate::health::EvictionCause;

/// Evictions by cause.
///
/// ```
/// # use caliburn::{EvictionCause, Stats};
/// fn report(stats: &Stats) {
///     println!("{} evicted, {} of them broken", stats.evictions.total(),
///         stats.evictions.by(EvictionCause::Broken));
///     for (cause, count) in stats.evictions.iter().filter(|(_, count)| *count > 0) {
///         let note = if cause.is_broken() { " (dead)" } else { "" };
///         println!("{count:6} {}{note}", cause.as_str());
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evictions([u64; EvictionCause::ALL.len()]);

impl Evictions {
    pub(crate) fn of(counters: &[Counter; EvictionCause::ALL.len()]) -> Self {
        Self(std::array::from_fn(|cause| counters[cause].get()))
    }

    /// Returns how many connections were evicted for `cause`.
    pub fn by(&self, cause: EvictionCause) -> u64 {
        self.0[cause as usize]
    }

    /// Returns how many connections were evicted in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// As [`Stats::since`](super::Stats::since): returns the evictions since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|cause| self.0[cause].saturating_sub(earlier.0[cause])))
    }

    /// Returns each cause with its count.
    pub fn iter(&self) -> impl Iterator<Item = (EvictionCause, u64)> {
        EvictionCause::ALL.into_iter().zip(self.0)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Evictions {
    /// As a map from cause to count.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(cause, count)| (cause.as_str(), count)))
    }
}
