//! What is known of the server and of the demand for connections. `supply` has the verbs.

use super::job::{Order, Replaces};
use crate::clock::Tick;
use crate::config::Settings;
use crate::pool::ground::backoff::Backoff;
use crate::pool::ground::line_log::LineLog;
use crate::pool::ground::meter::Meter;
use crate::pool::ground::ramp::{PATIENCE, Ramp};
use crate::pool::ground::random::Spread;
use crate::pool::ground::usual::UsualPing;
use crate::raw::requests::Requests;
use crate::sync::{Mutex, PoisonError, Relaxed, SegQueue};
use std::time::Duration;

/// See the [module](self).
pub(crate) struct Supply {
    /// Elects the one thread that decides about growth.
    pub(crate) requests: Requests,
    pace: Mutex<Pace>,
    outlook: Outlook,
    /// How many connections are to be opened at the start.
    pub(crate) warm_up: Relaxed<usize>,
    /// Connects found superfluous, and those of them already given up.
    pub(crate) skips_begun: Relaxed<u64>,
    pub(crate) skips_ended: Relaxed<u64>,
    /// Attempts to borrow without waiting found nothing.
    pub(crate) tried: Relaxed<bool>,
    /// A visit has heard of it.
    pub(crate) try_due: Relaxed<bool>,
    /// A connect for such attempts is under way.
    pub(crate) try_connects: Relaxed<bool>,
    /// Connections to be replaced as soon as a connect is allowed.
    pub(crate) to_replace: SegQueue<Replaces>,
    pub(crate) pings: UsualPing,
    /// When borrowers stood in line, and were served.
    pub(crate) line: LineLog,
    /// When growth looks at the line again, though nothing may have happened.
    pub(crate) look_again: Relaxed<u64>,
    /// The jitter of connections.
    pub(crate) jitter: Spread,
}

/// The state machines that set the pace of connecting.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pub(crate) backoff: Backoff,
    pub(crate) ramp: Ramp,
    pub(crate) meter: Meter,
}

/// The state of these machines, for readers that do not take their lock.
#[derive(Debug, Default)]
struct Outlook {
    retry_at: Relaxed<u64>,
    proven_since: Relaxed<u64>,
    is_failing: Relaxed<bool>,
    /// Since when, if it is known.
    failing_since: Relaxed<u64>,
    is_permanent: Relaxed<bool>,
    is_in_doubt: Relaxed<bool>,
    /// For how long a connection is out for each that is handed over, the shortest that this was,
    /// and how long a connect usually takes, in nanoseconds. Zero: that is not known.
    hold: Relaxed<u64>,
    shortest_hold: Relaxed<u64>,
    usual_connect: Relaxed<u64>,
}

/// More than zero if there is a time.
fn to_nanos(time: Option<Duration>) -> u64 {
    time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1))
}

fn from_nanos(nanos: u64) -> Option<Duration> {
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

/// What news have changed.
pub(crate) enum Turn {
    /// An outage has begun.
    Begun,
    /// The outage has ended after so long.
    Ended(Duration),
}

impl Supply {
    pub(crate) fn new(initial_size: usize) -> Self {
        Self {
            requests: Requests::new(),
            pace: Mutex::default(),
            outlook: Outlook::default(),
            warm_up: Relaxed::<usize>::new(initial_size),
            skips_begun: Relaxed::<u64>::new(0),
            skips_ended: Relaxed::<u64>::new(0),
            tried: Relaxed::<bool>::new(false),
            try_due: Relaxed::<bool>::new(false),
            try_connects: Relaxed::<bool>::new(false),
            to_replace: SegQueue::new(),
            pings: UsualPing::new(),
            line: LineLog::new(),
            look_again: Relaxed::<u64>::new(Tick::NEVER.0),
            jitter: Spread::new(),
        }
    }

    /// How many connections are to be open whatever the demand.
    pub(crate) fn floor(&self, settings: &Settings) -> usize {
        settings.min_size.max(self.warm_up.get().min(settings.max_size))
    }

    /// Runs `with` on the machines, under their lock: no foreign code may run in it.
    pub(crate) fn pace<R>(&self, with: impl FnOnce(&mut Pace) -> R) -> R {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = with(&mut pace);
        let Pace { backoff, meter, .. } = &*pace;
        let outlook = &self.outlook;
        outlook.retry_at.set(backoff.retry_at().0);
        outlook.proven_since.set(backoff.proven_since().0);
        outlook.is_failing.set(backoff.is_failing());
        outlook.is_permanent.set(backoff.is_permanent());
        outlook.is_in_doubt.set(backoff.is_in_doubt());
        outlook.hold.set(to_nanos(meter.hold()));
        outlook.shortest_hold.set(to_nanos(meter.shortest_hold()));
        outlook.usual_connect.set(to_nanos(meter.connects.get()));
        answer
    }

    /// [`pace`](Self::pace) with news of `now`; if an outage has begun or ended with them, `tell`
    /// is told.
    pub(crate) fn learn<R>(
        &self,
        now: Tick,
        with: impl FnOnce(&mut Pace) -> R,
        tell: impl FnOnce(Turn),
    ) -> R {
        self.pace(|pace| {
            let answer = with(pace);
            match (self.failing_since(), pace.backoff.is_failing()) {
                (None, true) => {
                    self.outlook.failing_since.set(now.0.max(1));
                    tell(Turn::Begun);
                }
                (Some(since), false) => {
                    self.outlook.failing_since.set(0);
                    tell(Turn::Ended(now.since(since)));
                }
                _ => {}
            }
            answer
        })
    }

    /// When the outage began, if there is one.
    pub(crate) fn failing_since(&self) -> Option<Tick> {
        Some(Tick(self.outlook.failing_since.get())).filter(|since| *since != Tick::default())
    }

    /// The connect of `order` is over, whatever came of it.
    pub(crate) fn end_order(&self, order: &Order) {
        if order.is_for_try {
            // Attempts from now on see what came of it.
            self.tried.set(false);
            self.try_connects.set(false);
        }
    }

    /// When the next connect may be begun.
    pub(crate) fn retry_at(&self) -> Tick {
        Tick(self.outlook.retry_at.get())
    }

    /// Whether the last connect failed, or is in doubt.
    pub(crate) fn is_failing(&self) -> bool {
        self.outlook.is_failing.get()
    }

    /// Whether the last connect failed with a permanent error.
    pub(crate) fn is_permanent(&self) -> bool {
        self.outlook.is_permanent.get()
    }

    /// For how long a connection is out for each that is handed to a waiter, if that is known.
    pub(crate) fn hold(&self) -> Option<Duration> {
        from_nanos(self.outlook.hold.get())
    }

    /// For how many nanoseconds a line is young: as long as a connect usually takes, but no longer
    /// than connects keep each other from being begun.
    #[inline]
    pub(crate) fn youth(&self) -> u64 {
        const MOST: u64 = PATIENCE.as_nanos() as u64;
        match self.outlook.usual_connect.get() {
            0 => MOST,
            usual => usual.min(MOST),
        }
    }

    /// The shortest that this was lately.
    pub(crate) fn shortest_hold(&self) -> Option<Duration> {
        from_nanos(self.outlook.shortest_hold.get())
    }

    /// How long a connect usually takes, if that is known.
    pub(crate) fn usual_connect(&self) -> Option<Duration> {
        from_nanos(self.outlook.usual_connect.get())
    }

    /// Whether a fresh connection was found dead, and none has answered since.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.outlook.is_in_doubt.get()
    }

    /// Whether the last connect failed permanently; with `fail_fast`: at all.
    pub(crate) fn has_failed(&self, fail_fast: bool) -> bool {
        self.is_permanent() || fail_fast && self.is_failing()
    }

    /// Whether a connect begun at `begun` no longer tells anything about the server, as a later one
    /// has succeeded.
    pub(crate) fn is_overtaken(&self, begun: Tick) -> bool {
        begun.0 < self.outlook.proven_since.get()
    }
}
