//! The way back: no I/O, no lock, no waiting, and the same for every face.

use super::job::Job;
use super::shared::{Entry, Slot};
use super::verdict;
use crate::health::{EvictionCause, Verdict};
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
    let (entry, ledger, raw) = slot.parts();
    let shared = raw.context();
    ledger.take_back(shared.clock.tick());
    let is_ordinary = !thread::panicking() && !raw.is_in_debt() && is_sound(entry, &shared.manager);
    if !is_ordinary {
        return come_home_specially(slot);
    }
    match verdict::on_return(entry, ledger, shared) {
        Verdict::Keep => drop(slot),
        verdict => act_upon(slot, verdict),
    }
}

/// The driver sees nothing wrong. A callback's panic must not leave a destructor.
#[inline(always)]
fn is_sound<M: Manager>(entry: &mut Entry<M::Connection>, manager: &M) -> bool {
    let connection = &mut entry.connection;
    catch_unwind(AssertUnwindSafe(|| {
        !manager.has_broken(connection) && !manager.needs_reset(connection)
    }))
    .unwrap_or(false)
}

/// The same from the beginning, to see what it is that is out of the ordinary.
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
fn judge<M: Manager>(slot: &mut Slot<M>) -> Fate {
    let (entry, ledger, raw) = slot.parts();
    let verdict = verdict::on_return(entry, ledger, raw.context());
    fate_of(slot, verdict)
}

fn fate_of<M: Manager>(slot: &mut Slot<M>, verdict: Verdict) -> Fate {
    match verdict {
        Verdict::Evict(cause) => return Fate::Close(cause),
        Verdict::Ping => slot.value_mut().ping_due = true,
        Verdict::Keep => {}
    }
    if slot.pool().is_in_debt() { Fate::Retire } else { Fate::Idle }
}

fn act_upon<M: Manager>(mut slot: Slot<M>, verdict: Verdict) {
    let fate = fate_of(&mut slot, verdict);
    send_away(slot, fate);
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
    act_upon(slot, Verdict::Keep);
}

/// A connection has been reset, and is to be idle unless the strategy objects.
pub(crate) fn put_back<M: Manager>(mut slot: Slot<M>) {
    let fate = judge(&mut slot);
    send_away(slot, fate);
}
