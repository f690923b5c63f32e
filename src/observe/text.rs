//! What events say in a log.

use super::{Event, EventKind, WaitOutcome};
use std::fmt;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.is_reserved { "reserve: " } else { "" };
        write!(f, "[{:10.4} s] {place}{}", self.at.as_secs_f64(), self.kind)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WaitBegan { location } => write!(f, "{location} waits for a connection"),
            Self::WaitEnded { location, waited, outcome } => {
                write!(f, "{location} waited in line for {waited:.1?}: {outcome}")
            }
            Self::NestedGet { location, held } => {
                write!(f, "{location} waits for a connection and holds the one that {held} got")
            }
            Self::TimedOut { phase, waited } => {
                write!(f, "a checkout timed out after {waited:.1?} {phase}")
            }
            Self::Refused => f.write_str("a checkout was refused: too many borrowers were waiting"),
            Self::Shed { waited } => {
                write!(f, "a checkout was turned away after {waited:.1?}: the line is too slow")
            }
            Self::Hopeless { expected_wait, limit } => write!(
                f,
                "a checkout was refused: a wait of {expected_wait:.1?} is too long for a limit of \
                 {limit:.1?}"
            ),
            Self::Connected { took } => write!(f, "connected in {took:.1?}"),
            Self::ConnectFailed { took, is_permanent, cause } => {
                let kind =
                    if *is_permanent { "a connect failed for good" } else { "a connect failed" };
                write!(f, "{kind} after {took:.1?}: {cause}")
            }
            Self::ConnectSkipped => f.write_str("a connect was no longer needed"),
            Self::ConnectHeld { ahead } => {
                write!(f, "the governor holds a connect back, {ahead} pools stand ahead")
            }
            Self::GrowthDecided { waiting, rate, connect_time, connects } => {
                let (s, are) = if *connects == 1 { ("", "is") } else { ("s", "are") };
                write!(f, "{connects} connect{s} {are} asked for, as {waiting} wait")?;
                match rate {
                    Some(rate) => write!(f, ", of whom {rate:.1} per second are served")?,
                    None => f.write_str("; how fast they are served is not known")?,
                }
                match connect_time {
                    Some(time) => write!(f, "; a connect takes {time:.1?}"),
                    None => f.write_str("; how long a connect takes is not known"),
                }
            }
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
            Self::Added => f.write_str("a connection from elsewhere was added"),
            Self::ManagerSwitched => f.write_str("the manager was replaced"),
            Self::SweepBegan => f.write_str("a sweep began"),
            Self::OutageBegan { cause: Some(cause) } => write!(f, "an outage began: {cause}"),
            Self::OutageBegan { cause: None } => {
                f.write_str("an outage began: connections are dead as soon as they are open")
            }
            Self::OutageEnded { lasted } => write!(f, "the outage ended after {lasted:.1?}"),
            Self::LaunchFailed => f.write_str("the spawner did not run a task"),
            Self::HeldTooLong { holder } => write!(f, "held for too long, by {holder}"),
            Self::Paused => f.write_str("the pool was paused"),
            Self::Resumed => f.write_str("the pool was resumed"),
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
