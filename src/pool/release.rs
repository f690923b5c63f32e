//! The way back: no I/O, no lock, no waiting, and the same for every face.

use super::job::Job;
use super::shared::{Entry, Slot, suspect_generation};
use super::verdict;
use crate::health::{EvictionCause, Verdict};
use crate::manager::Manager;
use crate::no_unwind::no_unwind;
use crate::sync::thread;

/// What becomes of a connection that came back.
enum Fate {
    Idle,
    Reset,
    Retire,
    Close(EvictionCause),
}

/// A borrower has let go of `slot`.
///
/// What every return pays for stands here; all else is kept out of line, as even the room for it on the stack
/// would cost stores that the release must wait for.
#[inline(always)]
pub(crate) fn on_return<M: Manager>(mut slot: Slot<M>) {
    // First of all, as long as there is nothing to be kept over the call that it may come to.
    if !thread::panicking() {
        let (entry, ledger, raw) = slot.parts_and_pool();
        let now = raw.context().clock.tick();
        let transitions = ledger.transitions() + 1;
        if entry.fit.holds(now, transitions, raw.epoch()) && is_sound(entry, &raw.context().manager)
        {
            ledger.take_back(transitions, now);
            match slot.offer() {
                None => return,
                Some(kept) => slot = kept,
            }
        }
    }
    on_return_slowly(slot);
}

/// The driver sees nothing wrong. A callback's panic must not leave a destructor.
#[inline(always)]
fn is_sound<M: Manager>(entry: &mut Entry<M::Connection>, manager: &M) -> bool {
    let connection = &mut entry.connection;
    no_unwind(|| !manager.has_broken(connection) && !manager.needs_reset(connection))
        .unwrap_or(false)
}

/// Ends the loan that `slot` was on.
pub(crate) fn end_loan<M: Manager>(slot: &Slot<M>) {
    let ledger = slot.ledger();
    ledger.take_back(ledger.transitions() + 1, slot.pool().context().clock.tick());
}

/// The same from the beginning, to see what it is that is out of the ordinary. The driver may be asked a second
/// time.
#[cold]
#[inline(never)]
fn on_return_slowly<M: Manager>(mut slot: Slot<M>) {
    if !slot.ledger().is_lent() {
        // All is done but the release, which met somebody.
        return drop(slot);
    }
    end_loan(&slot);
    let fate = if thread::panicking() && slot.pool().context().discard_on_unwind {
        Fate::Close(EvictionCause::Panicked)
    } else {
        no_unwind(|| assess(&mut slot)).unwrap_or(Fate::Close(EvictionCause::Panicked))
    };
    send_away(slot, fate);
}

fn assess<M: Manager>(slot: &mut Slot<M>) -> Fate {
    let (entry, _, raw) = slot.parts_and_pool();
    let shared = raw.context();
    if shared.manager.has_broken(&mut entry.connection) {
        suspect_generation(raw, entry.info.generation);
        return Fate::Close(EvictionCause::Broken);
    }
    if shared.manager.needs_reset(&mut entry.connection) {
        return Fate::Reset;
    }
    judge(slot)
}

/// What the strategy and the limit say.
fn judge<M: Manager>(slot: &mut Slot<M>) -> Fate {
    let (entry, ledger, raw) = slot.parts_and_pool();
    let verdict = verdict::on_return(entry, ledger, raw);
    fate_of(slot, verdict)
}

fn fate_of<M: Manager>(slot: &mut Slot<M>, verdict: Verdict) -> Fate {
    match verdict {
        Verdict::Evict(cause) => return Fate::Close(cause),
        Verdict::Ping => slot.value_mut().suspect(),
        Verdict::Keep => {}
    }
    if slot.pool().is_in_debt() { Fate::Retire } else { Fate::Idle }
}

fn send_away<M: Manager>(slot: Slot<M>, fate: Fate) {
    match fate {
        Fate::Reset => Job::reset(slot),
        Fate::Close(cause) => Job::close(slot, cause),
        Fate::Retire if slot.pool().take_debt() => Job::retire(slot),
        Fate::Idle | Fate::Retire => drop(slot),
    }
}

/// A connection has been pinged, and is to be idle again. Its strategy was asked when it came back.
pub(crate) fn put_back_checked<M: Manager>(mut slot: Slot<M>) {
    let fate = fate_of(&mut slot, Verdict::Keep);
    send_away(slot, fate);
}

/// A connection has been reset, and is to be idle unless the strategy objects.
pub(crate) fn put_back<M: Manager>(mut slot: Slot<M>) {
    let fate = judge(&mut slot);
    send_away(slot, fate);
}
