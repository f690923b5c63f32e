//! Borrowers that hold a connection and wait for another.
//!
//! If all connections are held by such borrowers, none will come back: each waits for the others.
//! The last one that comes to wait, or to hold one more while it gathers several, closes the
//! circle. It is told so, and as it then gives up what
//! it holds, the others go on. Whether a borrower holds one is known only if the pool
//! [identifies](crate::Builder::identify_borrowers) borrowers.
//!
//! Those that wait are listed, and the list is looked at under its lock: so of two that close the
//! circle together the later one sees the other. Who leaves the list does so before it holds its
//! last connection or gives up what it holds, so that no other takes it for one that waits.

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
    let Some(held) = held_by(raw, &borrower) else { return Ok(None) };
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

/// Where the borrower has asked for a connection that it holds.
fn held_by<M: Manager>(raw: &Raw<M>, borrower: &Borrower) -> Option<&'static Location<'static>> {
    raw.ledgers().find(|ledger: &&Ledger| ledger.is_lent_to(borrower)).and_then(Ledger::location)
}

/// A borrower that gathers several connections. It is listed before it holds any of them, and until
/// it is about to hold the last: in between each that it gets may close the circle.
pub(crate) struct Gatherer<'a, M: Manager> {
    raw: &'a Raw<M>,
    number: NonZeroU64,
    borrower: Borrower,
    /// Where it asked for one that it held before.
    held: Option<&'static Location<'static>>,
}

impl<'a, M: Manager> Gatherer<'a, M> {
    /// Lists the caller. `None`: who it is is not known.
    pub(crate) fn list(raw: &'a Raw<M>, face: Face) -> Option<Self> {
        let borrower = Borrower::current(face == Face::Async)?;
        let held = held_by(raw, &borrower);
        let number = raw.context().nested().add(borrower.clone());
        Some(Self { raw, number, borrower, held })
    }

    /// It begins to wait. Fails if it closes the circle.
    pub(crate) fn begin(
        &self,
        location: &'static Location<'static>,
    ) -> Result<(), GetError<M::Error>> {
        if let Some(held) = self.held {
            self.raw.context().note(EventKind::NestedGet { location, held });
        }
        self.look()
    }

    /// It waits on, and may hold one more. Fails if it closes the circle.
    pub(crate) fn look(&self) -> Result<(), GetError<M::Error>> {
        // One that holds nothing is in no circle.
        let Some(held) = held_by(self.raw, &self.borrower) else { return Ok(()) };
        let is_circle = is_circle(self.raw, &self.raw.context().nested());
        if is_circle { Err(failure::deadlock(self.raw, held)) } else { Ok(()) }
    }
}

impl<M: Manager> Drop for Gatherer<'_, M> {
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
