//! Asks the strategy. What is asked is out of line and given references alone, so that a connection under
//! judgement stays where it is and its token in registers.

use super::shared::{Entry, Shared, refresh};
use crate::clock::Tick;
use crate::health::{ConnectionInfo, EvictionCause, HealthStrategy, Occasions, Verdict};
use crate::manager::Manager;
use crate::stats::Ledger;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Before a loan.
#[inline(always)]
pub(crate) fn on_borrow<M: Manager>(
    entry: &mut Entry<M::Connection>,
    ledger: &Ledger,
    shared: &Shared<M>,
) -> Verdict {
    let due = if entry.ping_due { Verdict::Ping } else { Verdict::Keep };
    if !shared.occasions.intersects(Occasions::BORROW) {
        return due;
    }
    due.max(ask(entry, ledger, shared, shared.clock.tick(), |strategy, info| {
        strategy.on_borrow(info)
    }))
}

/// After a loan.
#[inline(always)]
pub(crate) fn on_return<M: Manager>(
    entry: &mut Entry<M::Connection>,
    ledger: &Ledger,
    shared: &Shared<M>,
) -> Verdict {
    if !shared.occasions.intersects(Occasions::RETURN) {
        return Verdict::Keep;
    }
    ask(entry, ledger, shared, ledger.last_used(), |strategy, info| strategy.on_return(info))
}

/// In passing.
pub(crate) fn on_sweep<M: Manager>(
    entry: &mut Entry<M::Connection>,
    ledger: &Ledger,
    shared: &Shared<M>,
    now: Tick,
) -> Verdict {
    if !shared.occasions.intersects(Occasions::SWEEP) {
        return Verdict::Keep;
    }
    ask(entry, ledger, shared, now, |strategy, info| strategy.on_sweep(info))
}

/// A strategy that panics has said what it can: the connection goes.
#[inline(never)]
fn ask<M: Manager>(
    entry: &mut Entry<M::Connection>,
    ledger: &Ledger,
    shared: &Shared<M>,
    now: Tick,
    question: impl FnOnce(&dyn HealthStrategy, &ConnectionInfo) -> Verdict,
) -> Verdict {
    let info = refresh(entry, ledger, shared, now);
    catch_unwind(AssertUnwindSafe(|| question(&*shared.strategy, info)))
        .unwrap_or(Verdict::Evict(EvictionCause::Panicked))
}
