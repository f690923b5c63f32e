//! What a pool counts: gauges, counters, a histogram of waits, and who holds what.
//!
//! Counting causes no contention. The owner of a slot is the only writer of its ledger, so a
//! checkout costs plain loads and stores on a line that the borrower owns anyway. Slow paths use
//! shared relaxed counters.

mod advice;
mod borrower;
mod counters;
mod evictions;
mod histogram;
mod ledger;
mod pool_health;
mod slot_info;
mod snapshot;

pub use advice::{Advice, Bottleneck};
pub use borrower::Borrower;
pub(crate) use borrower::{Signature, cut};
pub(crate) use counters::{Counter, Counters};
pub use evictions::Evictions;
pub use histogram::Histogram;
#[cfg(test)]
pub(crate) use histogram::Recorder;
pub use ledger::{Call, Holder, Overrun};
pub(crate) use ledger::{Ledger, Noted, Priority, Running};
pub use pool_health::{Defect, PoolHealth};
pub use slot_info::{SlotInfo, SlotState};
pub use snapshot::Stats;
