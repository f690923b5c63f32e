//! Whether borrowers are turned away when the pool cannot serve all in time.

use crate::error::Problem;
use std::time::Duration;

/// Whether borrowers are turned away when the pool cannot serve all in time.
///
/// A pool that is asked for more than it can serve makes everybody wait longer and longer, until
/// all get their connections too late to be of use. [`CoDel`](Self::CoDel) turns some away at once,
/// with [`GetError::Shed`](crate::GetError::Shed), so that the others are served within about
/// `target`: see the [guide](crate::guide::tuning).
///
/// ```
/// # use caliburn::{Builder, Manager};
/// use caliburn::Shedding;
/// use std::time::Duration;
///
/// # fn shed<M: Manager>(builder: Builder<M>) -> Builder<M> {
/// let (target, interval) = (Duration::from_millis(50), Duration::from_millis(100));
/// builder.shedding(Shedding::CoDel { target, interval, newest_first: false })
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shedding {
    /// Nobody is turned away: a borrower waits until its own time is up.
    #[default]
    Off,
    /// Controlled delay (RFC 8289, for a line of borrowers). If each connection that was handed
    /// over during an `interval` went to a borrower that had waited for more than `target`, the
    /// line is slow. From then on those that have waited for longer than `target` are turned away
    /// whenever a connection could be handed to one of them, but for the last in line; until the
    /// line is empty, or none that is served has waited for so long for an `interval`. A burst is
    /// thus served whole if that takes no longer than an `interval` or so. Only hand-overs tell how
    /// fast the line is: after two intervals without one, as in an outage or a pause, it counts as
    /// swift, so choose an interval longer than a loan. Each [class](crate::Pool::class) is judged
    /// by its own waits; [`get_many`](crate::Pool::get_many) is not, and a
    /// [reserve](crate::Pool::reserved) turns nobody away. In such a pool
    /// [`fairness`](crate::Settings::fairness) is [`Fifo`](crate::Fairness::Fifo), whatever is set.
    CoDel {
        /// The longest wait that is right, more than zero: a fifth of what callers can bear is a
        /// good start.
        target: Duration,
        /// How long all waits must be longer before borrowers are turned away, more than zero: the
        /// time that bursts may take.
        interval: Duration,
        /// Whether the newest in line is served first while the line is slow: it has the most time
        /// left (adaptive LIFO). What a task did not take in time goes to the oldest all the same.
        newest_first: bool,
    },
}

impl Shedding {
    pub(crate) fn check(self, problems: &mut Vec<Problem>) {
        if let Self::CoDel { target, interval, .. } = self {
            let zero = [("shedding's target", target), ("shedding's interval", interval)];
            let zero = zero.into_iter().filter(|(_, time)| time.is_zero());
            problems.extend(zero.map(|(setting, _)| Problem::Zero(setting)));
        }
    }
}
