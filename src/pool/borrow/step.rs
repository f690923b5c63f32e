//! One step of a checkout: what came of it, and so what to do next.

use super::guard::PooledConnection;
use super::last_look::look;
use crate::clock::Tick;
use crate::error::TryGetError;
use crate::health::{EvictionCause, Verdict};
use crate::manager::{Face, Manager};
use crate::pool::ground::sampling::Seed;
use crate::pool::service::flaw::doubt;
use crate::pool::service::{enqueue, judge};
use crate::pool::state::pooled::{Raw, Slot};
use crate::pool::supply::tries;
use crate::stats::{Borrower, Ledger, Signature};
use std::panic::Location;

/// A borrower holds no more slow connections than this while it looks for another.
const MOST_SLOW: usize = 3;

/// See the [module](self).
pub(crate) enum Step<M: Manager> {
    /// This connection is fit, and the [last look](super::last_look) says so too: lend it.
    Lend(Slot<M>),
    /// Ping this connection first, and run the hooks.
    Ping(Slot<M>),
    /// Run the hooks on this connection first.
    Prepare(Slot<M>),
    /// The strategy evicted a connection born at that moment: there may be others.
    Evicted(Tick),
    /// The manager knew a connection to be dead, or it is to be replaced: there may be others.
    Dead,
    /// The wait was in vain: look again.
    Again,
    /// No connection is idle, or others wait for one: stand in line.
    Wait,
}

/// Judges the connection `taken` or, if there is none, an idle connection from any stripe.
pub(crate) fn judge_or_claim<M: Manager>(raw: &Raw<M>, taken: Option<Slot<M>>) -> Step<M> {
    match taken.or_else(|| raw.claim()) {
        Some(slot) if slot.value().is_slow => judge(raw, rather_another(raw, slot, MOST_SLOW)),
        Some(slot) => judge(raw, slot),
        None => Step::Wait,
    }
}

/// Another idle connection, if there is one, instead of one that answers slowly. The slow ones that
/// are met are held until then, at most `more` besides this, or they would be met again.
fn rather_another<M: Manager>(raw: &Raw<M>, slow: Slot<M>, more: usize) -> Slot<M> {
    match raw.claim() {
        Some(other) if more > 0 && other.value().is_slow => rather_another(raw, other, more - 1),
        Some(other) => other,
        None => slow,
    }
}

/// Asks the strategy about a connection, then the manager: whether only a ping can tell, then what
/// it knows.
pub(crate) fn judge<M: Manager>(raw: &Raw<M>, mut slot: Slot<M>) -> Step<M> {
    let now = raw.context().clock.tick();
    let (entry, ledger) = slot.parts();
    let verdict = match judge::on_borrow(entry, ledger, raw, now) {
        Verdict::Keep => match doubt(entry) {
            Ok(false) => Verdict::Keep,
            Ok(true) => Verdict::Ping,
            Err(cause) => Verdict::Evict(cause),
        },
        verdict => verdict,
    };
    match verdict {
        Verdict::Keep if must_prepare(&slot, now) => Step::Prepare(slot),
        Verdict::Keep => look(slot).map_or(Step::Dead, Step::Lend),
        Verdict::Ping => Step::Ping(slot),
        Verdict::Evict(cause) => {
            let born = slot.value().record.born;
            enqueue::close(slot, cause);
            // The strategy has no part in it, and the next one may be newer.
            if cause == EvictionCause::Invalidated { Step::Dead } else { Step::Evicted(born) }
        }
    }
}

/// Whether hooks must be run before `slot` is lent.
fn must_prepare<M: Manager>(slot: &Slot<M>, now: Tick) -> bool {
    let has_hooks = !slot.pool().context().hooks.before_acquire.is_empty();
    has_hooks && !slot.value().is_prepared(slot.ledger(), now)
}

/// Notes who borrows, for the loan that begins with that of the ledger's `transitions`.
#[cold]
#[inline(never)]
fn sign(ledger: &Ledger, transitions: u64, face: Face) {
    let borrower = Borrower::current(face == Face::Async);
    ledger.sign(Signature { transitions, borrower, label: None });
}

/// The last step of every checkout.
pub(crate) fn lend<M: Manager>(
    mut slot: Slot<M>,
    borrower: &'static Location<'static>,
    face: Face,
) -> PooledConnection<M> {
    let (entry, ledger, raw) = slot.parts_and_pool();
    let state = raw.context();
    let transitions = ledger.transitions();
    if state.identifies {
        sign(ledger, transitions + 1, face);
    }
    entry.is_measured = state.sampling.is_due(transitions, Seed::of(ledger));
    let now = if entry.is_measured { state.clock.now() } else { state.clock.tick() };
    ledger.lend(transitions, borrower, now);
    PooledConnection::new(slot.into())
}

/// The checkout of a caller that will not wait. It queues a ping for a connection that must be
/// pinged: a later attempt may borrow that. Each round but the last closes a connection, so there
/// are at most `capacity` + 1.
#[cold]
#[inline(never)]
pub(crate) fn lend_now<M: Manager>(
    raw: &Raw<M>,
    mut taken: Option<Slot<M>>,
    borrower: &'static Location<'static>,
) -> Result<PooledConnection<M>, TryGetError> {
    if raw.is_inherited() {
        std::mem::forget(taken);
        return Err(TryGetError::Forked);
    }
    for _ in 0..=raw.capacity() {
        match judge_or_claim(raw, taken.take()) {
            Step::Lend(slot) => return Ok(lend(slot, borrower, Face::Blocking)),
            Step::Evicted(_) | Step::Dead | Step::Again => {}
            Step::Ping(slot) => {
                enqueue::check(slot);
                break;
            }
            Step::Prepare(slot) => {
                enqueue::ping(slot, None);
                break;
            }
            Step::Wait if raw.is_open() => {
                tries::note(raw);
                return Err(TryGetError::Empty);
            }
            Step::Wait => break,
        }
    }
    Err(if raw.is_open() {
        TryGetError::Empty
    } else if raw.is_closed() {
        TryGetError::Closed
    } else {
        TryGetError::Paused
    })
}
