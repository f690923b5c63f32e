//! Borrowers that hold a connection and wait for another.
//!
//! If all connections are held by such borrowers, none will come back: each waits for the others.
//! The last one that comes to wait closes the circle. It is told so, and as it then gives up what
//! it holds, the others go on. Whether a borrower holds one is known only if the pool
//! [identifies](crate::Builder::identify_borrowers) borrowers.
//!
//! Those that wait are listed, and the list is looked at under its lock: so of two that close the
//! circle together the later one sees the other.

use super::failure;
use crate::error::GetError;
use crate::manager::{Face, Manager};
use crate::observe::EventKind;
use crate::pool::state::nested::Nested as List;
use crate::pool::state::pooled::Raw;
use crate::stats::{Borrower, Ledger};
use std::num::NonZeroU64;
use std::panic::Location;

/// The caller, which asked at `location`, is about to wait. Returns its number in the list. `None`:
/// it holds nothing, or who it is is not known. Fails if it closes the circle.
pub(crate) fn begin<M: Manager>(
    raw: &Raw<M>,
    face: Face,
    location: &'static Location<'static>,
) -> Result<Option<NonZeroU64>, GetError<M::Error>> {
    let Some(borrower) = Borrower::current(face == Face::Async) else { return Ok(None) };
    let mut own = raw.ledgers().filter(|ledger: &&Ledger| ledger.is_lent_to(&borrower));
    let Some(held) = own.next().and_then(Ledger::location) else { return Ok(None) };
    raw.context().note(EventKind::NestedGet { location, held });
    let mut list = raw.context().nested();
    let number = list.add(borrower);
    if is_circle(raw, &list) {
        list.remove(number);
        drop(list);
        return Err(failure::deadlock(raw, held));
    }
    Ok(Some(number))
}

/// It does not wait any more.
#[cold]
#[inline(never)]
pub(crate) fn end<M: Manager>(raw: &Raw<M>, number: NonZeroU64) {
    // In a child the lock may be held for ever.
    if !raw.is_inherited() {
        raw.context().nested().remove(number);
    }
}

/// Stands for a borrower that is listed.
pub(crate) struct Waits<'a, M: Manager> {
    raw: &'a Raw<M>,
    number: NonZeroU64,
}

impl<'a, M: Manager> Waits<'a, M> {
    pub(crate) fn new(raw: &'a Raw<M>, number: NonZeroU64) -> Self {
        Self { raw, number }
    }
}

impl<M: Manager> Drop for Waits<'_, M> {
    fn drop(&mut self) {
        end(self.raw, self.number);
    }
}

/// Whether all connections that there may be are held by those: each slot is lent to one of them,
/// or out of use. While they are listed they return nothing, so this stays true, whatever moves
/// elsewhere; a slot that is on its way anywhere is neither.
fn is_circle<M: Manager>(raw: &Raw<M>, list: &List) -> bool {
    let is_held = |ledger: &&Ledger| list.borrowers().any(|borrower| ledger.is_lent_to(borrower));
    let held = raw.ledgers().filter(is_held).count();
    held + raw.gauges().retired == raw.capacity()
}
