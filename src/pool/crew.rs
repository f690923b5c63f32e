//! Connector threads, for managers whose calls block: shared by all pools, started on demand, gone when
//! idle. Only the housekeeper and borrowers on their slow road hand work in, never a returning guard.

use crate::no_unwind::no_unwind;
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError, thread};
use std::collections::VecDeque;
use std::time::Duration;

pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// How long a thread waits for more work. Starting another costs some 30 µs.
const KEEP_ALIVE: Duration = Duration::from_millis(40);

struct Crew {
    tasks: VecDeque<Task>,
    idle: usize,
}

static CREW: Mutex<Crew> = Mutex::new(Crew { tasks: VecDeque::new(), idle: 0 });
static WAITERS: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Crew> {
    CREW.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has a thread do `task`. False if the system gives no thread; the task is dropped then.
pub(crate) fn submit(task: Task) -> bool {
    let mut crew = lock();
    crew.tasks.push_back(task);
    if crew.idle >= crew.tasks.len() {
        drop(crew);
        WAITERS.notify_one();
        return true;
    }
    drop(crew);
    let has_thread = thread::Builder::new().name("caliburn-connector".into()).spawn(work).is_ok();
    if !has_thread {
        let task = lock().tasks.pop_back();
        drop(task);
    }
    has_thread
}

fn work() {
    let mut crew = lock();
    loop {
        while let Some(task) = crew.tasks.pop_front() {
            drop(crew);
            no_unwind(task);
            crew = lock();
        }
        crew.idle += 1;
        let (guard, timeout) =
            WAITERS.wait_timeout(crew, KEEP_ALIVE).unwrap_or_else(PoisonError::into_inner);
        crew = guard;
        crew.idle -= 1;
        if timeout.timed_out() && crew.tasks.is_empty() {
            return;
        }
    }
}
