//! A manager's futures, whose panics become errors.

use crate::no_unwind::no_unwind;
use crate::sync::forks;
use std::any::Any;
use std::future::Future;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Drops a foreign value, whose destructor may panic.
pub(crate) fn let_go<T>(foreign: T) {
    no_unwind(|| drop(foreign));
}

/// A value of the user's, whose destructor may panic: that must not leave the pool's own.
#[derive(Clone, Debug)]
pub(crate) struct Foreign<T>(Option<T>);

impl<T> Foreign<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for Foreign<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => unreachable!("its destructor alone takes it out"),
        }
    }
}

impl<T> Drop for Foreign<T> {
    fn drop(&mut self) {
        let_go(self.0.take());
    }
}

/// A manager's future. If it panics, its output is the message; a panic of its destructor is
/// ignored. In a child of the process that began it, it is neither polled nor dropped.
pub(crate) struct Caught<F>
where
    F: Future + ?Sized,
{
    future: Option<Pin<Box<F>>>,
    born_in: u64,
}

impl<F: Future + ?Sized> Caught<F> {
    pub(crate) fn new(future: Pin<Box<F>>) -> Self {
        Self { future: Some(future), born_in: forks() }
    }

    fn end(&mut self) {
        let future = self.future.take();
        if self.born_in == forks() { let_go(future) } else { std::mem::forget(future) }
    }
}

impl<F: Future + ?Sized> Future for Caught<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.born_in != forks() {
            return Poll::Pending;
        }
        let Some(future) = self.future.as_mut() else { return Poll::Pending };
        let output = match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => {
                let message = message(&*panic);
                let_go(panic);
                Err(message)
            }
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
