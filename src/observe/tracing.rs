//! Events as those of [tracing](https://docs.rs/tracing).

use super::{Event, EventKind, Observer, name_of_reserve};
use tracing::{debug, error, info, trace, warn};

/// An observer that passes each event on to the subscribers of the `tracing` crate, with the target
/// `caliburn`, the pool's name as `pool`, the kind of the event as `event`, and its text. The
/// pool's [reserve](crate::Builder::reserved) has the name with `-reserved` after it.
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
    reserve: String,
}

impl Tracing {
    /// Returns an observer for the pool known as `pool`.
    pub fn new(pool: impl Into<String>) -> Self {
        let pool = pool.into();
        Self { reserve: name_of_reserve(&pool), pool }
    }
}

macro_rules! tell {
    ($level:ident, $pool:expr, $kind:expr) => {
        $level!(target: "caliburn", pool = $pool, event = $kind.as_str(), "{}", $kind)
    };
}

impl Observer for Tracing {
    fn on_event(&self, event: &Event) {
        let kind = &event.kind;
        let pool = if event.is_reserved { &self.reserve } else { &self.pool };
        match kind {
            EventKind::OutageBegan { .. } => tell!(error, pool, kind),
            EventKind::NestedGet { .. }
            | EventKind::TimedOut { .. }
            | EventKind::Refused
            | EventKind::Shed { .. }
            | EventKind::Hopeless { .. }
            | EventKind::ConnectFailed { .. }
            | EventKind::PingFailed { .. }
            | EventKind::PingCancelled
            | EventKind::ResetFailed { .. }
            | EventKind::LaunchFailed
            | EventKind::HeldTooLong { .. } => tell!(warn, pool, kind),
            EventKind::OutageEnded { .. }
            | EventKind::ManagerSwitched
            | EventKind::Paused
            | EventKind::Resumed
            | EventKind::PoolClosed => tell!(info, pool, kind),
            EventKind::Connected { .. }
            | EventKind::ConnectSkipped
            | EventKind::GrowthDecided { .. }
            | EventKind::ConnectHeld { .. }
            | EventKind::Evicted { .. }
            | EventKind::Closed { .. }
            | EventKind::Detached
            | EventKind::Added => tell!(debug, pool, kind),
            EventKind::WaitBegan { .. }
            | EventKind::WaitEnded { .. }
            | EventKind::PingBegan
            | EventKind::Pinged { .. }
            | EventKind::Reset { .. }
            | EventKind::SweepBegan => tell!(trace, pool, kind),
        }
    }

    fn on_lost(&self, count: u64) {
        warn!(target: "caliburn", pool = self.pool, "{count} events were lost");
    }
}
