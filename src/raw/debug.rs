//! How a pool, its tokens and tickets show themselves.

use super::slots::{Lodging, Occupied, Vacant};
use super::waiter::{Outcome, Ticket};
use super::{PoolHooks, RawPool};
use std::fmt;

impl<H: Lodging> fmt::Debug for Occupied<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Occupied").field(&self.index()).finish()
    }
}

impl<H: Lodging> fmt::Debug for Vacant<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vacant").field(&self.index()).finish()
    }
}

impl<H: Lodging> fmt::Debug for Outcome<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted(slot) => f.debug_tuple("Granted").field(slot).finish(),
            Self::Closed => f.write_str("Closed"),
            Self::Failed => f.write_str("Failed"),
            Self::Expired => f.write_str("Expired"),
            Self::Lapsed => f.write_str("Lapsed"),
            Self::Shed => f.write_str("Shed"),
        }
    }
}

impl<H: Lodging> fmt::Debug for Ticket<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("in_line", &self.waiter.in_line).finish_non_exhaustive()
    }
}

impl<H: PoolHooks> fmt::Debug for RawPool<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawPool").field("gauges", &self.gauges()).finish_non_exhaustive()
    }
}
