//! When a thread of the pool may run Python code, and how that ends with the interpreter.
//!
//! CPython up to 3.13 ends a thread that takes the GIL once the interpreter is being finalized: it
//! unwinds the thread's stack from within C. Frames of Rust must not be unwound that way. So
//!
//! - `close_all` runs by `atexit`, before finalization. It closes the pools, gives running calls a
//!   moment, and [shuts the gate](SHUT): from then on no thread of the pool begins to run Python;
//! - a call that is still running then is stopped at its [boundary](call): the thread sleeps for as
//!   long as the process lasts, which is not long.
//!
//! A thread that Python does not know gets a thread state when it attaches, under a lock of the
//! interpreter's and without the GIL. A child of a fork made at that moment would wait for that
//! lock for ever (up to Python 3.11). So such threads do not attach while another one forks, and a
//! thread that forks waits for those that are [about to](Attaching).

use crate::manager::Driver;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// No thread of a pool runs Python any more.
static SHUT: AtomicBool = AtomicBool::new(false);

/// The interpreter is about to end, and the pools are being closed.
static ENDING: AtomicBool = AtomicBool::new(false);

/// How many threads of pools run Python, or are about to.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// How often this process, or those that it stems from, has been forked into it.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The thread that handles signals, as Python numbers it.
static MAIN: AtomicU64 = AtomicU64::new(0);

/// The pools of this process.
static POOLS: Mutex<Vec<Weak<caliburn::Pool<Driver>>>> = Mutex::new(Vec::new());

fn pools() -> MutexGuard<'static, Vec<Weak<caliburn::Pool<Driver>>>> {
    POOLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a thread as inside until it is dropped.
struct Inside;

impl Inside {
    /// `None`: the gate is shut.
    fn enter() -> Option<Self> {
        // Both ways round: either the thread that shuts the gate sees this one, or this one sees it
        // shut.
        INSIDE.fetch_add(1, Ordering::SeqCst);
        let inside = Self;
        if SHUT.load(Ordering::SeqCst) { None } else { Some(inside) }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How many threads that Python does not know are about to be attached.
static ATTACHING: AtomicUsize = AtomicUsize::new(0);

/// How many threads fork. Counts instead of locks, as a child would inherit those locked.
static FORKING: AtomicUsize = AtomicUsize::new(0);

/// How long a thread sleeps that waits for a fork, or for others before it forks.
const NAP: Duration = Duration::from_micros(50);

/// Counts a thread that Python does not know as about to be attached, until it is dropped.
struct Attaching;

impl Attaching {
    /// `None`: Python knows the thread. It has a thread state, and perhaps the GIL, which a thread
    /// that forks may be waiting for.
    #[allow(unsafe_code)]
    fn begin() -> Option<Self> {
        // SAFETY: it may be called at any time, and its answer is not used as a pointer.
        if !unsafe { pyo3::ffi::PyGILState_GetThisThreadState() }.is_null() {
            return None;
        }
        loop {
            // Both ways round, as in `Inside::enter`.
            ATTACHING.fetch_add(1, Ordering::SeqCst);
            let attaching = Self;
            if FORKING.load(Ordering::SeqCst) == 0 {
                return Some(attaching);
            }
            drop(attaching);
            std::thread::sleep(NAP);
        }
    }
}

impl Drop for Attaching {
    fn drop(&mut self) {
        ATTACHING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Keeps threads of pools from being attached until the fork is over.
#[pyfunction]
pub(crate) fn before_fork(py: Python<'_>) {
    FORKING.fetch_add(1, Ordering::SeqCst);
    if ATTACHING.load(Ordering::SeqCst) > 0 {
        // They need the GIL before they are attached.
        py.detach(|| {
            while ATTACHING.load(Ordering::SeqCst) > 0 {
                std::thread::sleep(NAP);
            }
        });
    }
}

/// The fork is over, here in the parent.
#[pyfunction]
pub(crate) fn after_fork_in_parent() {
    FORKING.fetch_sub(1, Ordering::SeqCst);
}

/// Runs `work` attached to the interpreter. `None`: that is no longer possible.
pub(crate) fn attached<T>(work: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    let _inside = Inside::enter()?;
    let attaching = Attaching::begin();
    Python::try_attach(|py| {
        drop(attaching);
        aside(py, || work(py))
    })
}

/// Runs `work` as if no exception were on its way: what is destroyed while one is must neither see
/// it nor spoil it.
fn aside<T>(py: Python<'_>, work: impl FnOnce() -> T) -> T {
    let on_its_way = PyErr::take(py);
    let done = work();
    if let Some(error) = on_its_way {
        error.restore(py);
    }
    done
}

/// Whether the interpreter is about to end.
pub(crate) fn is_ending() -> bool {
    ENDING.load(Ordering::SeqCst)
}

/// Whether no thread of a pool runs Python any more.
pub(crate) fn is_shut() -> bool {
    SHUT.load(Ordering::SeqCst)
}

/// Makes a thread that is being unwound sleep instead.
struct Sleep;

impl Drop for Sleep {
    fn drop(&mut self) {
        loop {
            std::thread::sleep(Duration::from_secs(3_600));
        }
    }
}

/// `PyObject_Call`, as a function that may unwind.
type Call = unsafe extern "C-unwind" fn(
    *mut pyo3::ffi::PyObject,
    *mut pyo3::ffi::PyObject,
    *mut pyo3::ffi::PyObject,
) -> *mut pyo3::ffi::PyObject;

/// Calls a Python function that may take long, and in which the interpreter's end may therefore
/// meet this thread.
#[allow(unsafe_code)]
pub(crate) fn call<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let keywords = keywords.map_or(std::ptr::null_mut(), Bound::as_ptr);
    // SAFETY: the same function, and the same but for how it may end.
    let function: Call = unsafe { std::mem::transmute(pyo3::ffi::PyObject_Call as *const ()) };
    // Where it is known to be the function that pyo3 declares as one that does not unwind, the
    // compiler leaves out what is to be done if it does.
    let function = std::hint::black_box(function);
    let sleep = Sleep;
    // SAFETY: the thread is attached, as its `Bound`s prove, and all three are live objects of the
    // right types, or null for the keywords. It returns a new reference, or null with an exception
    // set.
    let result = unsafe { function(callable.as_ptr(), arguments.as_ptr(), keywords) };
    std::mem::forget(sleep);
    // SAFETY: see above.
    unsafe { Bound::from_owned_ptr_or_err(callable.py(), result) }
}

/// Has `pool` closed before the interpreter ends.
pub(crate) fn enroll(pool: &Arc<caliburn::Pool<Driver>>) {
    let mut pools = pools();
    if pools.len() == pools.capacity() {
        pools.retain(|pool| pool.strong_count() > 0);
    }
    pools.push(Arc::downgrade(pool));
}

/// Which of the processes that a fork has made this is.
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Whether the calling thread is the one that handles signals.
#[allow(unsafe_code)]
pub(crate) fn is_main_thread(_: Python<'_>) -> bool {
    // SAFETY: no more than the number of the thread.
    let number = unsafe { pyo3::ffi::PyThread_get_thread_ident() };
    number as u64 == MAIN.load(Ordering::Relaxed)
}

/// The exit waits no longer than this, in seconds: a year.
const LONGEST_EXIT: f64 = 365.0 * 86_400.0;

/// Closes all pools, waits up to `timeout` seconds for what that begins, and lets no thread of a
/// pool run Python code any more.
#[pyfunction]
pub(crate) fn close_all(py: Python<'_>, timeout: f64) {
    ENDING.store(true, Ordering::SeqCst);
    py.detach(|| {
        let pools: Vec<_> =
            std::mem::take(&mut *pools()).iter().filter_map(Weak::upgrade).collect();
        pools.iter().for_each(|pool| pool.close());
        let timeout = if timeout > 0.0 { timeout.min(LONGEST_EXIT) } else { 0.0 };
        let deadline = Instant::now() + Duration::from_secs_f64(timeout);
        let is_busy = |pool: &Arc<caliburn::Pool<Driver>>| {
            let stats = pool.stats();
            stats.opening + stats.maintenance > 0
        };
        while pools.iter().any(is_busy) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        SHUT.store(true, Ordering::SeqCst);
        // Those that have just gone in leave in a moment, unless they are stuck.
        while INSIDE.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

/// Begins anew in a forked child: the pools and the threads of the parent are not here.
#[pyfunction]
pub(crate) fn after_fork_in_child(main_thread: u64) {
    FORKS.fetch_add(1, Ordering::Relaxed);
    ATTACHING.store(0, Ordering::SeqCst);
    FORKING.store(0, Ordering::SeqCst);
    INSIDE.store(0, Ordering::SeqCst);
    note_main_thread(main_thread);
    // No other thread of Python's held it: the one that forked held the GIL.
    if let Ok(mut pools) = POOLS.try_lock() {
        pools.clear();
    }
}

/// Notes which thread handles signals.
#[pyfunction]
pub(crate) fn note_main_thread(number: u64) {
    MAIN.store(number, Ordering::Relaxed);
}
