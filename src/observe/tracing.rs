//! Events as those of [tracing](https://docs.rs/tracing).

use super::{Event, EventKind, Observer};
use tracing::{debug, error, info, trace, warn};

/// An observer that passes each event on to the subscribers of the `tracing` crate, with the target
/// `caliburn`, the pool's name as `pool`, the kind of the event as `event`, and its text.
///
/// | level | what |
/// |---|---|
/// | error | an outage begins |
/// | warn | failed connects, pings, resets, launches and checkouts; loans that last too long |
/// | info | an outage ends; the pool is closed |
/// | debug | connections that come and go |
/// | trace | waits, pings, resets, sweeps |
///
/// The subscriber is not called on the borrower's thread, so events are in no span.
///
/// ```
/// # use caliburn::{Builder, Manager};
/// # fn watch<M: Manager>(builder: Builder<M>) -> Builder<M> {
/// builder.observer(caliburn::observe::Tracing::new("songs"))
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tracing {
    pool: String,
}

impl Tracing {
    /// Returns an observer for the pool known as `pool`.
    pub fn new(pool: impl Into<String>) -> Self {
        Self { pool: pool.into() }
    }
}

macro_rules! tell {
    ($level:ident, $this:expr, $kind:expr) => {
        $level!(target: "caliburn", pool = $this.pool, event = $kind.as_str(), "{}", $kind)
    };
}

impl Observer for Tracing {
    fn on_event(&self, event: &Event) {
        let kind = &event.kind;
        match kind {
            EventKind::OutageBegan { .. } => tell!(error, self, kind),
            EventKind::NestedGet { .. }
            | EventKind::TimedOut { .. }
            | EventKind::Refused
            | EventKind::Shed { .. }
            | EventKind::ConnectFailed { .. }
            | EventKind::PingFailed { .. }
            | EventKind::PingCancelled
            | EventKind::ResetFailed { .. }
            | EventKind::LaunchFailed
            | EventKind::HeldTooLong { .. } => tell!(warn, self, kind),
            EventKind::OutageEnded { .. }
            | EventKind::ManagerSwitched
            | EventKind::Paused
            | EventKind::Resumed
            | EventKind::PoolClosed => tell!(info, self, kind),
            EventKind::Connected { .. }
            | EventKind::ConnectSkipped
            | EventKind::Evicted { .. }
            | EventKind::Closed { .. }
            | EventKind::Detached
            | EventKind::Added => tell!(debug, self, kind),
            EventKind::WaitBegan { .. }
            | EventKind::WaitEnded { .. }
            | EventKind::PingBegan
            | EventKind::Pinged { .. }
            | EventKind::Reset { .. }
            | EventKind::SweepBegan => tell!(trace, self, kind),
        }
    }

    fn on_lost(&self, count: u64) {
        warn!(target: "caliburn", pool = self.pool, "{count} events were lost");
    }
}
