//! Who has which connection: a table by the address of the driver's object, which the pool holds as
//! long as the connection is in it.

use crate::manager::Driver;
use caliburn::PooledConnection;
use pyo3::prelude::*;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A connection on loan.
pub(crate) struct Lent {
    pub(crate) guard: PooledConnection<Driver>,
    /// Tells this loan from others of the same connection.
    pub(crate) number: u64,
    /// As Python numbers threads.
    pub(crate) thread: u64,
    /// An object ends the loan when it is collected; else the borrower's reference is all there is.
    pub(crate) is_tied: bool,
    pub(crate) label: Option<String>,
    /// Where in the source the borrower asked for it, if that is noted.
    pub(crate) location: Option<String>,
}

/// See the [module](self). Its lock is held for a moment only, never while Python runs, and only by
/// threads that hold the GIL: so no child of a fork inherits it locked.
#[derive(Default)]
pub(crate) struct Loans(Mutex<Table>);

#[derive(Default)]
pub(crate) struct Table {
    lent: HashMap<usize, Lent, BuildHasherDefault<ByAddress>>,
    number: u64,
}

/// Addresses differ enough.
#[derive(Default)]
struct ByAddress(u64);

impl Hasher for ByAddress {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_usize(&mut self, address: usize) {
        self.0 = (address as u64 >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// The thread, as Python numbers it.
#[allow(unsafe_code)]
fn this_thread() -> u64 {
    // SAFETY: no more than a number.
    unsafe { pyo3::ffi::PyThread_get_thread_ident() as u64 }
}

impl Loans {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a loan, and gives it a number.
    #[inline]
    pub(crate) fn add(
        &self,
        guard: PooledConnection<Driver>,
        is_tied: bool,
        location: Option<String>,
    ) -> u64 {
        let (address, thread) = (guard.address(), this_thread());
        let mut table = self.lock();
        table.number += 1;
        let number = table.number;
        let lent = Lent { guard, number, thread, is_tied, label: None, location };
        table.lent.insert(address, lent);
        number
    }

    /// Ends a loan of that object, of that number if one is given.
    #[inline]
    pub(crate) fn take(&self, address: usize, number: Option<u64>) -> Option<Lent> {
        let mut table = self.lock();
        match number {
            Some(number) if table.lent.get(&address)?.number != number => None,
            _ => table.lent.remove(&address),
        }
    }

    /// What `look` has to say of the loan of that object.
    pub(crate) fn with<T>(&self, address: usize, look: impl FnOnce(&mut Lent) -> T) -> Option<T> {
        self.lock().lent.get_mut(&address).map(look)
    }

    /// What `look` has to say of each loan.
    pub(crate) fn each<T>(&self, look: impl FnMut(&Lent) -> T) -> Vec<T> {
        self.lock().lent.values().map(look).collect()
    }

    /// Ends those loans whose borrowers have lost their reference: none but the pool has one.
    #[allow(unsafe_code)]
    pub(crate) fn take_lost(&self, _: Python<'_>) -> Vec<Lent> {
        let is_lost = |lent: &Lent| {
            // SAFETY: the pool holds a reference, so the object lives.
            let count = |object: &Py<PyAny>| unsafe { pyo3::ffi::Py_REFCNT(object.as_ptr()) };
            !lent.is_tied && lent.guard.object().is_some_and(|object| count(object) == 1)
        };
        let mut table = self.lock();
        let lost: Vec<usize> =
            table.lent.iter().filter(|(_, lent)| is_lost(lent)).map(|(at, _)| *at).collect();
        lost.iter().filter_map(|address| table.lent.remove(address)).collect()
    }

    /// Ends all loans.
    pub(crate) fn take_all(&self) -> Vec<Lent> {
        std::mem::take(&mut self.lock().lent).into_values().collect()
    }
}
