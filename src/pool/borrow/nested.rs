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
use crate::pool::snapshot::stats;
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
    raw.context().nested().remove(number);
}

/// Whether all connections that there may be are held by those.
fn is_circle<M: Manager>(raw: &Raw<M>, list: &List) -> bool {
    let stats = stats(raw);
    let elsewhere = stats.idle + stats.opening + stats.maintenance + stats.quarantined;
    elsewhere + stats.vacant == 0
        && raw
            .ledgers()
            .filter(|ledger: &&Ledger| ledger.is_lent())
            .all(|ledger| list.borrowers().any(|borrower| ledger.is_lent_to(borrower)))
        // One that was granted a connection does not wait for long.
        && stats.checkouts == stats.returns + stats.lent as u64
}
