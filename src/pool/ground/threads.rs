//! Worker threads, for managers whose calls block: shared by all pools, started on demand, gone
//! when idle. Only the housekeeper and borrowers on their slow path submit work, and a returning
//! guard only if it is what was left of a pool.

use crate::fork::PerProcess;
use crate::no_unwind::no_unwind;
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError, thread};
use std::collections::VecDeque;
use std::time::Duration;

/// How long a thread waits for more work. Starting another costs some 30 µs.
const KEEP_ALIVE: Duration = Duration::from_millis(40);

#[derive(Default)]
struct Crew {
    threads: Mutex<Threads>,
    waiters: Condvar,
}

#[derive(Default)]
struct Threads {
    tasks: VecDeque<Box<dyn FnOnce() + Send>>,
    idle: usize,
}

static CREW: PerProcess<Crew> = PerProcess::new();

impl Crew {
    fn lock(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `task` on a thread. False if the system provides no thread; the task is dropped then.
pub(crate) fn submit(task: Box<dyn FnOnce() + Send>) -> bool {
    let crew = CREW.get();
    let mut threads = crew.lock();
    threads.tasks.push_back(task);
    if threads.idle >= threads.tasks.len() {
        drop(threads);
        crew.waiters.notify_one();
        return true;
    }
    drop(threads);
    let has_thread = thread::Builder::new().name("caliburn-worker".into()).spawn(work).is_ok();
    if !has_thread {
        let task = crew.lock().tasks.pop_back();
        drop(task);
    }
    has_thread
}

fn work() {
    let crew = CREW.get();
    let mut threads = crew.lock();
    loop {
        while let Some(task) = threads.tasks.pop_front() {
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
