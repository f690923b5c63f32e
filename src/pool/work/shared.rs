//! Work that a borrower does in its own future, and that others finish if that is not polled.

use super::launch;
use super::perform::perform;
use crate::manager::Manager;
use crate::no_unwind::no_unwind;
use crate::pool::ground::assignment::{Assignment, By, Task};
use crate::pool::state::job::Job;
use crate::pool::state::pooled::Raw;
use crate::sync::Arc;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;

/// A job in the hands of a borrower. Dropped, it is cancelled, unless others have taken it over.
pub(crate) struct Shared<'a, M: Manager> {
    raw: &'a Arc<Raw<M>>,
    assignment: Arc<Assignment>,
    task: Task<fn()>,
}

impl<'a, M: Manager> Shared<'a, M> {
    pub(crate) fn new(raw: &'a Arc<Raw<M>>, job: Job<M>) -> Self {
        let owned = Arc::clone(raw);
        let work = async move { perform(&owned, job).await };
        let clock = &raw.context().clock;
        let (assignment, task) = Assignment::new(clock, By::Borrower, work, (|| ()) as fn());
        launch::watch(raw, &assignment);
        Self { raw, assignment, task }
    }

    /// Goes on with it. `cx` is woken when there is more to do.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        let _ = Pin::new(&mut self.task).poll(cx);
    }
}

impl<M: Manager> Drop for Shared<'_, M> {
    fn drop(&mut self) {
        if self.assignment.is_inherited() {
            // What its parent had begun, and a lock that may be held for ever.
            return;
        }
        let work = self.assignment.give_up();
        no_unwind(|| drop(work));
        launch::forget(self.raw, &self.assignment);
    }
}
