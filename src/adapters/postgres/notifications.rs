//! What servers say unasked to sessions that listen, kept for their borrowers.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio_postgres::Notification;

/// So many are kept for a borrower that does not fetch them.
const MOST: usize = 1024;

/// Of one session.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    notifications: VecDeque<Notification>,
    lost: u64,
    has_ended: bool,
    reader: Option<Waker>,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, notification: Notification) {
        let mut state = self.state();
        let oldest =
            if state.notifications.len() == MOST { state.notifications.pop_front() } else { None };
        state.lost += u64::from(oldest.is_some());
        state.notifications.push_back(notification);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    /// No more will come.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.has_ended = true;
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    /// What is there is not for the next borrower.
    pub(super) fn clear(&self) {
        let mut state = self.state();
        state.lost = 0;
        let left = std::mem::take(&mut state.notifications);
        drop(state);
        drop(left);
    }
}

/// The notifications of a borrowed session, from
/// [`AsyncPostgresClient::notifications`](super::AsyncPostgresClient::notifications), whose example
/// shows them.
///
/// ```no_run
/// # use caliburn::adapters::postgres::AsyncPostgresNotifications;
/// async fn drain(mut notifications: AsyncPostgresNotifications<'_>) {
///     while let Some(notification) = notifications.recv().await {
///         println!("{}", notification.payload());
///         while let Some(more) = notifications.try_recv() {
///             println!("{}", more.payload());
///         }
///     }
///     println!("the connection has ended; {} were lost", notifications.lost());
/// }
/// ```
#[derive(Debug)]
pub struct AsyncPostgresNotifications<'a> {
    pub(super) inbox: &'a Inbox,
}

impl AsyncPostgresNotifications<'_> {
    /// Waits for the next notification. Returns `None` if the connection has ended.
    ///
    /// Cancel-safe: a dropped future loses no notification. If several tasks wait at once, only the
    /// last one is woken.
    pub async fn recv(&mut self) -> Option<Notification> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// As [`recv`](Self::recv), to build a stream from.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Notification>> {
        let mut state = self.inbox.state();
        if let Some(notification) = state.notifications.pop_front() {
            return Poll::Ready(Some(notification));
        }
        if state.has_ended {
            return Poll::Ready(None);
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// Returns the next notification if there is one already.
    pub fn try_recv(&mut self) -> Option<Notification> {
        self.inbox.state().notifications.pop_front()
    }

    /// Returns how many notifications were dropped on this loan, the oldest first, because more
    /// than 1024 were waiting to be fetched.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.inbox.state().lost
    }
}
