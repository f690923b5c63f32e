//! The way back: no I/O, no lock, no waiting, and the same for every face.

use super::job::Job;
use super::shared::{Slot, refresh};
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
///
/// What every return pays for stands here; all that may call foreign code, and so unwind, is kept out of
/// line, as even the room for it on the stack would cost stores that the release must wait for.
#[inline(always)]
pub(crate) fn come_home<M: Manager>(mut slot: Slot<M>) {
    let (_, ledger, raw) = slot.parts();
    let shared = raw.context();
    ledger.take_back(shared.clock.tick());
    let is_special = thread::panicking()
        || shared.occasions.intersects(Occasions::RETURN)
        || raw.is_in_debt()
        || !is_sound(&mut slot);
    if is_special { come_home_specially(slot) } else { drop(slot) }
}

/// The driver sees nothing wrong. A callback's panic must not leave a destructor.
#[inline(always)]
fn is_sound<M: Manager>(slot: &mut Slot<M>) -> bool {
    let (entry, _, raw) = slot.parts();
    let manager = &raw.context().manager;
    let connection = &mut entry.connection;
    catch_unwind(AssertUnwindSafe(|| {
        !manager.has_broken(connection) && !manager.needs_reset(connection)
    }))
    .unwrap_or(false)
}

#[cold]
#[inline(never)]
fn come_home_specially<M: Manager>(mut slot: Slot<M>) {
    let fate = if thread::panicking() && slot.pool().context().discard_on_unwind {
        Fate::Close(EvictionCause::Panicked)
    } else {
        catch_unwind(AssertUnwindSafe(|| assess(&mut slot)))
            .unwrap_or(Fate::Close(EvictionCause::Panicked))
    };
    send_away(slot, fate);
}

fn assess<M: Manager>(slot: &mut Slot<M>) -> Fate {
    let (entry, _, raw) = slot.parts();
    let shared = raw.context();
    if shared.manager.has_broken(&mut entry.connection) {
        shared.suspect_generation(entry.info.generation);
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
    let (entry, ledger, raw) = slot.parts();
    let shared = raw.context();
    if shared.occasions.intersects(Occasions::RETURN) {
        let info = refresh(entry, ledger, shared, ledger.last_used());
        match shared.strategy.on_return(info) {
            Verdict::Keep => {}
            Verdict::Ping => entry.ping_due = true,
            Verdict::Evict(cause) => return Fate::Close(cause),
        }
    }
    if raw.is_in_debt() { Fate::Retire } else { Fate::Idle }
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
pub(crate) fn put_back_checked<M: Manager>(slot: Slot<M>) {
    let fate = if slot.pool().is_in_debt() { Fate::Retire } else { Fate::Idle };
    send_away(slot, fate);
}

/// A connection has been reset, and is to be idle unless the strategy objects.
pub(crate) fn put_back<M: Manager>(mut slot: Slot<M>) {
    let fate = catch_unwind(AssertUnwindSafe(|| judge(&mut slot)))
        .unwrap_or(Fate::Close(EvictionCause::Panicked));
    send_away(slot, fate);
}
