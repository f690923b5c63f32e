//! The slots, and the linear tokens that own them. The one file with `unsafe`.
//!
//! **Lemma (rule R1).** For every slot there is at any time exactly one of: a set `idle` bit, a set
//! `vacant` bit, a set `retired` bit, a grant on its way to a waiter, a live [`Occupied`] or
//! [`Vacant`] token, or the fact that the slot was torn down. Bits and grants become tokens only
//! through [`Occupied::adopt`] and [`Vacant::adopt`], called by the thread that cleared the bit or
//! took the grant; tokens become bits or grants by being consumed. So a token is the only way to
//! its slot.
//!
//! **Lemma (rule R2).** Each slot that is not torn down holds one strong count on the pool, so the
//! memory behind a token outlives the token. A token that becomes a bit gives that assurance away
//! with it: code that goes on to touch the pool must take a count of its own first (`keep_alive`).

#![allow(unsafe_code)]

use super::bitmap::{self, Bitmap, Place};
use super::terms::Terms;
use crate::sync::{Arc, AtomicPtr, AtomicU64, Ordering, Relaxed, UnsafeCell};
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// What slots hold, and the pool that they are part of.
pub(crate) trait Lodging: Sized + 'static {
    /// What lies in a slot, and is lent.
    type Value: Send;
    /// What belongs to a slot and outlives its values.
    type Ledger: Default + Send + Sync;
    /// The pool.
    type Pool: Home<Self>;

    /// Takes a value whose loan has ended.
    fn on_return(slot: Occupied<Self>);
}

/// What slots and waiters need of their pool.
pub(crate) trait Home<H: Lodging<Pool = Self>> {
    fn slots(&self) -> &[Slot<H>];
    fn idle(&self) -> &Bitmap;
    fn vacant(&self) -> &Bitmap;
    fn retired(&self) -> &Bitmap;
    /// Takes an idle slot, if newcomers may.
    fn claim(&self) -> Option<Occupied<H>>;
    /// Takes one unit of the debt: the caller now must retire a slot.
    fn take_debt(&self) -> bool;
    /// A slot was retired: perhaps one is to come back.
    fn settle_debt(&self);
    /// Counts off a waiter that has left the line.
    fn leave_line(&self, terms: &Terms);
    /// How many slots are granted and not taken.
    fn granted(&self) -> &Relaxed<usize>;
    /// Wakes some of the waiters that were told the same as this one.
    fn wake_some(&self);
    /// Requests a dispatch.
    fn dispatch(&self);
    /// Whether the pool is the parent process's.
    fn is_inherited(&self) -> bool;
}

/// One slot: its value, and the ledger that outlives the values which pass through it.
#[repr(align(128))]
pub(crate) struct Slot<H: Lodging> {
    /// The mask of the slot's bit.
    mask: u64,
    index: u32,
    ledger: H::Ledger,
    value: UnsafeCell<Option<H::Value>>,
    /// The pool that the slot is part of.
    pool: AtomicPtr<H::Pool>,
    /// The slot's own count on it (R2).
    home: UnsafeCell<Option<Arc<H::Pool>>>,
}

// SAFETY: `value` and `home` are reached only through the slot's single token (R1), and values may
// change threads (`H::Value: Send`), as counts on a `Sync` pool may; `ledger` is `Sync` by the
// bound on `H::Ledger`; the rest never changes.
unsafe impl<H: Lodging> Sync for Slot<H> {}
// SAFETY: as above; a slot changes threads only together with its whole pool.
unsafe impl<H: Lodging> Send for Slot<H> {}

impl<H: Lodging> Slot<H> {
    pub(super) fn new(index: u32, place: Place) -> Self {
        Self {
            mask: place.mask(),
            index,
            ledger: H::Ledger::default(),
            value: UnsafeCell::new(None),
            pool: AtomicPtr::new(std::ptr::null_mut()),
            home: UnsafeCell::new(None),
        }
    }

    pub(super) fn ledger(&self) -> &H::Ledger {
        &self.ledger
    }
}

/// Gives each slot its strong count (R2). Called once, before any bit is set.
pub(super) fn take_counts<H: Lodging>(pool: &Arc<H::Pool>) {
    for slot in pool.slots() {
        // O13: no thread reads it before a bit is set, which publishes it (O2).
        slot.pool.store(Arc::as_ptr(pool).cast_mut(), Ordering::Relaxed);
        slot.home.with_mut(|home| {
            // SAFETY: no bit was ever set, so no token exists and no other thread reads the cell
            // (R1).
            unsafe { *home = Some(Arc::clone(pool)) };
        });
    }
}

/// What all tokens are made of: the slot, and the word of the idle bitmap that its bit goes back
/// to, so that the way back need not look it up.
struct Key<H: Lodging> {
    slot: NonNull<Slot<H>>,
    word: NonNull<AtomicU64>,
}

impl<H: Lodging> Clone for Key<H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: Lodging> Copy for Key<H> {}

impl<H: Lodging> Key<H> {
    #[inline(always)]
    fn new(slot: &Slot<H>, word: &AtomicU64) -> Self {
        Self { slot: NonNull::from(slot), word: NonNull::from(word) }
    }

    fn of(pool: &H::Pool, index: u32) -> Self {
        let slot = &pool.slots()[index as usize];
        Self::new(slot, pool.idle().word_of(pool.idle().place(index)))
    }

    /// The pool, for as long as the token lives.
    #[inline(always)]
    fn pool<'a>(self) -> &'a H::Pool {
        // O13: written once, before any bit was set (O2).
        let pool = self.slot().pool.load(Ordering::Relaxed);
        // SAFETY: `take_counts` put the address of the slot's own pool there, and the slot keeps
        // that pool alive (R2). The lifetime is bounded by the callers, which hand it out for a
        // borrow of the token or take a count before the token ends.
        unsafe { &*pool }
    }

    #[inline(always)]
    fn slot<'a>(self) -> &'a Slot<H> {
        // SAFETY: a key exists only inside a token, and the token's slot keeps the pool alive that
        // it is part of (R2). The lifetime is bounded as in `pool`.
        unsafe { self.slot.as_ref() }
    }

    #[inline(always)]
    fn word<'a>(self) -> &'a AtomicU64 {
        // SAFETY: a word of the same pool's bitmap; as above.
        unsafe { self.word.as_ref() }
    }

    /// Another strong count, for code that touches the pool after its token has ended.
    fn keep_alive(self) -> Arc<H::Pool> {
        self.slot().home.with(|home| {
            // SAFETY: the caller still holds the token, and only it reaches the cell (R1).
            let home = unsafe { &*home };
            // SAFETY: `take_counts` filled the cell, and only `tear_down`, which ends the last
            // token of the slot, empties it.
            Arc::clone(unsafe { home.as_ref().unwrap_unchecked() })
        })
    }

    /// # Safety
    ///
    /// The key is an occupied token's, and that token is borrowed for `'a`.
    #[inline(always)]
    unsafe fn value<'a>(self) -> &'a H::Value {
        self.slot().value.with(|value| {
            // SAFETY: only the token reaches the cell, and it is borrowed (R1).
            let value = unsafe { &*value };
            // SAFETY: an occupied slot holds a value: `fill` puts it in, and only `vacate`, which
            // consumes the token, takes it out.
            unsafe { value.as_ref().unwrap_unchecked() }
        })
    }

    /// # Safety
    ///
    /// The key is an occupied token's, and that token is mutably borrowed for `'a`.
    #[inline(always)]
    unsafe fn value_mut<'a>(self) -> &'a mut H::Value {
        self.slot().value.with_mut(|value| {
            // SAFETY: as in `value`, exclusively.
            let value = unsafe { &mut *value };
            // SAFETY: as in `value`.
            unsafe { value.as_mut().unwrap_unchecked() }
        })
    }

    /// Gives up the slot's own count for good.
    fn tear_down(self) {
        drop(self.slot().home.with_mut(|home| {
            // SAFETY: the caller consumed the token, the last way to the slot (R1).
            unsafe { (*home).take() }
        }));
    }
}

/// Owns a slot that holds a value. Dropped, it becomes an idle bit, which may go to the oldest
/// waiter.
#[must_use]
pub(crate) struct Occupied<H: Lodging> {
    key: Key<H>,
}

/// Owns a slot whose value is lent. Dropped, it [is returned](Lodging::on_return).
#[must_use]
pub(crate) struct Lent<H: Lodging>(ManuallyDrop<Occupied<H>>);

/// Owns an empty slot. Dropped, it becomes a vacant bit.
#[must_use]
pub(crate) struct Vacant<H: Lodging> {
    key: Key<H>,
}

// SAFETY: the token is the only way to its value (R1), which may change threads (`H::Value: Send`);
// everything else behind it is `Sync` (bounds on `Lodging`).
unsafe impl<H: Lodging> Send for Occupied<H> {}
// SAFETY: a shared token gives `&H::Value` and `Sync` things, hence the bound.
unsafe impl<H: Lodging> Sync for Occupied<H> where H::Value: Sync {}
// SAFETY: a vacant token gives no value at all, only `Sync` things.
unsafe impl<H: Lodging> Send for Vacant<H> {}
// SAFETY: as above.
unsafe impl<H: Lodging> Sync for Vacant<H> {}

impl<H: Lodging> Occupied<H> {
    /// Makes the token of a slot whose idle bit the caller cleared, or whose grant it took (R1).
    pub(super) fn adopt(pool: &H::Pool, index: u32) -> Self {
        Self { key: Key::of(pool, index) }
    }

    /// The same for a slot whose bit the caller cleared in `word`.
    #[inline(always)]
    pub(super) fn claimed(slot: &Slot<H>, word: &AtomicU64) -> Self {
        Self { key: Key::new(slot, word) }
    }

    /// Ends the token without setting a bit: its index travels on as a grant.
    pub(super) fn into_grant(self) -> u32 {
        let index = self.index();
        std::mem::forget(self);
        index
    }

    pub(crate) fn index(&self) -> u32 {
        self.key.slot().index
    }

    #[inline(always)]
    pub(crate) fn pool(&self) -> &H::Pool {
        self.key.pool()
    }

    #[inline(always)]
    pub(crate) fn ledger(&self) -> &H::Ledger {
        &self.key.slot().ledger
    }

    #[inline(always)]
    pub(crate) fn value(&self) -> &H::Value {
        // SAFETY: the token owns the slot (R1) and is borrowed for as long as the reference lives.
        unsafe { self.key.value() }
    }

    #[inline(always)]
    pub(crate) fn value_mut(&mut self) -> &mut H::Value {
        // SAFETY: as in `value`, and the token is borrowed mutably.
        unsafe { self.key.value_mut() }
    }

    /// The value to change, and the ledger to look at, together.
    #[inline(always)]
    pub(crate) fn parts(&mut self) -> (&mut H::Value, &H::Ledger) {
        // SAFETY: as in `value_mut`.
        (unsafe { self.key.value_mut() }, &self.key.slot().ledger)
    }

    /// The same, and the pool, whose `&self` never reaches a slot's value.
    #[inline(always)]
    pub(crate) fn parts_and_pool(&mut self) -> (&mut H::Value, &H::Ledger, &H::Pool) {
        let (key, (value, ledger)) = (self.key, self.parts());
        (value, ledger, key.pool())
    }

    /// Another count on the pool, for work that goes on after the token has ended.
    pub(crate) fn keep_alive(&self) -> Arc<H::Pool> {
        self.key.keep_alive()
    }

    /// Takes the value out.
    pub(crate) fn vacate(self) -> (Vacant<H>, H::Value) {
        let key = ManuallyDrop::new(self).key;
        let value = key.slot().value.with_mut(|value| {
            // SAFETY: the consumed token owned the slot (R1); the cell becomes empty, as the vacant
            // token made below promises.
            let value = unsafe { &mut *value };
            // SAFETY: as in `value`.
            unsafe { value.take().unwrap_unchecked() }
        });
        (Vacant { key }, value)
    }

    /// Sets the idle bit if the waiters flag is down and no other thread interferes; else returns
    /// the token.
    #[inline(always)]
    pub(crate) fn offer(self) -> Option<Self> {
        let slot = ManuallyDrop::new(self);
        // Nothing may be touched after a successful offer (R2).
        let is_taken = bitmap::offer(slot.key.word(), slot.key.slot().mask);
        (!is_taken).then(|| ManuallyDrop::into_inner(slot))
    }

    /// Sets the idle bit and leaves the waiters to the caller: for the dispatcher.
    pub(super) fn put_without_dispatch(self) {
        let key = ManuallyDrop::new(self).key;
        let _has_waiters = key.pool().idle().put(key.slot().index);
    }
}

impl<H: Lodging> From<Occupied<H>> for Lent<H> {
    #[inline(always)]
    fn from(slot: Occupied<H>) -> Self {
        Self(ManuallyDrop::new(slot))
    }
}

impl<H: Lodging> Lent<H> {
    /// Ends the loan without a return.
    pub(crate) fn into_occupied(self) -> Occupied<H> {
        Occupied { key: ManuallyDrop::new(self).key }
    }
}

impl<H: Lodging> Deref for Lent<H> {
    type Target = Occupied<H>;

    #[inline(always)]
    fn deref(&self) -> &Occupied<H> {
        &self.0
    }
}

impl<H: Lodging> DerefMut for Lent<H> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Occupied<H> {
        &mut self.0
    }
}

impl<H: Lodging> Drop for Lent<H> {
    #[inline(always)]
    fn drop(&mut self) {
        // The token ends here, and the slot has a token again at once (R1).
        H::on_return(Occupied { key: self.0.key });
    }
}

impl<H: Lodging> Drop for Occupied<H> {
    fn drop(&mut self) {
        // Nothing may be touched after a successful offer (R2).
        if bitmap::offer(self.key.word(), self.key.slot().mask) {
            return;
        }
        // The waiters flag is up, or the word is busy.
        let pool = self.key.keep_alive();
        if pool.idle().put(self.key.slot().index) {
            pool.dispatch();
        }
    }
}

impl<H: Lodging> Vacant<H> {
    /// Makes the token of a slot whose vacant or retired bit the caller cleared (R1).
    pub(super) fn adopt(pool: &H::Pool, index: u32) -> Self {
        Self { key: Key::of(pool, index) }
    }

    pub(super) fn index(&self) -> u32 {
        self.key.slot().index
    }

    pub(crate) fn pool(&self) -> &H::Pool {
        self.key.pool()
    }

    /// Another count on the pool, for work that goes on after the token has ended.
    pub(crate) fn keep_alive(&self) -> Arc<H::Pool> {
        self.key.keep_alive()
    }

    pub(crate) fn ledger(&self) -> &H::Ledger {
        &self.key.slot().ledger
    }

    /// Puts a value in.
    pub(crate) fn fill(self, value: H::Value) -> Occupied<H> {
        let key = ManuallyDrop::new(self).key;
        key.slot().value.with_mut(|cell| {
            // SAFETY: the consumed token owned the slot (R1).
            let cell = unsafe { &mut *cell };
            debug_assert!(cell.is_none());
            *cell = Some(value);
        });
        Occupied { key }
    }

    /// Takes the slot out of use until `RawPool::adjust` wants it back.
    pub(crate) fn retire(self) {
        let key = ManuallyDrop::new(self).key;
        let pool = key.keep_alive();
        pool.retired().put(key.slot().index);
        pool.settle_debt();
        pool.dispatch();
    }

    /// Gives the slot back: retired if the pool is in debt, else vacant.
    pub(crate) fn give_back(self) {
        if self.pool().take_debt() { self.retire() } else { drop(self) }
    }

    /// Ends the slot for good and gives up its count on the pool.
    pub(super) fn tear_down(self) {
        ManuallyDrop::new(self).key.tear_down();
    }
}

impl<H: Lodging> Drop for Vacant<H> {
    fn drop(&mut self) {
        let pool = self.key.keep_alive();
        pool.vacant().put(self.key.slot().index);
        // Always, as vacant words bear no flags: the count of requests orders this bit against a
        // close that looks for it (README, "Close").
        pool.dispatch();
    }
}

/// A shared cell for a reference to something static, such as a place in the source.
#[derive(Debug)]
pub(crate) struct StaticRef<T: 'static>(AtomicPtr<T>);

impl<T: Sync> StaticRef<T> {
    #[inline(always)]
    pub(crate) fn set(&self, value: &'static T) {
        // O13: what it points to is static and was never written.
        self.0.store(std::ptr::from_ref(value).cast_mut(), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Option<&'static T> {
        // O13: as above.
        let value = self.0.load(Ordering::Relaxed);
        // SAFETY: the cell holds null or what `set` put there, a reference to a static `T: Sync`.
        unsafe { value.as_ref() }
    }
}

impl<T> Default for StaticRef<T> {
    fn default() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }
}
