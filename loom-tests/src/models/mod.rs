//! What the models share: a pool whose values are loom cells, so that a slot with two owners is a
//! race.

mod bitmap;
mod canary;
mod close;
mod due;
mod era;
mod example;
mod lapse;
mod late;
mod line;
mod pause;
mod resize;
mod share;
mod shed;
mod turn;

use crate::raw::flow::Shedding;
use crate::raw::slots::Occupied;
use crate::raw::waiter::{Outcome, Terms, Ticket};
use crate::raw::{PoolHooks, RawPool};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Wake, Waker};

/// What lies in a slot: a cell that loom watches.
pub(crate) struct Payload(UnsafeCell<u32>);

impl Payload {
    pub(crate) fn new() -> Self {
        Self(UnsafeCell::new(0))
    }
}

// SAFETY: that it is only touched by its owner is what the models check.
unsafe impl Send for Payload {}

pub(crate) struct Bare;

impl PoolHooks for Bare {
    type Value = Payload;
    type Ledger = ();
    type Context = Scene;

    fn on_orphan(slot: Occupied<Self>) {
        touch(&slot);
        drop(slot.vacate().0);
    }

    fn on_return(slot: Occupied<Self>) {
        drop(slot);
    }

    fn now(scene: &Scene) -> u64 {
        scene.clock.load(Relaxed)
    }

    fn weights(scene: &Scene) -> &[u32] {
        scene.weights
    }

    fn shedding(scene: &Scene) -> Option<Shedding> {
        scene.shedding
    }

    fn on_deadline(_: &Scene, _: u64) {}

    fn on_torn_down(_: &Scene) {}
}

/// What the pool of a model knows.
pub(crate) struct Scene {
    /// Not loom's, as it orders nothing.
    pub(crate) clock: AtomicU64,
    /// Of the classes of waiters.
    weights: &'static [u32],
    shedding: Option<Shedding>,
}

/// What the clock shows at first.
const NOW: u64 = 5;
/// First in, first out, for as long as it takes.
pub(crate) const STRICT: Terms = Terms::STRICT;
/// Newcomers may claim before it.
pub(crate) const PATIENT: Terms = Terms { patience: NOW + 1, ..STRICT };
/// What it is granted may lapse.
pub(crate) const FLEETING: Terms = Terms { grace: 3, ..STRICT };
/// When it does, as long as the clock stands still.
pub(crate) const LAPSE: u64 = NOW + 3;
/// They could, for long enough.
pub(crate) const OVERDUE: Terms = Terms { patience: NOW, ..STRICT };

/// What a borrower does: loom sees a race if another thread does it too.
pub(crate) fn touch(slot: &Occupied<Bare>) {
    slot.value().0.with_mut(|value| unsafe { *value += 1 });
}

/// A pool of `capacity` slots, `open` of them idle.
pub(crate) fn pool(capacity: u32, open: u32) -> Arc<RawPool<Bare>> {
    pool_of(capacity, open, &[1])
}

/// The same, with a class of waiters for each of the `weights`.
pub(crate) fn pool_of(capacity: u32, open: u32, weights: &'static [u32]) -> Arc<RawPool<Bare>> {
    pool_in(capacity, open, weights, None)
}

/// The same, where waiters may be shed.
pub(crate) fn pool_in(
    capacity: u32,
    open: u32,
    weights: &'static [u32],
    shedding: Option<Shedding>,
) -> Arc<RawPool<Bare>> {
    let stripes = crate::raw::bitmap::Bitmap::stripes_for(capacity as usize, 1);
    let scene = Scene { clock: AtomicU64::new(NOW), weights, shedding };
    let pool = RawPool::build(capacity, stripes, scene);
    for _ in 0..open {
        drop(pool.claim_vacant().unwrap().fill(Payload::new()));
    }
    pool
}

/// Frees the pool as the last handle would, once nothing is lent.
pub(crate) fn bury(pool: Arc<RawPool<Bare>>) {
    // Not once more: a second close would sweep up what the first one lost.
    if !pool.is_closed() {
        pool.close();
    }
    assert!(pool.is_torn_down(), "a slot was lost: {pool:?}");
    assert_eq!(pool.queued(), 0, "a waiter node was left behind");
    assert_eq!(pool.gauges().granted, 0, "a grant is counted that was taken or refused");
}

/// A waker that a model can sleep on. Not a park: loom takes an unpark that comes late, when the
/// thread already sits in a join, for the end of that join.
pub(crate) struct Sleeper {
    notify: loom::sync::Notify,
    woken: AtomicBool,
}

impl Wake for Sleeper {
    fn wake(self: std::sync::Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.notify.notify();
    }
}

impl Sleeper {
    pub(crate) fn new() -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self {
            notify: loom::sync::Notify::new(),
            woken: AtomicBool::new(false),
        })
    }

    pub(crate) fn was_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    pub(crate) fn wait(&self) {
        self.notify.wait();
    }
}

/// Waits in line, parked, until settled.
pub(crate) fn wait(pool: &RawPool<Bare>) -> Outcome<Bare> {
    wait_on(pool, STRICT)
}

pub(crate) fn wait_on(pool: &RawPool<Bare>, terms: Terms) -> Outcome<Bare> {
    let sleeper = Sleeper::new();
    let mut ticket = pool.enroll(&Waker::from(sleeper.clone()), terms, usize::MAX).unwrap();
    finish(&mut ticket, &sleeper)
}

/// A claim as checkouts make it.
pub(crate) fn claim(pool: &RawPool<Bare>) -> Option<Occupied<Bare>> {
    pool.claim_at_home().or_else(|| pool.claim())
}

pub(crate) fn finish(
    ticket: &mut Ticket<'_, Bare>,
    sleeper: &std::sync::Arc<Sleeper>,
) -> Outcome<Bare> {
    let waker = Waker::from(sleeper.clone());
    loop {
        match ticket.poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => sleeper.wait(),
        }
    }
}

/// The whole of a checkout without policy: claim, else wait.
pub(crate) fn checkout(pool: &RawPool<Bare>) -> Outcome<Bare> {
    claim(pool).map_or_else(|| wait(pool), Outcome::Granted)
}

pub(crate) fn granted(outcome: Outcome<Bare>) -> Occupied<Bare> {
    match outcome {
        Outcome::Granted(slot) => slot,
        other => panic!("expected a slot, got {other:?}"),
    }
}

/// A waiter that is polled only when the model says so.
pub(crate) type Asleep<'p> = (Ticket<'p, Bare>, std::sync::Arc<Sleeper>);

/// In line, and not polled.
pub(crate) fn asleep(pool: &RawPool<Bare>, terms: Terms) -> Asleep<'_> {
    let sleeper = Sleeper::new();
    let ticket = pool.enroll(&Waker::from(sleeper.clone()), terms, usize::MAX).unwrap();
    (ticket, sleeper)
}

/// The same, and handed the only slot of the pool.
pub(crate) fn handed(pool: &RawPool<Bare>, terms: Terms) -> Asleep<'_> {
    let slot = claim(pool).unwrap();
    let asleep = asleep(pool, terms);
    drop(slot);
    asleep
}

pub(crate) fn poll(ticket: &mut Ticket<'_, Bare>) -> Poll<Outcome<Bare>> {
    ticket.poll(&mut Context::from_waker(Waker::noop()))
}

/// Nothing is left of the waits: no node, no count, no flag.
pub(crate) fn assert_at_rest(pool: &RawPool<Bare>) {
    assert_eq!((pool.queued(), pool.gauges().waiting), (0, 0));
    drop(pool.claim_at_home().expect("a flag was left up, or a slot lost"));
}

pub(crate) fn granted_at_once(ticket: &mut Ticket<'_, Bare>) -> Occupied<Bare> {
    match poll(ticket) {
        Poll::Ready(outcome) => granted(outcome),
        Poll::Pending => panic!("another is handed it, and is not polled"),
    }
}

/// Explores `f` with the bound of `LOOM_MAX_PREEMPTIONS`, 2 by default, and says how much that was.
#[track_caller]
pub(crate) fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.max_branches = 20_000;
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&count);
    let place = std::panic::Location::caller();
    builder.check(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        f();
    });
    println!("{place}: {} interleavings", count.load(std::sync::atomic::Ordering::Relaxed));
}
