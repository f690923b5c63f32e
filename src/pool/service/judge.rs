//! Asks the strategy, unless its last answer still stands. The asking is out of line and gets
//! references only, so that a connection under judgement stays in its slot and its token in
//! registers.

use crate::clock::Tick;
use crate::health::{
    ConnectionInfo, EvictionCause, HealthStrategy, Occasions, Validity, Verdict, validity_of,
};
use crate::manager::Manager;
use crate::no_unwind::no_unwind;
use crate::pool::ground::sampling::Seed;
use crate::pool::state::entry::{Entry, Fit};
use crate::pool::state::pooled::Raw;
use crate::stats::Ledger;

/// Before a loan.
pub(crate) fn on_borrow<M: Manager>(
    entry: &mut Entry<M>,
    ledger: &Ledger,
    raw: &Raw<M>,
    now: Tick,
) -> Verdict {
    if entry.fit.holds(now, ledger.transitions(), raw.epoch()) {
        return Verdict::Keep;
    }
    let due = if entry.ping_due { Verdict::Ping } else { Verdict::Keep };
    due.max(ask(entry, ledger, raw, now, Occasions::BORROW))
}

/// After a loan.
pub(crate) fn on_return<M: Manager>(
    entry: &mut Entry<M>,
    ledger: &Ledger,
    raw: &Raw<M>,
) -> Verdict {
    ask(entry, ledger, raw, ledger.last_changed(), Occasions::RETURN)
}

/// Whether a connection that has just been [judged](on_return) should be replaced, and why.
pub(crate) fn retires<M: Manager>(
    entry: &Entry<M>,
    ledger: &Ledger,
    raw: &Raw<M>,
) -> Option<EvictionCause> {
    let state = raw.context();
    if raw.eras().is_past(ledger.stamp()) {
        return Some(EvictionCause::Invalidated);
    }
    if !state.occasions.intersects(Occasions::BORROW | Occasions::RETURN) {
        return None;
    }
    let info = entry.info(ledger, state.generation.get(), ledger.last_changed());
    let (time, cause) = no_unwind(|| state.strategy.retires_in(&info)).flatten()?;
    time.is_zero().then_some(cause)
}

/// On a sweep.
pub(crate) fn on_sweep<M: Manager>(
    entry: &mut Entry<M>,
    ledger: &Ledger,
    raw: &Raw<M>,
    now: Tick,
) -> Verdict {
    ask(entry, ledger, raw, now, Occasions::SWEEP)
}

/// A strategy that panics gives no verdict: the connection is evicted.
#[cold]
#[inline(never)]
fn ask<M: Manager>(
    entry: &mut Entry<M>,
    ledger: &Ledger,
    raw: &Raw<M>,
    now: Tick,
    occasion: Occasions,
) -> Verdict {
    // Read first: what is found out from here on is void once the epoch has risen.
    let epoch = raw.epoch();
    let state = raw.context();
    let out_of_date = out_of_date(ledger, raw, occasion);
    let info = entry.info(ledger, state.generation.get(), now);
    let strategy = &**state.strategy;
    let is_asked = state.occasions.intersects(occasion);
    let verdict =
        no_unwind(|| if is_asked { judge(strategy, &info, occasion) } else { Verdict::Keep });
    let verdict = verdict.unwrap_or(Verdict::Evict(EvictionCause::Panicked));
    let verdict = out_of_date.map_or(verdict, Verdict::Evict);
    let is_accompanied = state.hooks.accompany_loans();
    let is_fit =
        verdict == Verdict::Keep && !entry.ping_due && !raw.is_in_debt() && !is_accompanied;
    // What answers slowly takes the slow road, where others are preferred to it.
    let is_fit =
        is_fit && !state.identifies && !entry.is_slow && !raw.eras().is_past(ledger.stamp());
    // A validity begins with a Keep, not with silence: before a loan if the strategy is asked then,
    // else after one.
    let is_time = match occasion {
        Occasions::BORROW => is_asked || !state.occasions.intersects(Occasions::RETURN),
        Occasions::RETURN => !state.occasions.intersects(Occasions::BORROW),
        _ => false,
    };
    if is_fit && is_time {
        let validity = no_unwind(|| {
            let validity = validity_of(strategy, &info);
            // When it should be replaced it is looked at again.
            let retires_in = strategy.retires_in(&info);
            retires_in.map_or(validity, |(time, _)| validity.min(Validity::time(time)))
        });
        let validity = validity.unwrap_or(Validity::NONE);
        let transitions = ledger.transitions();
        let limit = match occasion {
            Occasions::BORROW => state.sampling.after_loan(transitions, Seed::of(ledger)),
            _ => state.sampling.before_loan(transitions, Seed::of(ledger)),
        };
        entry.fit = Fit::of(&info, validity, transitions, limit, epoch);
    }
    verdict
}

/// A sweep has what is out of date replaced; a borrower is told only of what is not lent any more.
fn out_of_date<M: Manager>(
    ledger: &Ledger,
    raw: &Raw<M>,
    occasion: Occasions,
) -> Option<EvictionCause> {
    let is_out_of_date = match occasion {
        Occasions::SWEEP => raw.eras().is_past(ledger.stamp()),
        _ => raw.eras().is_refused(ledger.stamp()),
    };
    is_out_of_date.then_some(EvictionCause::Invalidated)
}

fn judge(strategy: &dyn HealthStrategy, info: &ConnectionInfo, occasion: Occasions) -> Verdict {
    match occasion {
        Occasions::BORROW => strategy.on_borrow(info),
        Occasions::RETURN => strategy.on_return(info),
        _ => strategy.on_sweep(info),
    }
}

/// A connection of `generation` was found dead, so the others of that generation are suspect. One
/// step per wave.
pub(crate) fn suspect_generation<M: Manager>(raw: &Raw<M>, generation: u64) {
    // The epoch makes it seen. A thread that raised the generation first may not have advanced the
    // epoch yet, so it is advanced in any case.
    raw.context().generation.exchange(generation, generation + 1);
    raw.advance_epoch();
}
