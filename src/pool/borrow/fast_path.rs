//! The first step of every checkout, and for tasks the future that is ready at its first poll if
//! that does.

use super::guard::PooledConnection;
use crate::error::GetError;
use crate::manager::Manager;
use crate::pool::state::pooled::{Raw, Slot};
use pin_project_lite::pin_project;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

/// An idle connection from close by that need not be judged, or what was taken instead. Wait-free.
///
/// What every checkout pays for stands here. All else is out of line, in one function of the
/// caller's choice: what a call site has to hold ready for several ways out costs stores and room
/// even if they are not taken.
#[inline(always)]
pub(crate) fn lend_at_home<M: Manager>(
    raw: &Raw<M>,
    borrower: &'static Location<'static>,
) -> Result<PooledConnection<M>, Option<Slot<M>>> {
    let Some(mut slot) = raw.claim_at_home() else { return Err(None) };
    let now = raw.context().clock.tick();
    let (entry, ledger) = slot.parts();
    let transitions = ledger.transitions();
    if entry.fit.holds(now, transitions, raw.epoch()) {
        ledger.lend(transitions, borrower, now);
        Ok(PooledConnection::new(slot.into()))
    } else {
        Err(Some(slot))
    }
}

pin_project! {
    /// A future of its own, and not an `async fn`, so that the first step is compiled into its
    /// caller and the rest, with all its state, is not touched until it is needed.
    pub(crate) struct FastPath<'a, M: Manager, S, F> {
        raw: &'a Raw<M>,
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
    /// `slowly` goes on when the first step was not the last.
    #[inline(always)]
    pub(crate) fn new(raw: &'a Raw<M>, borrower: &'static Location<'static>, slowly: S) -> Self {
        Self { raw, borrower, slowly, slow: None }
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
        let outcome = if this.slow.is_some() {
            go_on(this.slow, cx)
        } else {
            match lend_at_home(this.raw, this.borrower) {
                Ok(connection) => Ok(connection),
                Err(taken) => go_slowly(this.slow, this.slowly, taken, cx),
            }
        };
        match outcome {
            Ok(connection) => Poll::Ready(Ok(connection)),
            Err(None) => Poll::Pending,
            Err(Some(error)) => Poll::Ready(Err(*error)),
        }
    }
}

// What goes through registers is no `Poll<Result<T, E>>`: an error is boxed, and pending is no
// error.

#[cold]
#[inline(never)]
fn go_slowly<S, T, E, F: Future<Output = Result<T, E>>>(
    mut slow: Pin<&mut Option<F>>,
    slowly: &mut impl FnMut(S) -> F,
    taken: S,
    cx: &mut Context<'_>,
) -> Result<T, Option<Box<E>>> {
    slow.set(Some(slowly(taken)));
    go_on(slow, cx)
}

#[cold]
#[inline(never)]
fn go_on<T, E, F: Future<Output = Result<T, E>>>(
    slow: Pin<&mut Option<F>>,
    cx: &mut Context<'_>,
) -> Result<T, Option<Box<E>>> {
    match slow.as_pin_mut().map(|slow| slow.poll(cx)) {
        Some(Poll::Ready(result)) => result.map_err(|error| Some(Box::new(error))),
        Some(Poll::Pending) | None => Err(None),
    }
}
