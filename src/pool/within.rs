//! Racing a future against a deadline and against its own panics.

use super::shared::Shared;
use crate::clock::Tick;
use crate::manager::Manager;
use crate::no_unwind::no_unwind;
use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// The future's output, unless `until` comes first. The housekeeper keeps the time.
pub(crate) async fn within<M: Manager, F: Future>(
    shared: &Shared<M>,
    until: Tick,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut sleep = shared.timers.sleep(&shared.clock, until, |at: Tick| shared.ring_before(at));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        Pin::new(&mut sleep).poll(cx).map(|()| None)
    })
    .await
}

/// Drops what is not ours: its destructor may panic.
pub(crate) fn let_go<T>(foreign: T) {
    no_unwind(|| drop(foreign));
}

/// A future of a manager's. If it panics, its output is the message; if its destructor does, so be it.
pub(crate) struct Caught<F>(Option<Pin<Box<F>>>)
where
    F: Future + ?Sized;

impl<F: Future + ?Sized> Caught<F> {
    pub(crate) fn new(future: Pin<Box<F>>) -> Self {
        Self(Some(future))
    }

    fn end(&mut self) {
        let_go(self.0.take());
    }
}

impl<F: Future + ?Sized> Future for Caught<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.0.as_mut() else { return Poll::Pending };
        let output = match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(message(&*panic)),
        };
        self.end();
        Poll::Ready(output)
    }
}

impl<F: Future + ?Sized> Drop for Caught<F> {
    fn drop(&mut self) {
        self.end();
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => (*message).into(),
        (_, Some(message)) => message.clone(),
        _ => "no message".into(),
    }
}
