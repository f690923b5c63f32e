//! The first step of every checkout, and for tasks a future that is ready at its first poll if that
//! step succeeds.

use super::guard::PooledConnection;
use super::last_look;
use crate::error::GetError;
use crate::manager::Manager;
use crate::pool::service::flaw::{doubt, flaw};
use crate::pool::state::pooled::{Raw, Slot};
use pin_project_lite::pin_project;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Lends an idle connection of the home stripe that need not be judged and that the manager does
/// not know to be dead; else returns what was taken instead, if anything. Wait-free.
///
/// What every checkout pays for stands here. All else is out of line, in one function that the
/// caller chooses: what a call site must hold ready for several ways out costs stores and stack
/// even if none is taken.
#[inline(always)]
pub(crate) fn lend_at_home<M: Manager>(
    raw: &Raw<M>,
    borrower: &'static Location<'static>,
) -> Result<PooledConnection<M>, Option<Slot<M>>> {
    let Some(mut slot) = raw.claim_at_home() else { return Err(None) };
    let now = raw.context().clock.tick();
    let (entry, ledger) = slot.parts();
    let transitions = ledger.transitions();
    if !entry.fit.holds(now, transitions, raw.epoch()) {
        return Err(Some(slot));
    }
    let cause = match doubt(entry) {
        Ok(false) => flaw(entry),
        Ok(true) => {
            // So that it is not asked twice.
            entry.suspect();
            return Err(Some(slot));
        }
        Err(cause) => Some(cause),
    };
    if let Some(cause) = cause {
        last_look::evict(slot, cause);
        return Err(None);
    }
    ledger.lend(transitions, borrower, now);
    Ok(PooledConnection::new(slot.into()))
}

pin_project! {
    /// A future of its own rather than an `async fn`, so that the first step is inlined into its
    /// caller and the rest, with all its state, is not touched until it is needed.
    pub(crate) struct FastPath<'a, M: Manager, S, F> {
        // Taken by the first poll.
        raw: Option<&'a Raw<M>>,
        borrower: &'static Location<'static>,
        slowly: S,
        #[pin]
        slow: Option<F>,
    }
}

impl<'a, M: Manager, S, F> FastPath<'a, M, S, F>
where
    S: FnMut(Option<Slot<M>>) -> F,
    F: Future<Output = Result<PooledConnection<M>, GetError<M::Error>>>,
{
    /// `slowly` makes the future that goes on if the first step does not suffice.
    #[inline(always)]
    pub(crate) fn new(raw: &'a Raw<M>, borrower: &'static Location<'static>, slowly: S) -> Self {
        Self { raw: Some(raw), borrower, slowly, slow: None }
    }
}

impl<M: Manager, S, F> Future for FastPath<'_, M, S, F>
where
    S: FnMut(Option<Slot<M>>) -> F,
    F: Future<Output = Result<PooledConnection<M>, GetError<M::Error>>>,
{
    type Output = F::Output;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = match this.raw.take() {
            None => go_on::<M, F>(this.slow, cx),
            Some(raw) => match lend_at_home(raw, this.borrower) {
                Ok(connection) => Ok(connection),
                Err(taken) => go_slowly(this.slow, this.slowly, taken, cx),
            },
        };
        match outcome {
            Ok(connection) => Poll::Ready(Ok(connection)),
            Err(None) => Poll::Pending,
            Err(Some(error)) => Poll::Ready(Err(*error)),
        }
    }
}

/// What comes of a checkout.
pub(crate) type Lending<M> = Result<PooledConnection<M>, GetError<<M as Manager>::Error>>;

/// `None`: not yet, it is pending.
type Failing<M> = Option<Box<GetError<<M as Manager>::Error>>>;

// A `Poll<Result<T, E>>` does not fit into registers; this does, as the error is boxed. `Err(None)`
// is pending.

#[cold]
#[inline(never)]
fn go_slowly<M: Manager, F: Future<Output = Lending<M>>>(
    mut slow: Pin<&mut Option<F>>,
    slowly: &mut impl FnMut(Option<Slot<M>>) -> F,
    taken: Option<Slot<M>>,
    cx: &mut Context<'_>,
) -> Result<PooledConnection<M>, Failing<M>> {
    slow.set(Some(slowly(taken)));
    go_on::<M, F>(slow, cx)
}

/// A slow future that was ready panics itself.
#[cold]
#[inline(never)]
fn go_on<M: Manager, F: Future<Output = Lending<M>>>(
    slow: Pin<&mut Option<F>>,
    cx: &mut Context<'_>,
) -> Result<PooledConnection<M>, Failing<M>> {
    let Some(slow) = slow.as_pin_mut() else {
        panic!("a checkout was polled again after it was ready")
    };
    match slow.poll(cx) {
        Poll::Ready(result) => result.map_err(|error| Some(Box::new(error))),
        Poll::Pending => Err(None),
    }
}
