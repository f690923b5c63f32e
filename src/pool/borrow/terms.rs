//! On which terms a borrower stands in line.

use crate::clock::Tick;
use crate::config::Fairness;
use crate::manager::Face;
use crate::raw::waiter::{NEVER, Terms};
use std::time::Duration;

/// A task keeps what it is handed for this long without being polled.
const GRACE: Duration = Duration::from_millis(25);

/// Of a borrower that came at `begun`, and stands in line since `now`; `ahead` of those that came
/// later.
pub(crate) fn of(
    face: Face,
    fairness: Fairness,
    begun: Tick,
    deadline: Tick,
    ahead: bool,
    now: Tick,
) -> Terms {
    // A thread looks at the clock itself, and runs once it is woken. The housekeeper wakes a task,
    // whose executor may not poll it soon.
    let (deadline, grace) = match face {
        Face::Blocking => (NEVER, NEVER),
        Face::Async => (deadline.0, GRACE.as_nanos() as u64),
    };
    let patience = match fairness {
        Fairness::BoundedBarging(limit) if !ahead => (now + limit).0,
        _ => 0,
    };
    Terms { deadline, patience, grace, since: begun.0, ahead, ..Terms::STRICT }
}
