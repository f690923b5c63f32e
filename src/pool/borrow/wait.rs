//! A borrower's wait: counted, timed and told once, however often it stands in line and however it
//! ends.

use crate::clock::Tick;
use crate::manager::{Face, Manager};
use crate::observe::{EventKind, WaitOutcome};
use crate::pool::state::pooled::Raw;
use crate::sync::Relaxed;
use std::panic::Location;

/// See the [module](self). Dropped, it is over.
pub(crate) struct Wait<'a, M: Manager> {
    raw: &'a Raw<M>,
    borrower: &'static Location<'static>,
    /// When it began. Zero: it has not.
    since: Relaxed<u64>,
    /// What comes of it, unless its end is [told](Self::end).
    outcome: WaitOutcome,
}

impl<'a, M: Manager> Wait<'a, M> {
    /// A thread drops its wait when its time is up; a task, when it is cancelled.
    pub(crate) fn new(raw: &'a Raw<M>, face: Face, borrower: &'static Location<'static>) -> Self {
        let outcome = match face {
            Face::Blocking => WaitOutcome::TimedOut,
            Face::Async => WaitOutcome::Cancelled,
        };
        Self { raw, borrower, since: Relaxed::<u64>::new(0), outcome }
    }

    /// The borrower stands in line, or stands there again.
    pub(crate) fn begin(&self, now: Tick) {
        if !self.has_begun() {
            self.since.set(now.0.max(1));
            self.raw.context().note(EventKind::WaitBegan { location: self.borrower });
        }
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.since.get() > 0
    }

    /// The borrower is about to have a connection.
    pub(crate) fn note_loan(&self) {
        if self.has_begun() {
            self.raw.context().counters.late_checkouts.add();
        }
    }

    /// What has come of it.
    pub(crate) fn end(&mut self, outcome: WaitOutcome) {
        self.outcome = outcome;
    }
}

impl<M: Manager> Drop for Wait<'_, M> {
    fn drop(&mut self) {
        if !self.has_begun() {
            return;
        }
        let state = self.raw.context();
        let now = state.clock.now();
        let waited = now.since(Tick(self.since.get()));
        let (location, outcome) = (self.borrower, self.outcome);
        if outcome == WaitOutcome::Served {
            state.supply.line.note(now);
        } else {
            state.supply.line.note_in_vain();
        }
        state.note(EventKind::WaitEnded { location, waited, outcome });
    }
}
