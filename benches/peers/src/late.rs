//! An executor that polls what was woken so much later.

use futures_util::task::AtomicWaker;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// Has rung since the future was polled last.
struct Bell {
    has_rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.has_rung.store(true, SeqCst);
        self.task.wake();
    }
}

/// A future that is polled so long `after` it was woken.
pub struct Late<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    after: Duration,
    /// Until then, once it was woken.
    wait: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> Late<F> {
    /// See the type.
    pub fn new(after: Duration, future: F) -> Self {
        let bell = Bell { has_rung: AtomicBool::new(true), task: AtomicWaker::new() };
        Self { future: Box::pin(future), bell: Arc::new(bell), after, wait: None }
    }
}

impl<F: Future> Future for Late<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let me = &mut *self;
        me.bell.task.register(cx.waker());
        loop {
            if me.wait.is_none() && !me.bell.has_rung.swap(false, SeqCst) {
                return Poll::Pending;
            }
            let after = me.after;
            ready!(me.wait.get_or_insert_with(|| Box::pin(sleep(after))).as_mut().poll(cx));
            me.wait = None;
            me.bell.has_rung.store(false, SeqCst);
            let waker = Waker::from(Arc::clone(&me.bell));
            if let Poll::Ready(output) = me.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(output);
            }
        }
    }
}
