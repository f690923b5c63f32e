//! Worker threads, for managers whose calls block: shared by all pools, started on demand, gone
//! when idle. Only the housekeeper and borrowers on their slow path submit work, and a returning
//! guard only if it is what was left of a pool.

use crate::fork::PerProcess;
use crate::no_unwind::no_unwind;
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError, thread};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a thread waits for more work. Starting another costs some 30 µs.
const KEEP_ALIVE: Duration = Duration::from_millis(40);

#[derive(Default)]
struct Crew {
    threads: Mutex<Threads>,
    waiters: Condvar,
}

type Task = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Threads {
    /// By number, in the order in which they were submitted.
    tasks: BTreeMap<u64, Task>,
    last: u64,
    idle: usize,
}

static CREW: PerProcess<Crew> = PerProcess::new();

impl Crew {
    fn lock(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `task` run by a thread that is idle or that `spawn` starts. False: it does not, and the
    /// task is dropped.
    fn submit(&self, task: Task, spawn: impl FnOnce() -> bool) -> bool {
        let mut threads = self.lock();
        threads.last += 1;
        let number = threads.last;
        threads.tasks.insert(number, task);
        if threads.idle >= threads.tasks.len() {
            drop(threads);
            self.waiters.notify_one();
            return true;
        }
        drop(threads);
        if spawn() {
            return true;
        }
        // Another thread may have come to it meanwhile; and others may have been submitted, which
        // are not this one's to take back.
        let untouched = self.lock().tasks.remove(&number);
        untouched.is_none()
    }
}

/// Runs `task` on a thread. False if the system provides no thread; the task is dropped then.
pub(crate) fn submit(task: Task) -> bool {
    let spawn = || thread::Builder::new().name("caliburn-worker".into()).spawn(work).is_ok();
    CREW.get().submit(task, spawn)
}

fn work() {
    let crew = CREW.get();
    let mut threads = crew.lock();
    loop {
        while let Some((_, task)) = threads.tasks.pop_first() {
            drop(threads);
            no_unwind(task);
            threads = crew.lock();
        }
        threads.idle += 1;
        let (guard, timeout) =
            crew.waiters.wait_timeout(threads, KEEP_ALIVE).unwrap_or_else(PoisonError::into_inner);
        threads = guard;
        threads.idle -= 1;
        if timeout.timed_out() && threads.tasks.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Crew, Task};
    use crate::sync::Arc;

    /// A task that is alive as long as the handle is not alone.
    fn task() -> (Task, Arc<()>) {
        let handle = Arc::new(());
        let alive = Arc::clone(&handle);
        (Box::new(move || drop(alive)), handle)
    }

    #[test]
    fn a_task_for_which_there_is_no_thread_is_dropped_and_no_other_is() {
        let crew = Crew::default();
        let ((one, of_one), (other, of_other)) = (task(), task());
        // The other finds a thread, which has not come to it yet.
        let has_thread = crew.submit(one, || {
            assert!(crew.submit(other, || true));
            false
        });
        assert!(!has_thread);
        assert_eq!((Arc::strong_count(&of_one), Arc::strong_count(&of_other)), (1, 2));
    }

    #[test]
    fn a_task_that_another_thread_has_run_meanwhile_has_been_run() {
        let crew = Crew::default();
        let (one, of_one) = task();
        let is_run = crew.submit(one, || {
            crew.lock().tasks.pop_first().into_iter().for_each(|(_, task)| task());
            false
        });
        assert!(is_run && Arc::strong_count(&of_one) == 1);
    }
}
