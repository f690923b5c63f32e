//! What happens in a pool, as it happens: events for logs, metrics and alarms.
//!
//! [`Builder::observer`](crate::Builder::observer) adds an [`Observer`], which is told each
//! [`Event`]; [`Builder::record_events`](crate::Builder::record_events) keeps the latest, for
//! [`Pool::recent_events`](crate::Pool::recent_events) to show beside an error. Without either no
//! event is made.
//!
//! Events are told by a thread of the crate's own, one after the other, within some 25 ms. So an
//! observer may block, panic, use the pool or drop it: no borrower, and no limit of the pool, waits
//! for it. An observer that is too slow misses events, and [is told](Observer::on_lost) how many.
//! (In a pool with [`manual_maintenance`](crate::Builder::manual_maintenance) the thread that
//! maintains it tells them.) A forked child hears nothing of its parent's pools. What is not told
//! yet takes up to 64 kB for a pool.
//!
//! A loan that finds a fit connection idle is no event, as to tell of it would cost more than the
//! loan: [`Stats::checkouts`](crate::Stats::checkouts) counts those.
//!
//! ```
//! # use caliburn::{Builder, Manager};
//! use caliburn::observe::{Event, EventKind};
//!
//! fn watch<M: Manager>(builder: Builder<M>) -> Builder<M> {
//!     builder.observer(|event: &Event| match &event.kind {
//!         EventKind::OutageBegan { .. } | EventKind::OutageEnded { .. } => eprintln!("{event}"),
//!         EventKind::HeldTooLong { holder } => eprintln!("a leak? {holder}"),
//!         _ => {}
//!     })
//! }
//! ```

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
use std::fmt;
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

/// Something that happened in a pool.
///
/// Written with `{}`, it is a line for a log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// When it happened, as the time since the pool was built.
    pub at: Duration,
    /// What happened.
    pub kind: EventKind,
}

/// What happened, with what is known of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// A borrower joined the line, as no fit connection was idle.
    WaitBegan {
        /// Where in the source the connection was asked for.
        location: &'static Location<'static>,
    },
    /// A borrower that had joined the line has left it for good.
    WaitEnded {
        /// Where in the source the connection was asked for.
        location: &'static Location<'static>,
        /// From when it joined the line.
        waited: Duration,
        /// What came of it.
        outcome: WaitOutcome,
    },
    /// A checkout failed as its time was up.
    TimedOut {
        /// What it was waiting for.
        phase: Phase,
        /// From when it began.
        waited: Duration,
    },
    /// A checkout failed at once, as too many borrowers were in line.
    Refused,
    /// A connection was opened.
    Connected {
        /// How long that took, with the hooks.
        took: Duration,
    },
    /// An attempt to open a connection failed.
    ConnectFailed {
        /// How long that took.
        took: Duration,
        /// Whether the manager says that trying again would not help.
        is_permanent: bool,
        /// Why.
        cause: Cause,
    },
    /// A connect that was requested was not begun, as it was no longer needed.
    ConnectSkipped,
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
        /// How long the goodbye took.
        took: Duration,
    },
    /// A borrower took its connection out of the pool.
    Detached,
    /// The housekeeper began to look at the idle connections.
    SweepBegan,
    /// Connecting fails, or what is opened is dead: from now on one attempt is made at a time.
    OutageBegan {
        /// Why; `None` if what is opened is dead at once.
        cause: Option<Cause>,
    },
    /// A connect has succeeded again.
    OutageEnded {
        /// From when the outage began.
        lasted: Duration,
    },
    /// The [spawner](crate::Builder::spawner) did not run a task.
    LaunchFailed,
    /// A connection is lent for longer than [`leak_threshold`](crate::Settings::leak_threshold).
    /// Told once for each loan.
    HeldTooLong {
        /// Who holds it.
        holder: Holder,
    },
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
    /// It was told another error.
    Failed,
    /// Its future was dropped.
    Cancelled,
}

/// Is told what happens in a pool. Any `Fn(&Event)` is one.
///
/// See the [module](self) for who calls it, and when.
pub trait Observer: Send + Sync + 'static {
    /// Called once with each event, by one thread at a time. Of two that are noted by two threads
    /// at the same moment, either may come first.
    fn on_event(&self, event: &Event);

    /// Called when `count` events were dropped, as earlier ones had not been taken in time.
    /// Default: does nothing.
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
    /// The kind as a word, for a label or a field.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::WaitBegan { .. } => "wait_began",
            Self::WaitEnded { .. } => "wait_ended",
            Self::TimedOut { .. } => "timed_out",
            Self::Refused => "refused",
            Self::Connected { .. } => "connected",
            Self::ConnectFailed { .. } => "connect_failed",
            Self::ConnectSkipped => "connect_skipped",
            Self::PingBegan => "ping_began",
            Self::Pinged { .. } => "pinged",
            Self::PingFailed { .. } => "ping_failed",
            Self::PingCancelled => "ping_cancelled",
            Self::Reset { .. } => "reset",
            Self::ResetFailed { .. } => "reset_failed",
            Self::Evicted { .. } => "evicted",
            Self::Closed { .. } => "closed",
            Self::Detached => "detached",
            Self::SweepBegan => "sweep_began",
            Self::OutageBegan { .. } => "outage_began",
            Self::OutageEnded { .. } => "outage_ended",
            Self::LaunchFailed => "launch_failed",
            Self::HeldTooLong { .. } => "held_too_long",
            Self::PoolClosed => "pool_closed",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:10.4} s] {}", self.at.as_secs_f64(), self.kind)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WaitBegan { location } => write!(f, "{location} waits for a connection"),
            Self::WaitEnded { location, waited, outcome } => {
                write!(f, "{location} waited in line for {waited:.1?}: {outcome}")
            }
            Self::TimedOut { phase, waited } => {
                write!(f, "a checkout timed out after {waited:.1?} {phase}")
            }
            Self::Refused => f.write_str("a checkout was refused: too many were waiting"),
            Self::Connected { took } => write!(f, "connected in {took:.1?}"),
            Self::ConnectFailed { took, is_permanent, cause } => {
                let kind =
                    if *is_permanent { "a connect failed for good" } else { "a connect failed" };
                write!(f, "{kind} after {took:.1?}: {cause}")
            }
            Self::ConnectSkipped => f.write_str("a connect was no longer needed"),
            Self::PingBegan => f.write_str("a ping began"),
            Self::Pinged { took } => write!(f, "a ping was answered in {took:.1?}"),
            Self::PingFailed { took, cause } => {
                write!(f, "a ping failed after {took:.1?}: {cause}")
            }
            Self::PingCancelled => f.write_str("a ping was dropped half-way"),
            Self::Reset { took } => write!(f, "a connection was reset in {took:.1?}"),
            Self::ResetFailed { took, cause } => {
                write!(f, "a reset failed after {took:.1?}: {cause}")
            }
            Self::Evicted { cause } => write!(f, "a connection was evicted: {cause}"),
            Self::Closed { took } => write!(f, "a connection was closed in {took:.1?}"),
            Self::Detached => f.write_str("a connection was taken out of the pool"),
            Self::SweepBegan => f.write_str("a sweep began"),
            Self::OutageBegan { cause: Some(cause) } => write!(f, "an outage began: {cause}"),
            Self::OutageBegan { cause: None } => {
                f.write_str("an outage began: connections are dead as soon as they are open")
            }
            Self::OutageEnded { lasted } => write!(f, "the outage ended after {lasted:.1?}"),
            Self::LaunchFailed => f.write_str("the spawner did not run a task"),
            Self::HeldTooLong { holder } => write!(f, "held for too long, by {holder}"),
            Self::PoolClosed => f.write_str("the pool was closed"),
        }
    }
}

impl fmt::Display for WaitOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Served => "served",
            Self::TimedOut => "timed out",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}
