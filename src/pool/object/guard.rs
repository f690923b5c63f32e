//! The guard: a borrowed object.

use super::place::{Objects, drop_object, make_room};
use crate::raw::slots::Lent;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

/// An object on loan from an [`ObjectPool`](super::ObjectPool). Dropping it returns the object, on
/// any thread and whether the pool still has handles or not.
///
/// If it is dropped while its thread unwinds, the object is dropped, too: the panic may have left
/// it in any state. A guard that is [forgotten](std::mem::forget) keeps its place lent for good.
///
/// ```
/// use caliburn::{Object, ObjectPool};
///
/// let pool = ObjectPool::new(4, String::new).unwrap();
/// let mut text = pool.get().unwrap();
/// text.push_str("songs");
/// let other = pool.get().unwrap();
/// Object::discard(other); // Is dropped; its room is free for another.
/// let text: String = Object::take(text); // No longer the pool's.
/// assert_eq!((text.as_str(), pool.stats().size), ("songs", 0));
/// ```
#[must_use = "an object that is not kept goes back at once"]
pub struct Object<T: Send + 'static>(Lent<Objects<T>>);

impl<T: Send + 'static> Object<T> {
    /// The loan of a place with an object in it.
    #[inline(always)]
    pub(crate) fn new(place: Lent<Objects<T>>) -> Self {
        Self(place)
    }

    /// Takes the object out of the pool for good. Its room becomes free for another.
    pub fn take(this: Self) -> T {
        let place = this.0.into_occupied();
        let raw = place.keep_alive();
        place.ledger().turn();
        let (room, object) = place.vacate();
        raw.context().gone.add();
        make_room(&raw, room);
        match object {
            Some(object) => object,
            None => unreachable!("{EMPTY}"),
        }
    }

    /// Returns the object to be dropped, as it is of no use any more.
    pub fn discard(this: Self) {
        let place = this.0.into_occupied();
        if place.pool().is_inherited() {
            // It is the parent's.
            return std::mem::forget(place);
        }
        place.ledger().turn();
        drop_object(place);
    }
}

const EMPTY: &str = "a place that is lent has an object in it";

/// An object whose guard is dropped by a panic goes with it.
impl<T: UnwindSafe + Send + 'static> UnwindSafe for Object<T> {}

/// As the object itself.
impl<T: RefUnwindSafe + Send + 'static> RefUnwindSafe for Object<T> {}

impl<T: Send + 'static> Deref for Object<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        match self.0.value() {
            Some(object) => object,
            None => unreachable!("{EMPTY}"),
        }
    }
}

impl<T: Send + 'static> DerefMut for Object<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        match self.0.value_mut() {
            Some(object) => object,
            None => unreachable!("{EMPTY}"),
        }
    }
}

impl<T: Send + 'static> AsRef<T> for Object<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: Send + 'static> AsMut<T> for Object<T> {
    fn as_mut(&mut self) -> &mut T {
        self
    }
}

impl<T: Send + fmt::Debug + 'static> fmt::Debug for Object<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
