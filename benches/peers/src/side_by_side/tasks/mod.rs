//! The pools that tasks borrow from, behind one trait.

mod bb8;
mod caliburn;
mod deadpool;
mod mobc;
mod nothing;
pub mod roster;
mod sqlx;

pub use self::bb8::Bb8;
pub use self::caliburn::{Barging, GetAsync};
pub use self::deadpool::Deadpool;
pub use self::mobc::Mobc;
pub use self::sqlx::Sqlx;

use super::object::Touch;
use std::future::Future;
use std::ops::DerefMut;

/// A pool for tasks. It may keep tasks of its own on the runtime that it was made on.
pub trait ForTasks: Sized + Send + Sync + 'static {
    /// The guard.
    type Loan<'a>: DerefMut<Target: Touch> + Send
    where
        Self: 'a;

    /// A pool for so many objects.
    fn new(size: usize) -> impl Future<Output = Self> + Send;

    /// Waits for an object.
    fn get(&self) -> impl Future<Output = Self::Loan<'_>> + Send;

    /// The shortest loan there is.
    fn trip(&self) -> impl Future<Output = ()> + Send {
        async { self.get().await.touch() }
    }

    /// A pool all of whose objects are there, as so many were lent at once.
    fn filled(size: usize) -> impl Future<Output = Self> + Send {
        async move {
            let pool = Self::new(size).await;
            let mut loans = Vec::new();
            for _ in 0..size {
                loans.push(pool.get().await);
            }
            drop(loans);
            pool
        }
    }
}
