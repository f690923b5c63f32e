//! The half of a tokio-postgres connection that does the talking, kept where a borrower's return
//! can look at it.
//!
//! What a client asks goes through a queue to the driver, which a task polls. A future that is
//! dropped right after its first poll leaves its request in that queue: nothing is on the wire yet,
//! and the tap has heard nothing. So whoever brings a connection back polls the driver once, which
//! shows the queue to the tap. It does not let it through: the task will, most often together with
//! what the next borrower asks.
//!
//! This is what makes the common case cheap. A statement that was prepared for one query is closed
//! when it is dropped, so nearly every connection comes back with a request in its queue; a round
//! trip for each would double the cost of a query.

use super::tap::Tap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};
use std::thread;
use tokio::task::JoinHandle;
use tokio_postgres::Error;

pub(super) type Driver = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A connection's driver, and the task that polls it.
pub(super) struct Session {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    /// `None` once it has ended. Held by whoever polls it.
    driver: Mutex<Option<Driver>>,
    /// The task's. Whoever polls the driver, it is the task that the driver wakes.
    waker: Mutex<Waker>,
    tap: Tap,
}

impl Session {
    /// On the current runtime.
    pub(super) fn spawn(driver: Driver, tap: Tap) -> Self {
        let waker = Mutex::new(Waker::noop().clone());
        let shared = Arc::new(Shared { driver: Mutex::new(Some(driver)), waker, tap });
        let task = tokio::spawn(Drive(shared.clone()));
        Self { shared, task }
    }

    pub(super) fn tap(&self) -> &Tap {
        &self.shared.tap
    }

    /// No transaction is open, and none can be opened by what is still under way.
    ///
    /// Waits for nothing. If the driver is being polled at this very moment, that is not known, so:
    /// no.
    pub(super) fn is_clean(&self) -> bool {
        let Ok(mut driver) = self.shared.driver.try_lock() else { return false };
        // Otherwise there might be a whole result set to read and to throw away, which is not for a
        // borrower.
        if !self.shared.tap.hold_writes() {
            return false;
        }
        self.shared.poll_for_the_task(&mut driver);
        if self.shared.tap.release_writes() {
            self.shared.waker().wake_by_ref();
        }
        driver.is_some() && self.shared.tap.is_clean()
    }

    /// Waits until the driver has put all that was asked on the wire, as far as the wire takes it.
    pub(super) async fn settle(&self) {
        poll_fn(|context| match self.shared.driver.try_lock() {
            // Somebody polls it, which takes no longer than a system call or two, if it has a core.
            Err(TryLockError::WouldBlock) => {
                thread::yield_now();
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Err(TryLockError::Poisoned(_)) => Poll::Ready(()),
            Ok(mut driver) => {
                self.shared.poll_for_the_task(&mut driver);
                Poll::Ready(())
            }
        })
        .await;
    }

    /// Once the client is gone: waits until the driver has said goodbye and closed the socket.
    pub(super) async fn end(mut self) {
        // Its panic is of no interest, the socket is closed either way.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Session {
    /// Without a goodbye: a server that does not answer would keep the driver, and so the socket,
    /// for as long as it likes.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn driver(&self) -> MutexGuard<'_, Option<Driver>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waker(&self) -> MutexGuard<'_, Waker> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the driver has ended.
    fn poll(&self, driver: &mut Option<Driver>, context: &mut Context<'_>) -> bool {
        let Some(running) = driver else { return true };
        let has_ended = running.as_mut().poll(context).is_ready();
        if has_ended {
            *driver = None;
        }
        has_ended
    }

    fn poll_for_the_task(&self, driver: &mut Option<Driver>) {
        let waker = self.waker().clone();
        if self.poll(driver, &mut Context::from_waker(&waker)) {
            waker.wake();
        }
    }
}

/// The task.
struct Drive(Arc<Shared>);

impl Future for Drive {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // Within the lock: whoever polls next finds the waker that is good now.
        let mut driver = self.0.driver();
        self.0.waker().clone_from(context.waker());
        let has_ended = self.0.poll(&mut driver, context);
        if has_ended { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Drive {
    /// Also when the runtime drops the task: nobody would poll the driver any more, and clients
    /// must learn of it.
    fn drop(&mut self) {
        let driver = self.0.driver().take();
        drop(driver);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("tap", &self.shared.tap).finish_non_exhaustive()
    }
}
