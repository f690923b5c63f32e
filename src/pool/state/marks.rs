//! Snapshots from which intervals begin, so that a caller who asks now and then hears of what has
//! happened lately.

use crate::stats::Stats;
use std::time::Duration;

/// What happened lately: since a mark that is at least this old, if there is one.
const LATELY: Duration = Duration::from_secs(10);

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Marks {
    older: Option<Box<Stats>>,
    newer: Option<Box<Stats>>,
}

impl Marks {
    /// What has happened since a mark; leaves one for later calls.
    pub(crate) fn interval(&mut self, now: &Stats) -> Stats {
        let is_old = |mark: &Stats| now.uptime.saturating_sub(mark.uptime) >= LATELY;
        if self.newer.as_deref().is_none_or(is_old) {
            self.older = self.newer.replace(Box::new(now.clone()));
        }
        self.older.as_deref().map_or_else(|| now.clone(), |mark| now.since(mark))
    }
}
