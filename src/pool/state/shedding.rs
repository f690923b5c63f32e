//! When borrowers are turned away, as the dispatcher reads it.

use crate::clock::Tick;
use crate::config::Shedding;
use crate::raw::flow;
use crate::sync::Relaxed;

/// The setting, in a form that costs one load if it is off. Half of one setting and half of the
/// next, for a moment, does no harm.
#[derive(Debug, Default)]
pub(crate) struct Shed {
    /// Zero: off.
    target: Relaxed<u64>,
    interval: Relaxed<u64>,
    newest_first: Relaxed<bool>,
}

impl Shed {
    pub(crate) fn new(setting: Shedding) -> Self {
        let shed = Self::default();
        shed.set(setting);
        shed
    }

    pub(crate) fn set(&self, setting: Shedding) {
        let Shedding::CoDel { target, interval, newest_first } = setting else {
            return self.target.set(0);
        };
        let nanos = |time| (Tick::default() + time).0;
        self.interval.set(nanos(interval));
        self.newest_first.set(newest_first);
        self.target.set(nanos(target));
    }

    #[inline]
    pub(crate) fn terms(&self) -> Option<flow::Shedding> {
        let target = self.target.get();
        if target == 0 {
            return None;
        }
        let (interval, newest_first) = (self.interval.get(), self.newest_first.get());
        Some(flow::Shedding { target, interval, newest_first })
    }
}
