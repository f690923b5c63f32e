//! Worker threads, for managers whose calls block: shared by all pools, started on demand, gone
//! when idle. Only the housekeeper and borrowers on their slow path submit work, never a returning
//! guard.

use crate::no_unwind::no_unwind;
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError, thread};
use std::collections::VecDeque;
use std::time::Duration;

/// How long a thread waits for more work. Starting another costs some 30 µs.
const KEEP_ALIVE: Duration = Duration::from_millis(40);

struct Threads {
    tasks: VecDeque<Box<dyn FnOnce() + Send>>,
    idle: usize,
}

static THREADS: Mutex<Threads> = Mutex::new(Threads { tasks: VecDeque::new(), idle: 0 });
static WAITERS: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Threads> {
    THREADS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `task` on a thread. False if the system provides no thread; the task is dropped then.
pub(crate) fn submit(task: Box<dyn FnOnce() + Send>) -> bool {
    let mut threads = lock();
    threads.tasks.push_back(task);
    if threads.idle >= threads.tasks.len() {
        drop(threads);
        WAITERS.notify_one();
        return true;
    }
    drop(threads);
    let has_thread = thread::Builder::new().name("caliburn-worker".into()).spawn(work).is_ok();
    if !has_thread {
        let task = lock().tasks.pop_back();
        drop(task);
    }
    has_thread
}

fn work() {
    let mut threads = lock();
    loop {
        while let Some(task) = threads.tasks.pop_front() {
            drop(threads);
            no_unwind(task);
            threads = lock();
        }
        threads.idle += 1;
        let (guard, timeout) =
            WAITERS.wait_timeout(threads, KEEP_ALIVE).unwrap_or_else(PoisonError::into_inner);
        threads = guard;
        threads.idle -= 1;
        if timeout.timed_out() && threads.tasks.is_empty() {
            return;
        }
    }
}
