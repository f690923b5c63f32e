//! A housekeeper looks after the desk of a governor, as it does after pools.

use crate::pool::ground::governor::Desk;
use crate::pool::ground::ring::Ring;
use crate::pool::upkeep::housekeeper;
use crate::pool::upkeep::keeper::Household;
use crate::sync::{Arc, PoisonError, Weak};
use std::io;
use std::time::Duration;

/// From now on the housekeeper visits the desk.
pub(in crate::pool) fn hire(desk: &Arc<Desk>) -> io::Result<()> {
    let _hiring = desk.hiring.lock().unwrap_or_else(PoisonError::into_inner);
    if desk.needs_housekeeper() {
        let weak: Weak<Desk> = Arc::downgrade(desk);
        let (thread, number) = housekeeper::take_on(weak)?;
        desk.ring().hire(thread, number);
    }
    Ok(())
}

impl Household for Desk {
    fn ring(&self) -> &Ring {
        self.ring()
    }

    fn visit(self: Arc<Self>) -> Duration {
        self.look()
    }

    fn postponed(&self, _: Duration) -> Option<Duration> {
        if self.ring().is_rung() {
            return None;
        }
        Some(self.rest()).filter(|wait| !wait.is_zero())
    }

    fn is_over(&self) -> bool {
        false
    }

    fn is_deserted(&self) -> bool {
        false
    }
}
