//! The way back: no I/O, no lock, no waiting, and the same for every face.
//!
//! The driver is asked once what it knows of the connection, and its answer is carried to the end.

use super::enqueue;
use super::flaw::{self, flaw};
use super::judge;
use crate::health::{EvictionCause, Verdict};
use crate::manager::Manager;
use crate::no_unwind::no_unwind;
use crate::pool::state::entry::Entry;
use crate::pool::state::job::Replaces;
use crate::pool::state::kept::Kept;
use crate::pool::state::pooled::{Raw, Slot};
use crate::sync::thread;

/// What the driver knows of a connection that came back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// The connection is sound, or the driver was not asked yet.
    Sound,
    NeedsReset,
    /// The connection is useless, for this cause.
    Flawed(EvictionCause),
}

/// A borrower has returned `slot`.
///
/// What every return pays for stands here; all else is out of line, as even its room on the stack
/// would cost stores that the release must wait for. There is only one call to it, or this function
/// would not be inlined into its callers.
#[inline(always)]
pub(crate) fn come_back<M: Manager>(mut slot: Slot<M>) {
    let mut finding = Finding::Sound;
    // Tested first, while there is nothing yet to be kept over the call that it may make.
    if !thread::panicking() {
        let (entry, ledger, raw) = slot.parts_and_pool();
        let now = raw.context().clock.tick();
        let transitions = ledger.transitions() + 1;
        // First, as it holds of no connection that is not this process's, and of those the driver
        // is not asked.
        if entry.fit.holds(now, transitions, raw.epoch()) {
            finding = ask(entry);
            if finding == Finding::Sound {
                ledger.take_back(transitions, now);
                match slot.offer() {
                    None => return,
                    Some(kept) => slot = kept,
                }
            }
        }
    }
    come_back_slowly(slot, finding);
}

/// Asks the driver. Its panic must not leave a destructor.
#[inline(always)]
fn ask<M: Manager>(entry: &mut Entry<M>) -> Finding {
    if let Some(cause) = flaw(entry) {
        return Finding::Flawed(cause);
    }
    let Entry { connection, manager, .. } = entry;
    match no_unwind(|| manager.needs_reset(connection)) {
        Some(false) => Finding::Sound,
        Some(true) => Finding::NeedsReset,
        None => Finding::Flawed(EvictionCause::Panicked),
    }
}

/// The way back of a connection that needs more than a release.
#[cold]
#[inline(never)]
fn come_back_slowly<M: Manager>(mut slot: Slot<M>, mut finding: Finding) {
    if slot.pool().is_inherited() {
        // Its slot stays lent, and the connection is the parent's to close.
        return std::mem::forget(slot);
    }
    if !slot.ledger().is_lent() {
        // Only the release is left to do: it met a waiter, a flag or a busy word.
        return drop(slot);
    }
    if finding == Finding::Sound {
        let (entry, _, raw) = slot.parts_and_pool();
        let state = raw.context();
        let is_unwinding = thread::panicking() && state.discard_on_unwind;
        finding = if is_unwinding { Finding::Flawed(EvictionCause::Panicked) } else { ask(entry) };
    }
    end_loan(&mut slot);
    match finding {
        Finding::Sound if !slot.pool().context().hooks.on_return.is_empty() => enqueue::reset(slot),
        Finding::Sound => put_back(slot),
        Finding::NeedsReset => {
            slot.value_mut().reset_due = true;
            enqueue::reset(slot)
        }
        Finding::Flawed(cause) => flaw::evict(slot, cause),
    }
}

/// Ends the loan of `slot`.
pub(crate) fn end_loan<M: Manager>(slot: &mut Slot<M>) {
    let (entry, ledger, raw) = slot.parts_and_pool();
    let state = raw.context();
    let since = ledger.last_changed();
    ledger.take_back(ledger.transitions() + 1, state.clock.tick());
    if std::mem::take(&mut entry.is_measured) {
        state.counters.use_time.record(state.clock.now().since(since));
    }
}

/// Makes a connection idle that has come back sound or has been reset, unless the strategy objects.
pub(crate) fn put_back<M: Manager>(mut slot: Slot<M>) {
    let (entry, ledger, raw) = slot.parts_and_pool();
    let verdict = judge::on_return(entry, ledger, raw);
    let cause = if verdict == Verdict::Keep { judge::retires(entry, ledger, raw) } else { None };
    let is_wanted = cause.is_some() && is_wanted(raw);
    if cause == Some(EvictionCause::Invalidated) && !is_wanted {
        return enqueue::close(slot, EvictionCause::Invalidated);
    }
    let old = cause.filter(|_| is_wanted).and_then(|cause| Replaces::begin(&mut slot, cause));
    let Some(old) = old else { return put_back_as(slot, verdict) };
    // The connection may never be idle when a sweep looks, so the attempt begins here.
    let raw = Kept::of(&slot);
    put_back_as(slot, verdict);
    raw.context().supply.to_replace.push(old);
    raw.context().ring.ring();
}

/// Whether the minimum or the borrowers want a connection that has just come back.
fn is_wanted<M: Manager>(raw: &Raw<M>) -> bool {
    let state = raw.context();
    let settings = state.settings.load();
    let open = state.service.open.get().saturating_sub(state.service.closing());
    open <= state.supply.floor(&settings) || raw.count_idle() <= settings.min_idle
}

/// Makes a connection idle that has been pinged. The strategy was asked when it came back.
pub(crate) fn put_back_checked<M: Manager>(slot: Slot<M>) {
    put_back_as(slot, Verdict::Keep);
}

/// Why a connection for which there is to be another should go now, if it should.
fn retires_now<M: Manager>(slot: &Slot<M>) -> Option<EvictionCause> {
    let state = slot.pool().context();
    // A connection that is opened in the place of another is out of service as well.
    let out = state.service.upkeep() + state.service.connecting();
    slot.value().retires(out < state.settings.load().maintenance_concurrency)
}

fn put_back_as<M: Manager>(mut slot: Slot<M>, verdict: Verdict) {
    match verdict {
        Verdict::Evict(cause) => return enqueue::close(slot, cause),
        Verdict::Ping => slot.value_mut().suspect(),
        Verdict::Keep => {}
    }
    if slot.value().may_be_replaced()
        && let Some(cause) = retires_now(&slot)
    {
        return enqueue::close(slot, cause);
    }
    if slot.pool().take_debt() { enqueue::retire(slot) } else { drop(slot) }
}
