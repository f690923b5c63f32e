//! The pools that threads borrow from, behind one trait. Whoever measures is generic over it: there
//! is no dynamic call in a measured loop.

mod borrowed;
mod caliburn;
mod containers;
mod r2d2;
pub mod roster;

pub use borrowed::{Lines, Opool, Reusables, Slab, Spins, Thrifty};
pub(crate) use caliburn::pool;
pub use caliburn::{Get, Objects, TryGet};
pub use containers::{Bell, Queue, Stack, Yielding};
pub use r2d2::R2d2;

use super::object::Object;

/// A pool for threads.
pub trait ForThreads: Sync {
    /// One loan: waits for an object, lends it to `held`, gives it back.
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R;

    /// The shortest loan there is.
    fn trip(&self) {
        self.borrow(Object::touch);
    }
}
