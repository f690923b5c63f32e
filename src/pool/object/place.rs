//! A place for one object, on the pool's slots, and the room in which there is none yet.
//!
//! A place that is lent or idle has an object in it. Room for an object is a vacant slot; only when
//! borrowers wait does it go to the oldest of them, as a place without an object, and the borrower
//! makes one.

use crate::fork::Inherited;
use crate::no_unwind::no_unwind;
use crate::pool::ground::caught::Foreign;
use crate::raw::slots::{Occupied, Vacant};
use crate::raw::{PoolHooks, RawPool};
use crate::stats::Counter;
use crate::sync::{Relaxed, thread};
use std::marker::PhantomData;

/// Names the pool of such objects to the mechanism.
pub(crate) struct Objects<T>(PhantomData<T>);

pub(crate) type Raw<T> = RawPool<Objects<T>>;
/// Owns a place.
pub(crate) type Place<T> = Occupied<Objects<T>>;

/// Makes an object fit for the next borrower; false: it is not to be kept.
pub(crate) type Reset<T> = Box<dyn Fn(&mut T) -> bool + Send + Sync>;

/// What the places share.
pub(crate) struct Shared<T> {
    /// Dropped with the pool, perhaps by a guard, and by that of a borrower that panics.
    pub(crate) reset: Option<Foreign<Reset<T>>>,
    /// Objects made or added.
    pub(crate) made: Counter,
    /// Objects taken out or dropped.
    pub(crate) gone: Counter,
    pub(crate) waits: Counter,
    making: Relaxed<usize>,
}

impl<T> Shared<T> {
    pub(crate) fn new(reset: Option<Foreign<Reset<T>>>) -> Self {
        let (made, gone, waits, making) = Default::default();
        Self { reset, made, gone, waits, making }
    }

    /// Objects being made.
    pub(crate) fn making(&self) -> usize {
        self.making.get()
    }

    /// An object is being made as long as this lives.
    pub(crate) fn make(&self) -> Making<'_> {
        self.making.add(1);
        Making(&self.making)
    }
}

/// Stands for an object that is being made: that may fail, or panic.
pub(crate) struct Making<'a>(&'a Relaxed<usize>);

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.subtract(1);
    }
}

/// Loans and returns of a place: an odd number while it is lent. Only the owner of the place
/// writes.
#[derive(Default)]
pub(crate) struct Loans(Relaxed<u64>);

impl Loans {
    /// Notes that the place is lent, or comes back.
    #[inline(always)]
    pub(crate) fn turn(&self) {
        self.0.set(self.0.get() + 1);
    }

    pub(crate) fn is_lent(&self) -> bool {
        self.0.get() % 2 == 1
    }

    /// Loans and returns so far.
    pub(crate) fn turns(&self) -> u64 {
        self.0.get()
    }
}

impl<T: Send + 'static> PoolHooks for Objects<T> {
    type Value = Option<T>;
    type Ledger = Loans;
    type Context = Shared<T>;

    /// Plain objects are dropped by the thread that finds them: there is no other.
    fn on_orphan(place: Place<T>) {
        let raw = place.keep_alive();
        let (room, object) = place.vacate();
        let_go(&raw, object);
        raw.tear_down(room);
    }

    #[inline(always)]
    fn on_return(mut place: Place<T>) {
        if !thread::panicking() {
            let (object, loans, raw) = place.parts_and_pool();
            if is_fit(object, raw) {
                loans.turn();
                // In a forked child this fails.
                match place.offer() {
                    None => return,
                    Some(kept) => place = kept,
                }
            }
        }
        come_back_slowly(place);
    }

    /// No waiter has a deadline here.
    fn now(_: &Shared<T>) -> u64 {
        0
    }

    fn on_deadline(_: &Shared<T>, _: u64) {}

    fn on_torn_down(_: &Shared<T>) {}
}

impl<T: Send + 'static> Inherited for Raw<T> {
    fn leave_to_parent(&self) {
        self.leave_to_parent();
    }
}

/// Resets an object that has come back. False: it is not to be kept.
#[inline(always)]
fn is_fit<T: Send + 'static>(object: &mut Option<T>, raw: &Raw<T>) -> bool {
    match (&raw.context().reset, object) {
        (Some(reset), Some(object)) => {
            !raw.is_inherited() && no_unwind(|| reset(object)).unwrap_or(false)
        }
        _ => true,
    }
}

/// The way back of an object that is dropped, or for which a borrower waits.
#[cold]
#[inline(never)]
fn come_back_slowly<T: Send + 'static>(place: Place<T>) {
    if place.pool().is_inherited() {
        return std::mem::forget(place);
    }
    if !place.ledger().is_lent() {
        return drop(place);
    }
    // It is not fit, or its borrower panics.
    place.ledger().turn();
    drop_object(place);
}

/// Drops the object in the place, after its loan. Then its room goes to a borrower that waits: no
/// more objects than allowed are alive, in their destructors neither.
pub(crate) fn drop_object<T: Send + 'static>(place: Place<T>) {
    let raw = place.keep_alive();
    let (room, object) = place.vacate();
    let_go(&raw, object);
    make_room(&raw, room);
}

/// Drops an object and counts it off. Its destructor is foreign code.
fn let_go<T: Send + 'static>(raw: &Raw<T>, object: Option<T>) {
    let was_there = object.is_some();
    no_unwind(|| drop(object));
    if was_there {
        raw.context().gone.add();
    }
}

/// A place without an object. Dropped, its room goes to a borrower that waits.
pub(crate) struct Room<T: Send + 'static>(Option<Place<T>>);

impl<T: Send + 'static> Room<T> {
    pub(crate) fn of(place: Place<T>) -> Self {
        Self(Some(place))
    }

    /// Puts an object there.
    pub(crate) fn put(mut self, object: T) -> Place<T> {
        let Some(mut place) = self.0.take() else { unreachable!("only this takes it") };
        *place.value_mut() = Some(object);
        place.pool().context().made.add();
        place
    }
}

impl<T: Send + 'static> Drop for Room<T> {
    fn drop(&mut self) {
        if let Some(place) = self.0.take() {
            let raw = place.keep_alive();
            make_room(&raw, place.vacate().0);
        }
    }
}

/// Gives back a slot without an object.
pub(crate) fn make_room<T: Send + 'static>(raw: &Raw<T>, room: Vacant<Objects<T>>) {
    drop(room);
    pass_room_on(raw);
}

/// Gives room for objects to the borrowers that wait, oldest first. Called by each borrower that
/// has joined the line, and by each thread that has made room: one of them sees the other.
pub(crate) fn pass_room_on<T: Send + 'static>(raw: &Raw<T>) {
    while raw.waiting() > 0 && !raw.is_inherited() {
        let Some(room) = raw.claim_vacant() else { return };
        drop(room.fill(None));
    }
}
