//! Drives a future on this thread: the blocking face of everything that waits.

use crate::clock::{Clock, Tick};
use crate::sync::{Arc, AtomicBool, Ordering, thread};
use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Wakes a parked thread.
struct Parked {
    thread: thread::Thread,
    woken: AtomicBool,
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // O10: pairs with the swap below; a park may end spuriously, or by another unpark of the
        // thread.
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

thread_local! {
    /// This thread's parking place while it is not in use, so that it is allocated once per thread.
    static SPARE: Cell<Option<Arc<Parked>>> = const { Cell::new(None) };
}

/// The future's output, or `None` when `until` came first; the future is dropped then.
pub(crate) fn block_on<F: Future>(future: F, clock: &Clock, until: Tick) -> Option<F::Output> {
    let spare = SPARE.try_with(Cell::take).ok().flatten();
    let parked = spare.unwrap_or_else(|| {
        Arc::new(Parked { thread: thread::current(), woken: AtomicBool::new(false) })
    });
    let waker = Waker::from(Arc::clone(&parked));
    let output = drive(pin!(future), &waker, &parked, clock, until);
    drop(waker);
    // A waker that was kept elsewhere may still set the flag: then the next wait polls once too
    // often.
    let _ = SPARE.try_with(|spare| spare.set(Some(parked)));
    output
}

fn drive<F: Future>(
    mut future: std::pin::Pin<&mut F>,
    waker: &Waker,
    parked: &Parked,
    clock: &Clock,
    until: Tick,
) -> Option<F::Output> {
    let mut cx = Context::from_waker(waker);
    loop {
        // O10
        parked.woken.swap(false, Ordering::Acquire);
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        // O10
        if parked.woken.load(Ordering::Acquire) {
            continue;
        }
        if clock.now() >= until {
            return None;
        }
        match clock.nap(until) {
            Duration::ZERO => thread::yield_now(),
            nap => thread::park_timeout(nap),
        }
    }
}
