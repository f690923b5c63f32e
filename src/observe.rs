//! Events: what happens in a pool, for logs, metrics and alarms.
//!
//! [`Builder::observer`](crate::Builder::observer) adds an [`Observer`], which receives each
//! [`Event`]. [`Builder::record_events`](crate::Builder::record_events) keeps the latest events,
//! for [`Pool::recent_events`](crate::Pool::recent_events) to show beside an error. Without either
//! the pool makes no events.
//!
//! A thread of the crate's own reports events one after the other, within about 25 ms. So an
//! observer may block, panic, use the pool or drop it: it delays neither borrowers nor the pool's
//! limits. An observer that is too slow misses events, and [learns](Observer::on_lost) how many. In
//! a pool with [`manual_maintenance`](crate::Builder::manual_maintenance) the thread that maintains
//! it reports them. A forked child reports no events of its parent's pools. Events that wait for
//! observers take up to 64 kB for each pool.
//!
//! A loan that finds a fit idle connection is no event, as reporting it would cost more than the
//! loan: [`Stats::checkouts`](crate::Stats::checkouts) counts these loans.
//!
//! ```
//! # use caliburn::{Builder, Manager};
//! use caliburn::observe::{Event, EventKind};
//!
//! fn watch<M: Manager>(builder: Builder<M>) -> Builder<M> {
//!     builder.observer(|event: &Event| match &event.kind {
//!         EventKind::OutageBegan { .. } => eprintln!("{event}"),
//!         EventKind::OutageEnded { .. } => eprintln!("{event}"),
//!         EventKind::HeldTooLong { holder } => eprintln!("a leak? {holder}"),
//!         _ => {}
//!     })
//! }
//! ```

mod text;
#[cfg(feature = "tracing")]
mod tracing;

#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub use self::tracing::Tracing;

use crate::error::Phase;
use crate::health::EvictionCause;
use crate::no_unwind::no_unwind;
use crate::stats::Holder;
use crate::sync::Arc;
use std::error::Error;
use std::panic::Location;
use std::time::Duration;

/// Why a call into the manager failed, in words: the error and its sources. (Not the error itself,
/// whose destructor would run wherever the last copy of the event is dropped.)
pub type Cause = Arc<str>;

/// The error and its sources, each said once.
pub(crate) fn cause_of(error: &(dyn Error + 'static)) -> Cause {
    let text = no_unwind(|| {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            let more = error.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            source = error.source();
        }
        text
    });
    text.unwrap_or_else(|| "an error that panics when it is written".into()).into()
}

/// What the reserve of the pool known as `pool` is called where both have names.
pub(crate) fn name_of_reserve(pool: &str) -> String {
    format!("{pool}-reserved")
}

/// Something that happened in a pool.
///
/// `Display` makes a line for a log of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// When it happened, as the time since the pool was built.
    pub at: Duration,
    /// What happened.
    pub kind: EventKind,
    /// Whether it happened in the pool's [reserve](crate::Builder::reserved).
    pub is_reserved: bool,
}

/// What happened, with details.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// A borrower joined the line, as no fit connection was idle.
    WaitBegan {
        /// Where in the source the borrower asked for the connection.
        location: &'static Location<'static>,
    },
    /// A borrower that had joined the line has left it for good.
    WaitEnded {
        /// Where in the source the borrower asked for the connection.
        location: &'static Location<'static>,
        /// How long the borrower stood in line.
        waited: Duration,
        /// What came of it.
        outcome: WaitOutcome,
    },
    /// A borrower that holds a connection waits for another: if all did, they would wait for each
    /// other. Told only if the pool [identifies](crate::Builder::identify_borrowers) borrowers.
    NestedGet {
        /// Where in the source it asked for the connection.
        location: &'static Location<'static>,
        /// Where it had asked for the connection that it holds.
        held: &'static Location<'static>,
    },
    /// A checkout failed because its time was up.
    TimedOut {
        /// What the borrower was waiting for.
        phase: Phase,
        /// How long the checkout took.
        waited: Duration,
    },
    /// A checkout failed at once, because too many borrowers were in line.
    Refused,
    /// A checkout was [turned away](crate::Shedding), because the line is too slow for all.
    Shed {
        /// How long the borrower had waited.
        waited: Duration,
    },
    /// A checkout was refused at once, because the borrower could not be [served in
    /// time](crate::Settings::deadline_admission).
    Hopeless {
        /// How long it would have had to wait.
        expected_wait: Duration,
        /// Its own limit.
        limit: Duration,
    },
    /// A connection was opened.
    Connected {
        /// How long that took, with the hooks.
        took: Duration,
    },
    /// An attempt to open a connection failed.
    ConnectFailed {
        /// How long that took.
        took: Duration,
        /// Whether the manager [classifies](crate::Manager::classify) the error as permanent.
        is_permanent: bool,
        /// Why.
        cause: Cause,
    },
    /// A requested connect was not begun, because it was no longer needed.
    ConnectSkipped,
    /// The pool decided to open connections because borrowers wait. Connects that would find none
    /// of them left are not asked for.
    GrowthDecided {
        /// How many borrowers waited.
        waiting: usize,
        /// How many connections are handed to waiters per second, if that is known.
        rate: Option<f64>,
        /// How long a connect usually takes, if that is known.
        connect_time: Option<Duration>,
        /// How many connects were asked for.
        connects: usize,
    },
    /// The [governor](crate::ConnectGovernor) held a connect back, and the pool has joined its
    /// line. Told once for each time it does, however many connects it would begin.
    ConnectHeld {
        /// How many other pools stand in line ahead of it.
        ahead: usize,
    },
    /// A ping was begun.
    PingBegan,
    /// A ping was answered in time.
    Pinged {
        /// How long that took.
        took: Duration,
    },
    /// A ping failed.
    PingFailed {
        /// How long that took.
        took: Duration,
        /// Why.
        cause: Cause,
    },
    /// A ping was dropped half-way, because its borrower or the runtime was gone.
    PingCancelled,
    /// A connection was reset.
    Reset {
        /// How long that took, with the hooks.
        took: Duration,
    },
    /// A reset failed.
    ResetFailed {
        /// How long that took.
        took: Duration,
        /// Why.
        cause: Cause,
    },
    /// A connection is to be closed.
    Evicted {
        /// Why.
        cause: EvictionCause,
    },
    /// A connection was closed.
    Closed {
        /// How long the close took.
        took: Duration,
    },
    /// A borrower took its connection out of the pool.
    Detached,
    /// A connection that was opened elsewhere was [added](crate::Pool::add).
    Added,
    /// The pool has [another manager](crate::Pool::switch_manager).
    ManagerSwitched,
    /// A sweep over the idle connections began.
    SweepBegan,
    /// Connecting fails, or fresh connections are dead: from now on the pool makes one attempt at a
    /// time.
    OutageBegan {
        /// Why; `None` if fresh connections are dead at once.
        cause: Option<Cause>,
    },
    /// A connect has succeeded again.
    OutageEnded {
        /// How long the outage lasted.
        lasted: Duration,
    },
    /// The [spawner](crate::Builder::spawner) did not run a task.
    LaunchFailed,
    /// A loan lasts longer than [`leak_threshold`](crate::Settings::leak_threshold). Reported once
    /// for each loan.
    HeldTooLong {
        /// Who holds it.
        holder: Arc<Holder>,
    },
    /// The pool was [paused](crate::Pool::pause).
    Paused,
    /// The pool was [resumed](crate::Pool::resume).
    Resumed,
    /// The pool was closed.
    PoolClosed,
}

/// What came of a wait in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitOutcome {
    /// The borrower has its connection.
    Served,
    /// Its time was up.
    TimedOut,
    /// It got another error.
    Failed,
    /// Its future was dropped.
    Cancelled,
}

/// Receives a pool's events. Any `Fn(&Event)` is an observer.
///
/// The [module](self) says which thread calls it, and when.
///
/// ```
/// use caliburn::observe::{Event, Observer};
/// use std::collections::HashMap;
/// use std::sync::Mutex;
///
/// /// Counts events by kind.
/// #[derive(Default)]
/// struct Counts(Mutex<HashMap<&'static str, u64>>);
///
/// impl Observer for Counts {
///     fn on_event(&self, event: &Event) {
///         *self.0.lock().unwrap().entry(event.kind.as_str()).or_default() += 1;
///     }
///     fn on_lost(&self, count: u64) {
///         *self.0.lock().unwrap().entry("lost").or_default() += count;
///     }
/// }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Called once for each event, by one thread at a time. If two threads cause events at the same
    /// moment, either may come first.
    fn on_event(&self, event: &Event);

    /// Called when `count` events were dropped because the observer was too slow. Default: does
    /// nothing.
    fn on_lost(&self, count: u64) {
        let _ = count;
    }
}

impl<F: Fn(&Event) + Send + Sync + 'static> Observer for F {
    fn on_event(&self, event: &Event) {
        self(event);
    }
}

impl EventKind {
    /// Returns the kind as a word, for a label or a field; [`Observer`] has an
    /// [example](Observer).
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::WaitBegan { .. } => "wait_began",
            Self::WaitEnded { .. } => "wait_ended",
            Self::NestedGet { .. } => "nested_get",
            Self::TimedOut { .. } => "timed_out",
            Self::Refused => "refused",
            Self::Shed { .. } => "shed",
            Self::Hopeless { .. } => "hopeless",
            Self::Connected { .. } => "connected",
            Self::ConnectFailed { .. } => "connect_failed",
            Self::ConnectSkipped => "connect_skipped",
            Self::GrowthDecided { .. } => "growth_decided",
            Self::ConnectHeld { .. } => "connect_held",
            Self::PingBegan => "ping_began",
            Self::Pinged { .. } => "pinged",
            Self::PingFailed { .. } => "ping_failed",
            Self::PingCancelled => "ping_cancelled",
            Self::Reset { .. } => "reset",
            Self::ResetFailed { .. } => "reset_failed",
            Self::Evicted { .. } => "evicted",
            Self::Closed { .. } => "closed",
            Self::Detached => "detached",
            Self::Added => "added",
            Self::ManagerSwitched => "manager_switched",
            Self::SweepBegan => "sweep_began",
            Self::OutageBegan { .. } => "outage_began",
            Self::OutageEnded { .. } => "outage_ended",
            Self::LaunchFailed => "launch_failed",
            Self::HeldTooLong { .. } => "held_too_long",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::PoolClosed => "pool_closed",
        }
    }
}
