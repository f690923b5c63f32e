//! The way back: no I/O, no lock, no waiting, and the same for every face.

use super::job::Job;
use super::shared::Slot;
use crate::health::{EvictionCause, Occasions, Verdict};
use crate::manager::Manager;
use crate::sync::thread;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What becomes of a connection that came back.
enum Fate {
    Idle,
    Reset,
    Retire,
    Close(EvictionCause),
}

/// A borrower has let go of `slot`.
#[inline(always)]
pub(crate) fn come_home<M: Manager>(mut slot: Slot<M>) {
    slot.ledger().take_back();
    let fate = if thread::panicking() && slot.pool().context().discard_on_unwind {
        Fate::Close(EvictionCause::Panicked)
    } else {
        // A callback's panic must not leave a destructor.
        catch_unwind(AssertUnwindSafe(|| assess(&mut slot)))
            .unwrap_or(Fate::Close(EvictionCause::Panicked))
    };
    match fate {
        Fate::Idle => drop(slot),
        fate => send_away(slot, fate),
    }
}

#[inline(always)]
fn assess<M: Manager>(slot: &mut Slot<M>) -> Fate {
    let (entry, raw) = slot.parts();
    let shared = raw.context();
    entry.vitals.last_used = shared.clock.tick();
    if shared.manager.has_broken(&mut entry.connection) {
        shared.suspect_generation(entry.vitals.generation);
        return Fate::Close(EvictionCause::Broken);
    }
    if shared.manager.needs_reset(&mut entry.connection) {
        return Fate::Reset;
    }
    judge(slot)
}

/// What the strategy and the limit say.
#[inline(always)]
fn judge<M: Manager>(slot: &mut Slot<M>) -> Fate {
    let (entry, raw) = slot.parts();
    let shared = raw.context();
    if shared.occasions.intersects(Occasions::RETURN) {
        let info = entry.vitals.info(shared.clock.tick(), shared.generation());
        match shared.strategy.on_return(&info) {
            Verdict::Keep => {}
            Verdict::Ping => entry.vitals.ping_due = true,
            Verdict::Evict(cause) => return Fate::Close(cause),
        }
    }
    if raw.is_in_debt() { Fate::Retire } else { Fate::Idle }
}

#[cold]
fn send_away<M: Manager>(slot: Slot<M>, fate: Fate) {
    match fate {
        Fate::Reset => Job::reset(slot),
        Fate::Close(cause) => Job::close(slot, cause),
        Fate::Retire if slot.pool().take_debt() => Job::retire(slot),
        Fate::Idle | Fate::Retire => drop(slot),
    }
}

/// A connection has been reset or pinged, and is to be idle unless the strategy objects.
pub(crate) fn put_back<M: Manager>(mut slot: Slot<M>) {
    let fate = catch_unwind(AssertUnwindSafe(|| judge(&mut slot)))
        .unwrap_or(Fate::Close(EvictionCause::Panicked));
    send_away(slot, fate);
}
