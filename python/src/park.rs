//! How a thread of Python's waits: without the GIL, and looking up now and then.

use crate::gate;
use pyo3::prelude::*;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How often the thread that handles signals looks whether there is one.
const SIGNALS: Duration = Duration::from_millis(50);

/// How often one of a pool's waiting threads looks whether a borrower has lost a connection.
const LOSSES: Duration = Duration::from_secs(1);

/// When the next look is due, in milliseconds since the first of all. Of many threads that wait,
/// one looks; the others do not even ask for the GIL.
#[derive(Default)]
pub(crate) struct Looks(AtomicU64);

impl Looks {
    fn now() -> u64 {
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        BEGAN.get_or_init(Instant::now).elapsed().as_millis() as u64
    }

    /// Whether it is due, and this thread's.
    fn take(&self) -> bool {
        let (now, due) = (Self::now(), self.0.load(Ordering::Relaxed));
        let next = now + LOSSES.as_millis() as u64;
        let (order, failed) = (Ordering::Relaxed, Ordering::Relaxed);
        now >= due && self.0.compare_exchange(due, next, order, failed).is_ok()
    }
}

/// Wakes a parked thread.
struct Parked {
    thread: Thread,
    is_woken: AtomicBool,
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Pairs with the swap below: what was done before the wake is seen by the next poll.
        self.is_woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

thread_local! {
    /// This thread's place, so that it is allocated once per thread. A wait in a wait, by a signal
    /// handler, makes one of its own.
    static SPARE: RefCell<Option<(Arc<Parked>, Waker)>> = const { RefCell::new(None) };
}

/// Waits for `future`, which times out by itself. In between it calls `look`, attached, whenever
/// that is due; if that fails, or a signal's handler raises, the future is dropped by the caller
/// and so the place in the line given up.
pub(crate) fn wait<F: Future<Output: Send> + Send>(
    py: Python<'_>,
    mut future: Pin<&mut F>,
    looks: &Looks,
    mut look: impl FnMut() -> PyResult<()>,
) -> PyResult<F::Output> {
    let handles_signals = gate::is_main_thread(py);
    let slice = if handles_signals { SIGNALS } else { LOSSES };
    let (parked, waker) = SPARE.take().unwrap_or_else(|| {
        let parked = Arc::new(Parked { thread: thread::current(), is_woken: false.into() });
        (Arc::clone(&parked), Waker::from(parked))
    });
    let outcome = loop {
        let (polled, is_due) = py.detach(|| {
            loop {
                let polled = poll_for(slice, future.as_mut(), &parked, &waker);
                let is_due = polled.is_none() && looks.take();
                if polled.is_some() || is_due || handles_signals {
                    break (polled, is_due);
                }
            }
        });
        if let Some(output) = polled {
            break Ok(output);
        }
        let looked = py.check_signals().and_then(|()| if is_due { look() } else { Ok(()) });
        if let Err(error) = looked {
            break Err(error);
        }
    };
    SPARE.replace(Some((parked, waker)));
    outcome
}

/// Drives the future for a while.
fn poll_for<F: Future>(
    slice: Duration,
    mut future: Pin<&mut F>,
    parked: &Parked,
    waker: &Waker,
) -> Option<F::Output> {
    let until = Instant::now() + slice;
    let mut context = Context::from_waker(waker);
    loop {
        parked.is_woken.swap(false, Ordering::Acquire);
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        while !parked.is_woken.load(Ordering::Acquire) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            thread::park_timeout(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_that_wait_one_looks() {
        let looks = Looks::default();
        assert_eq!((0..100).filter(|_| looks.take()).count(), 1);
        assert!(looks.0.load(Ordering::Relaxed) >= LOSSES.as_millis() as u64);
    }
}
