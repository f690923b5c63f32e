//! A runtime's context for futures that are polled elsewhere.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::runtime::Handle;

/// `future`, polled within `runtime` whoever polls it; as it is if there is none.
pub(super) fn entered<F: Future>(runtime: Option<&Handle>, future: F) -> Entered<'_, F> {
    Entered { runtime, future: Box::pin(future) }
}

pub(super) struct Entered<'a, F> {
    runtime: Option<&'a Handle>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Entered<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = self.runtime.map(Handle::enter);
        self.future.as_mut().poll(context)
    }
}
