//! A burst and a close while the process is starved of CPU: `cargo bench --bench starved`, a
//! minute; `-- --quick` for less.
//!
//! Two threads for each core spin all the time. Meanwhile fifty callers come at once to five
//! objects and work for 2 ms each; and 10,000 threads wait for one object when the pool is closed.
//! Measured is the time until the last caller is done, and until the last thread has been told. In
//! turn with the least that lends and closes: a list behind a `Mutex`, and a `Condvar`.

mod harness;

use caliburn::Pool;
use harness::figures::{Spread, conditions};
use harness::length::Length;
use harness::objects::{Objects, pool};
use harness::table::{Table, verdict};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, Condvar, Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

const CALLERS: usize = 50;
const OBJECTS: usize = 5;
const WORK: Duration = Duration::from_millis(2);
/// Enough for a caller, and few enough for ten thousand of them.
const STACK: usize = 128 << 10;

/// A pool as both kinds are seen here.
trait Lends: Sync {
    /// Borrows an object for so long; false: it is closed.
    fn lend(&self, time: Duration) -> bool;
    fn waiting(&self) -> usize;
    fn close(&self);
}

impl Lends for Pool<Objects> {
    fn lend(&self, time: Duration) -> bool {
        self.get_timeout(Duration::MAX).map(|_object| thread::sleep(time)).is_ok()
    }

    fn waiting(&self) -> usize {
        self.stats().waiting
    }

    fn close(&self) {
        self.close();
    }
}

/// The least that lends.
struct Plain {
    /// How many are idle; `None`: it is closed.
    idle: Mutex<Option<usize>>,
    bell: Condvar,
    waiting: AtomicUsize,
}

impl Plain {
    fn new(size: usize) -> Self {
        let (idle, bell) = (Mutex::new(Some(size)), Condvar::new());
        Self { idle, bell, waiting: AtomicUsize::new(0) }
    }
}

impl Lends for Plain {
    fn lend(&self, time: Duration) -> bool {
        self.waiting.fetch_add(1, SeqCst);
        let is_empty = |idle: &mut Option<usize>| *idle == Some(0);
        let lock = self.idle.lock().expect("no panic");
        let mut idle = self.bell.wait_while(lock, is_empty).expect("no panic");
        self.waiting.fetch_sub(1, SeqCst);
        let Some(left) = &mut *idle else { return false };
        *left -= 1;
        drop(idle);
        thread::sleep(time);
        let mut idle = self.idle.lock().expect("no panic");
        *idle = idle.map(|idle| idle + 1);
        drop(idle);
        self.bell.notify_one();
        true
    }

    fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    fn close(&self) {
        *self.idle.lock().expect("no panic") = None;
        self.bell.notify_all();
    }
}

fn spawn<'s>(scope: &'s thread::Scope<'s, '_>, work: impl FnOnce() + Send + 's) {
    let thread = thread::Builder::new().stack_size(STACK);
    drop(thread.spawn_scoped(scope, work).expect("a thread"));
}

/// Counts threads down, and notes when the last has come.
struct Last {
    left: AtomicUsize,
    waiter: Thread,
    at: OnceLock<Instant>,
}

impl Last {
    fn new(count: usize) -> Self {
        Self { left: AtomicUsize::new(count), waiter: thread::current(), at: OnceLock::new() }
    }

    fn count(&self) {
        if self.left.fetch_sub(1, SeqCst) == 1 {
            self.at.get_or_init(Instant::now);
            self.waiter.unpark();
        }
    }

    /// Milliseconds from `begun` to the last.
    fn wait(&self, begun: Instant) -> f64 {
        loop {
            if let Some(at) = self.at.get() {
                return (*at - begun).as_secs_f64() * 1000.0;
            }
            thread::park();
        }
    }
}

/// Threads that spin while they are told to.
struct Spinners {
    are_on: AtomicBool,
    are_over: AtomicBool,
}

impl Spinners {
    fn spin(&self) {
        while !self.are_over.load(SeqCst) {
            if self.are_on.load(SeqCst) {
                spin_loop();
            } else {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Has them spin, if `is_starved`, while `work` is done.
    fn beside<T>(&self, is_starved: bool, work: impl FnOnce() -> T) -> T {
        self.are_on.store(is_starved, SeqCst);
        // Until all have seen it.
        thread::sleep(Duration::from_millis(20));
        let done = work();
        self.are_on.store(false, SeqCst);
        done
    }
}

/// Milliseconds from the arrival of fifty callers to the return of the last.
fn burst(pool: &impl Lends, spinners: &Spinners, is_starved: bool) -> f64 {
    let start = Barrier::new(CALLERS + 1);
    let all = Last::new(CALLERS);
    let mut took = 0.0;
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            spawn(scope, || {
                start.wait();
                assert!(pool.lend(WORK), "it is open");
                all.count();
            });
        }
        spinners.beside(is_starved, || {
            let begun = Instant::now();
            start.wait();
            took = all.wait(begun);
        });
    });
    took
}

/// Milliseconds from the close to the last of those who wait.
fn close(pool: &impl Lends, waiters: usize, spinners: &Spinners, is_starved: bool) -> f64 {
    // Told apart from the end of their threads, which takes its time.
    let all = Last::new(waiters);
    let mut took = 0.0;
    thread::scope(|scope| {
        for _ in 0..waiters {
            spawn(scope, || {
                assert!(!pool.lend(WORK), "nothing is idle");
                all.count();
            });
        }
        while pool.waiting() < waiters {
            thread::sleep(Duration::from_millis(1));
        }
        spinners.beside(is_starved, || {
            let begun = Instant::now();
            pool.close();
            took = all.wait(begun);
        });
    });
    took
}

fn close_caliburn(waiters: usize, spinners: &Spinners, is_starved: bool) -> f64 {
    let pool = pool(1, ());
    let _held = pool.get().expect("an object");
    close(&pool, waiters, spinners, is_starved)
}

/// `[caliburn, plain]`, in turn.
fn side_by_side(rounds: usize, caliburn: impl Fn() -> f64, plain: impl Fn() -> f64) -> [Spread; 2] {
    let round = |n| {
        eprint!("\rround {} of {rounds} ", n + 1);
        [caliburn(), plain()]
    };
    let times: Vec<_> = (0..rounds).map(round).collect();
    eprint!("\r{:30}\r", "");
    [0, 1].map(|n| times.iter().map(|times| times[n]).collect())
}

fn row(table: &mut Table, what: &str, [caliburn, plain]: &[Spread; 2]) {
    let show = |spread: &Spread| spread.show(|time| format!("{time:.1}"));
    let ratio = caliburn.median() / plain.median();
    let asked = verdict(ratio, 1.0, |ratio| format!("{ratio:.2} x"));
    let ratio = format!("{ratio:.2} x");
    table.row([what.into(), show(caliburn), show(plain), ratio, asked]);
}

fn main() {
    let Some(length) = Length::asked() else { return };
    let count = 2 * thread::available_parallelism().map_or(1, usize::from);
    let waiters = length.pick(10_000, 100);
    let (bursts, closes) = (length.pick(31, 3), length.pick(9, 2));
    let mut table =
        Table::new(&["median (quartiles), ms", "caliburn", "Mutex + Condvar", "ratio", "asked"]);
    let spinners = Spinners { are_on: AtomicBool::new(false), are_over: AtomicBool::new(false) };
    thread::scope(|scope| {
        (0..count).for_each(|_| spawn(scope, || spinners.spin()));
        for (is_starved, when) in [(false, "not starved"), (true, "starved")] {
            let all_served = side_by_side(
                bursts,
                || burst(&pool(OBJECTS, ()), &spinners, is_starved),
                || burst(&Plain::new(OBJECTS), &spinners, is_starved),
            );
            row(&mut table, &format!("{CALLERS} callers at once, {when}"), &all_served);
            let all_told = side_by_side(
                closes,
                || close_caliburn(waiters, &spinners, is_starved),
                || close(&Plain::new(0), waiters, &spinners, is_starved),
            );
            row(&mut table, &format!("close with {waiters} waiting, {when}"), &all_told);
        }
        spinners.are_over.store(true, SeqCst);
    });
    println!("{count} spinning threads; {}\n\n{table}", conditions());
}
