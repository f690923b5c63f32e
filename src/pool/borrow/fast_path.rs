//! The first step of every checkout, and for tasks a future that is ready at its first poll if that
//! step succeeds.

use super::guard::PooledConnection;
use super::last_look;
use crate::error::GetError;
use crate::manager::Manager;
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
    if let Some(cause) = last_look::flaw(entry, &raw.context().manager) {
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
        raw: &'a Raw<M>,
        borrower: &'static Location<'static>,
        slowly: S,
        #[pin]
        stage: Stage<F>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F> {
        /// Not polled yet.
        First,
        /// The first step did not suffice.
        Slow { #[pin] future: F },
        /// It was ready.
        Over,
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
        Self { raw, borrower, slowly, stage: Stage::First }
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
        let mut this = self.project();
        let outcome = if !matches!(*this.stage, Stage::First) {
            go_on(this.stage, cx)
        } else {
            match lend_at_home(this.raw, this.borrower) {
                Ok(connection) => {
                    this.stage.set(Stage::Over);
                    Ok(connection)
                }
                Err(taken) => go_slowly(this.stage, this.slowly, taken, cx),
            }
        };
        match outcome {
            Ok(connection) => Poll::Ready(Ok(connection)),
            Err(None) => Poll::Pending,
            Err(Some(error)) => Poll::Ready(Err(*error)),
        }
    }
}

// A `Poll<Result<T, E>>` does not fit into registers; this does, as the error is boxed. `Err(None)`
// is pending.

#[cold]
#[inline(never)]
fn go_slowly<S, T, E, F: Future<Output = Result<T, E>>>(
    mut stage: Pin<&mut Stage<F>>,
    slowly: &mut impl FnMut(S) -> F,
    taken: S,
    cx: &mut Context<'_>,
) -> Result<T, Option<Box<E>>> {
    stage.set(Stage::Slow { future: slowly(taken) });
    go_on(stage, cx)
}

#[cold]
#[inline(never)]
fn go_on<T, E, F: Future<Output = Result<T, E>>>(
    mut stage: Pin<&mut Stage<F>>,
    cx: &mut Context<'_>,
) -> Result<T, Option<Box<E>>> {
    let StageProjection::Slow { future } = stage.as_mut().project() else {
        panic!("a checkout was polled again after it was ready")
    };
    match future.poll(cx) {
        Poll::Ready(result) => {
            stage.set(Stage::Over);
            result.map_err(|error| Some(Box::new(error)))
        }
        Poll::Pending => Err(None),
    }
}
