//! For faults that would take the whole process along, or never come to an end.

use super::{Fake, is_soon};
use caliburn::{Pool, PooledConnection};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Time enough for what must come; a fault shows itself by not being over then.
pub const ENOUGH: Duration = Duration::from_secs(30);

const CHILD: &str = "CALIBURN_TEST_CHILD";

/// Runs `body` in a process of its own, which is this test binary once more with nothing but the
/// test of this name, and fails unless it ends well within `limit`.
#[track_caller]
pub fn in_child(test: &str, limit: Duration, body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        std::thread::spawn(move || {
            std::thread::park_timeout(limit);
            eprintln!("not over after {limit:?}");
            std::process::exit(99);
        });
        return body();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([test, "--include-ignored", "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the child ended with {}:\n{said}", output.status);
    assert!(said.contains("1 passed"), "no such test as {test}:\n{said}");
    println!("{said}");
}

/// What `body` returns, which is run on a thread of its own and must be over within `limit`.
#[track_caller]
pub fn in_time<T: Send + 'static>(
    what: &str,
    limit: Duration,
    body: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (send, outcome) = channel();
    std::thread::spawn(move || send.send(catch_unwind(AssertUnwindSafe(body))));
    match outcome.recv_timeout(limit) {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => panic!("not over after {limit:?}: {what}"),
    }
}

/// Waits until `is_so`; fails after [`ENOUGH`].
#[track_caller]
pub fn soon(what: &str, is_so: impl FnMut() -> bool) {
    assert!(is_soon(ENOUGH, is_so), "not so after {ENOUGH:?}: {what}");
}

/// Wakes a thread. There is a flag, as what the thread drives may park as well, and so take an
/// unpark that was not meant for it.
struct Unpark {
    thread: Thread,
    is_woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, SeqCst);
        self.thread.unpark();
    }
}

/// Drives a future on this thread, without any runtime; `None` if it is not over within `limit`.
pub fn drive<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let unpark =
        Arc::new(Unpark { thread: std::thread::current(), is_woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&unpark));
    let (mut future, until) = (pin!(future), Instant::now() + limit);
    loop {
        unpark.is_woken.store(false, SeqCst);
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        if !unpark.is_woken.load(SeqCst) {
            std::thread::park_timeout(left);
        }
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task that is polled wherever it is woken.
struct OnTheSpot {
    task: Mutex<Option<Task>>,
    is_woken: AtomicBool,
}

impl Wake for OnTheSpot {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, SeqCst);
        // Whoever polls it now looks again.
        while self.is_woken.load(SeqCst)
            && let Ok(mut task) = self.task.try_lock()
        {
            self.is_woken.store(false, SeqCst);
            let waker = Waker::from(self.clone());
            let mut cx = Context::from_waker(&waker);
            if task.as_mut().is_some_and(|task| task.as_mut().poll(&mut cx).is_ready()) {
                *task = None;
            }
        }
    }
}

/// Runs a task on whatever thread starts or wakes it, within the call that does.
pub fn on_the_spot(task: impl Future<Output = ()> + Send + 'static) {
    let task = Mutex::new(Some(Box::pin(task) as Task));
    Arc::new(OnTheSpot { task, is_woken: AtomicBool::new(false) }).wake();
}

/// Tells that the housekeeper has been round, from a limit that only the housekeeper keeps, in a
/// pool of its own. In between it lets the housekeeper sleep.
pub struct Witness {
    pool: Pool<Fake>,
    _held: PooledConnection<Fake>,
}

impl Default for Witness {
    fn default() -> Self {
        let pool = Pool::builder(Fake::new()).max_size(1).build().unwrap();
        let held = pool.get_timeout(ENOUGH).unwrap();
        Self { pool, _held: held }
    }
}

impl Witness {
    /// Waits until the housekeeper has begun and ended a round over all pools.
    #[track_caller]
    pub fn wait_for_a_round(&self) {
        for _ in 0..2 {
            let limit = self.pool.get_timeout_async(Duration::from_millis(1));
            let outcome = drive(ENOUGH, limit).expect("the housekeeper keeps limits");
            assert!(outcome.is_err());
        }
    }
}
