//! Closes connections that use does not need: more are open than were in use at once.
//!
//! Over each [`shrink_window`](crate::Settings::shrink_window) a number of samples is taken. The
//! highest of them is left out, so that a peak of a moment, which a single sample meets, does not
//! count. A median would leave out half: a load that comes and goes would have its connections
//! closed each time it goes, and opened again when it comes.
//!
//! Samples are not evenly spaced, or a load that comes at even intervals might be met at the same
//! point of its course each time; nor do pools that were built together take theirs together.
//!
//! There is no sample while nothing could be closed: a pool at rest is not visited for this.

use super::keeper::PERIOD;
use super::shrink;
use crate::clock::Tick;
use crate::health::EvictionCause;
use crate::manager::Manager;
use crate::pool::state::pooled::Raw;
use crate::pool::state::usage::{Unneeded, Usage};
use std::time::Duration;

/// Samples of a window, and which of them, in order, says how many connections are needed.
const SAMPLES: usize = 20;
const NEEDED: usize = SAMPLES - 2;

/// Takes a sample if it is time to; the answer is when the next visit or sample is due. Calls no
/// foreign code, and looks at no slot.
pub(crate) fn sample<M: Manager>(raw: &Raw<M>, now: Tick) -> Tick {
    let state = raw.context();
    let window = state.settings.load().shrink_window;
    let Ok(mut usage) = state.usage.try_lock() else { return now + PERIOD };
    if usage.window != window {
        usage.window = window;
        usage.forget();
    }
    let Some(window) = window.filter(|_| !raw.is_closed()) else { return Tick::NEVER };
    if shrink::open(raw) <= least(raw) {
        usage.forget();
        return Tick::NEVER;
    }
    if raw.is_paused() {
        usage.next = Tick::NEVER;
        return Tick::NEVER;
    }
    if usage.next == Tick::NEVER {
        usage.next = next(&usage, window, now);
    }
    if now < usage.next {
        return usage.next;
    }
    // However late the sample is: it is one.
    usage.next = next(&usage, window, now);
    let in_use_now = in_use(raw);
    usage.samples.push(in_use_now);
    if usage.samples.len() < SAMPLES {
        return usage.next;
    }
    let mut samples = std::mem::take(&mut usage.samples);
    samples.sort_unstable();
    let in_use = samples[NEEDED].max(in_use_now);
    if surplus(raw, in_use) == 0 {
        return usage.next;
    }
    usage.surplus = Some(Unneeded { in_use, candidates: None });
    now
}

/// Closes what the last window has shown to be superfluous, as far as there is room. Only one
/// thread at a time comes here.
pub(crate) fn shrink<M: Manager>(raw: &Raw<M>, now: Tick) {
    sample(raw, now);
    let Ok(mut usage) = raw.context().usage.try_lock() else { return };
    let Some(mut unneeded) = usage.surplus.take() else { return };
    let surplus = surplus(raw, unneeded.in_use);
    // If more are in use than in the window, it tells nothing any more.
    if surplus == 0 || in_use(raw) > unneeded.in_use {
        return;
    }
    let longest_idle = || shrink::longest_idle(raw, Tick::NEVER);
    let candidates = unneeded.candidates.get_or_insert_with(longest_idle);
    shrink::close(raw, candidates, Tick::NEVER, surplus, EvictionCause::Unneeded);
    if !candidates.is_empty() {
        usage.surplus = Some(unneeded);
    }
}

/// The pool is no longer paused: what is in use just now says nothing.
pub(crate) fn resumed<M: Manager>(raw: &Raw<M>) {
    if let Ok(mut usage) = raw.context().usage.try_lock() {
        usage.next = Tick::NEVER;
    }
    raw.context().ring.ring();
}

/// The fewest connections to which use, or the lack of it, could have the pool shrink.
fn least<M: Manager>(raw: &Raw<M>) -> usize {
    let state = raw.context();
    let settings = state.settings.load();
    state.supply.floor(&settings).max(settings.min_idle)
}

/// How many idle connections are not needed if so many are in use at once.
fn surplus<M: Manager>(raw: &Raw<M>, in_use: usize) -> usize {
    // The minimum of idle connections is to be there beside those, too.
    shrink::surplus(raw, in_use.saturating_add(raw.context().settings.load().min_idle))
}

/// Connections that are neither idle nor out for upkeep.
fn in_use<M: Manager>(raw: &Raw<M>) -> usize {
    let service = &raw.context().service;
    service.open().saturating_sub(raw.count_idle() + service.upkeep())
}

/// When the next sample is due: after a share of the window, a half more or less. Some pools have
/// theirs at the same moment, so that many pools do not have the housekeeper wake up as often.
fn next(usage: &Usage, window: Duration, now: Tick) -> Tick {
    const STEP: u64 = PERIOD.as_nanos() as u64;
    let gap = (window / SAMPLES as u32).max(PERIOD).mul_f64(0.5 + usage.spread.draw());
    Tick(((now + gap).0.saturating_add(STEP / 2) / STEP).saturating_mul(STEP))
}
