//! The half of a tokio-postgres connection that does the talking, kept where a borrower's return
//! can look at it.
//!
//! What a client asks goes through a queue to the driver, which a task polls. A future that is
//! dropped right after its first poll leaves its request in that queue: nothing is on the wire yet,
//! and the tap has heard nothing. So the thread that brings a connection back polls the driver
//! once, which shows the queue to the tap. It does not let it through, and reads nothing: the task
//! will, most often together with what the next borrower asks.
//!
//! This is what makes the common case cheap. A statement that was prepared for one query is closed
//! when it is dropped, so nearly every connection comes back with a request in its queue; a round
//! trip for each would double the cost of a query.

use super::cancel::Canceller;
use super::driver::Driver;
use super::notifications::Inbox;
use super::tap::Tap;
use crate::adapters::runtime::{Home, poll_once};
use crate::fork::{Own, PerProcess};
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};
use std::thread;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::AsyncMessage;
use tokio_postgres::error::DbError;

pub(super) type OnNotice = Arc<dyn Fn(&DbError) + Send + Sync>;

/// Tells a process from its children.
static PROCESS: PerProcess<()> = PerProcess::new();

/// A connection's driver, and the task that polls it.
pub(super) struct Session {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    runtime: Handle,
    canceller: Canceller,
    /// In a child of that process, the connection is its parent's.
    born_in: Arc<Own<()>>,
}

struct Shared {
    /// `None` once it has ended. Held while it is polled.
    driver: Mutex<Option<Driver>>,
    /// The task's. By whatever the driver is polled, it is the task that the driver wakes.
    waker: Mutex<Waker>,
    tap: Tap,
    inbox: Inbox,
    on_notice: Option<OnNotice>,
}

impl Session {
    /// On the current runtime.
    pub(super) fn spawn(
        driver: Driver,
        tap: Tap,
        canceller: Canceller,
        on_notice: Option<OnNotice>,
    ) -> Self {
        let waker = Mutex::new(Waker::noop().clone());
        let driver = Mutex::new(Some(driver));
        let inbox = Inbox::default();
        let shared = Arc::new(Shared { driver, waker, tap, inbox, on_notice });
        let runtime = Handle::current();
        let task = runtime.spawn(Drive(shared.clone()));
        Self { shared, task, runtime, canceller, born_in: PROCESS.get() }
    }

    pub(super) fn tap(&self) -> &Tap {
        &self.shared.tap
    }

    pub(super) fn inbox(&self) -> &Inbox {
        &self.shared.inbox
    }

    pub(super) fn canceller(&self) -> &Canceller {
        &self.canceller
    }

    /// No transaction is open, and none can be opened by what is still under way.
    ///
    /// Waits for nothing. If the driver is being polled at this very moment, that is not known, so:
    /// no.
    pub(super) fn is_clean(&self) -> bool {
        let Ok(mut driver) = self.shared.driver.try_lock() else { return false };
        // Otherwise there might be a whole result set to read and to throw away, which is not for a
        // borrower.
        if !self.shared.tap.hold() {
            return false;
        }
        self.shared.poll_for_the_task(&mut driver);
        if self.shared.tap.release() {
            self.shared.waker().wake_by_ref();
        }
        self.shared.tap.come_back();
        driver.is_some() && self.shared.tap.is_clean()
    }

    /// Waits until the driver has put all that was asked on the wire, as far as the wire takes it.
    pub(super) async fn settle(&self) {
        poll_fn(|context| match self.shared.driver.try_lock() {
            // It is being polled, which takes no longer than some system calls, given a core.
            Err(TryLockError::WouldBlock) => {
                thread::yield_now();
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Err(TryLockError::Poisoned(_)) => Poll::Ready(()),
            Ok(mut driver) => {
                let _entered = self.runtime.enter();
                self.shared.poll_for_the_task(&mut driver);
                Poll::Ready(())
            }
        })
        .await;
    }

    /// Has the server give up what it is busy with, if anything.
    pub(super) async fn cancel(&self) {
        if self.tap().is_busy() {
            // A server that cannot be reached for this is told goodbye all the same.
            let _ = self.canceller.cancel().await;
        }
    }

    /// Once the client is gone: waits until the driver has said goodbye and closed the socket.
    pub(super) async fn end(mut self) {
        // Its panic is of no interest, the socket is closed either way.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Session {
    /// Without a goodbye: a server that does not answer would keep the driver, and so the socket,
    /// for as long as it likes. What it is busy with it is asked to give up.
    ///
    /// The runtime may be gone, or not driven: then the task that has the driver is not
    /// dropped before the runtime is, and cannot be what closes the socket; nor can the request to
    /// give up be made there.
    fn drop(&mut self) {
        if !Arc::ptr_eq(&self.born_in, &PROCESS.get()) {
            return;
        }
        self.task.abort();
        // If it is being polled at this moment, the task is about to be dropped.
        let driver = self.shared.driver.try_lock().ok().and_then(|mut driver| driver.take());
        drop(driver);
        if self.tap().is_busy() {
            let canceller = self.canceller.clone();
            // Without a thread for it, there is no way to reach the server.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                Home::in_background().spawn(async move {
                    let _ = canceller.cancel().await;
                });
            }));
        }
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
        self.tap.begin_turn();
        loop {
            match running.poll_message(context) {
                Poll::Pending => return false,
                Poll::Ready(Some(Ok(AsyncMessage::Notification(notification)))) => {
                    self.inbox.put(notification);
                }
                Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => {
                    if let Some(on_notice) = &self.on_notice {
                        on_notice(&notice);
                    }
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => {
                    *driver = None;
                    self.inbox.end();
                    return true;
                }
            }
        }
    }

    fn poll_for_the_task(&self, driver: &mut Option<Driver>) {
        let waker = self.waker().clone();
        let poll = poll_fn(|context| Poll::Ready(self.poll(driver, context)));
        if poll_once(poll, &mut Context::from_waker(&waker)) == Poll::Ready(true) {
            waker.wake();
        }
    }
}

/// The task.
struct Drive(Arc<Shared>);

impl Future for Drive {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // Within the lock: the next to poll finds the waker that is good now.
        let mut driver = self.0.driver();
        self.0.waker().clone_from(context.waker());
        let has_ended = self.0.poll(&mut driver, context);
        if has_ended { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Drive {
    /// Also when the runtime drops the task: the driver is no longer polled, and clients must learn
    /// of it.
    fn drop(&mut self) {
        let driver = self.0.driver().take();
        drop(driver);
        self.0.inbox.end();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("tap", &self.shared.tap).finish_non_exhaustive()
    }
}
