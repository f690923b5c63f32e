//! How far the work is, for who watches.

use crate::plan::Plan;
use crate::work::Work;
use caliburn::Stats;
use std::io::{IsTerminal as _, stderr};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// What is to be done, as far as that is known beforehand.
pub(crate) struct Progress {
    seconds: Option<f64>,
    ops: Option<u64>,
    is_watched: bool,
}

impl Progress {
    pub(crate) fn of(plan: &Plan) -> Self {
        Self { seconds: plan.seconds, ops: plan.ops, is_watched: stderr().is_terminal() }
    }

    /// A line on the terminal; nothing if standard error goes elsewhere.
    pub(crate) fn show(&self, work: &Work, stats: &Stats) {
        if !self.is_watched {
            return;
        }
        let (passed, done) = (work.begun.elapsed(), work.done.load(Relaxed));
        eprintln!(
            "{:4} s, about {:.0} s left: {done} operations; {} open, {} lent, {} waiting, \
             {} evicted",
            passed.as_secs(),
            self.left(passed, done),
            stats.size,
            stats.lent,
            stats.waiting,
            stats.evictions.total()
        );
    }

    /// In seconds: until the time is up, or until all is done if it goes on as until now, whichever
    /// is sooner.
    fn left(&self, passed: Duration, done: u64) -> f64 {
        let passed = passed.as_secs_f64();
        let time = self.seconds.map_or(f64::INFINITY, |seconds| seconds - passed);
        let pace = passed / done.max(1) as f64;
        let ops = self.ops.map_or(f64::INFINITY, |ops| ops.saturating_sub(done) as f64 * pace);
        time.min(ops).max(0.0)
    }
}
