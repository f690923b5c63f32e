//! What happens in a pool is counted and told in one place.

use super::State;
use crate::manager::Manager;
use crate::observe::{Cause, EventKind, WaitOutcome, cause_of};
use crate::pool::ground::journal::Urgency;
use crate::stats::Counters;
use std::error::Error;

impl<M: Manager> State<M> {
    /// Something has happened. Takes no lock and does not wait.
    #[inline(always)]
    pub(crate) fn note(&self, kind: EventKind) {
        count(&self.counters, &kind);
        if self.is_watched {
            self.keep(kind);
        }
    }

    /// The cause of an event, in words: without an observer nobody reads them.
    pub(crate) fn cause(&self, error: &(dyn Error + 'static)) -> Cause {
        if self.is_watched { cause_of(error) } else { Cause::default() }
    }

    #[cold]
    #[inline(never)]
    fn keep(&self, kind: EventKind) {
        // A visit has the observers told.
        match self.journal.put(self.clock.now(), kind, self.is_reserve) {
            Urgency::None => {}
            Urgency::Soon => self.ring.mark(),
            Urgency::Now => self.ring.ring(),
        }
    }
}

/// Where the kind is known, only one arm of it is left.
#[inline(always)]
fn count(counters: &Counters, kind: &EventKind) {
    match kind {
        EventKind::WaitBegan { .. } => counters.waits.add(),
        EventKind::WaitEnded { waited, outcome, .. } => {
            counters.wait_time.record(*waited);
            match outcome {
                WaitOutcome::Served => return,
                WaitOutcome::Cancelled => counters.cancellations.add(),
                WaitOutcome::TimedOut | WaitOutcome::Failed => {}
            }
            counters.waits_in_vain.add();
        }
        EventKind::NestedGet { .. } => counters.nested_gets.add(),
        EventKind::TimedOut { .. } => counters.timeouts.add(),
        EventKind::Refused => counters.refusals.add(),
        EventKind::Shed { .. } => counters.shed.add(),
        EventKind::Hopeless { .. } => counters.hopeless.add(),
        EventKind::Connected { took } => {
            counters.connects.add();
            counters.connect_time.record(*took);
        }
        EventKind::ConnectFailed { .. } => counters.connect_failures.add(),
        EventKind::ConnectSkipped => counters.connects_skipped.add(),
        EventKind::GrowthDecided { .. } => counters.growth_decisions.add(),
        EventKind::ConnectHeld { .. } => counters.connects_held.add(),
        EventKind::PingBegan => counters.pings.add(),
        EventKind::Pinged { took } => counters.ping_time.record(*took),
        EventKind::PingFailed { .. } => counters.ping_failures.add(),
        EventKind::PingCancelled => counters.pings_cancelled.add(),
        EventKind::Reset { took } => {
            counters.resets.add();
            counters.reset_time.record(*took);
        }
        EventKind::ResetFailed { .. } => counters.resets.add(),
        EventKind::Evicted { cause } => counters.evictions[*cause as usize].add(),
        EventKind::Closed { .. } => counters.closes.add(),
        EventKind::Detached => counters.detached.add(),
        EventKind::Added => counters.added.add(),
        EventKind::SweepBegan => counters.sweeps.add(),
        EventKind::LaunchFailed => counters.launch_failures.add(),
        EventKind::HeldTooLong { .. } => counters.leaks.add(),
        EventKind::OutageBegan { .. } => counters.outages.add(),
        EventKind::OutageEnded { .. }
        | EventKind::ManagerSwitched
        | EventKind::Paused
        | EventKind::Resumed
        | EventKind::PoolClosed => {}
    }
}
