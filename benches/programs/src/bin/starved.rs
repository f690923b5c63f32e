//! A burst and a close while the process is starved of CPU.

use caliburn::Pool;
use caliburn_benches::harness::*;
use caliburn_benches::pools::{Adapter, Boxes, pool};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, Condvar, Mutex};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

const HELP: &str = "\
A burst and a close while the process is starved of CPU. A minute.

Two threads for each core spin all the time. Meanwhile fifty callers come at once to five objects
and work for 2 ms each; and 10,000 threads wait for one object when the pool is closed. Measured is
the time until the last caller is done, and until the last thread has been told. In turn with the
least that lends and closes: a list behind a Mutex, and a Condvar.

  --quick  less of it
  --help   this text
";

const CALLERS: usize = 50;
const OBJECTS: usize = 5;
const WORK: Duration = ms(2);
/// Enough for a caller, and few enough for ten thousand of them.
const STACK: usize = 128 << 10;

/// A pool as both kinds are seen here.
trait Lends: Sync {
    /// Borrows an object for so long; false: it is closed.
    fn lend(&self, time: Duration) -> bool;
    fn waiting(&self) -> usize;
    fn close(&self);
}

impl Lends for Pool<Adapter<Boxes>> {
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

const PLAIN: &str = "Mutex + Condvar";

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

fn spawn<'s>(
    scope: &'s Scope<'s, '_>,
    work: impl FnOnce() + Send + 's,
) -> ScopedJoinHandle<'s, ()> {
    let thread = thread::Builder::new().stack_size(STACK);
    thread.spawn_scoped(scope, work).expect("a thread")
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
                thread::sleep(ms(1));
            }
        }
    }

    /// Has them spin, if `is_starved`, while `work` is done.
    fn beside<T>(&self, is_starved: bool, work: impl FnOnce() -> T) -> T {
        self.are_on.store(is_starved, SeqCst);
        // Until all have seen it.
        thread::sleep(ms(20));
        let done = work();
        self.are_on.store(false, SeqCst);
        done
    }
}

/// Milliseconds from `begin` to the moment when the last of so many callers is done: told apart
/// from the end of their threads, which takes its time.
fn last_of(
    callers: usize,
    call: impl Fn() + Sync,
    are_ready: impl Fn() -> bool,
    (spinners, is_starved): (&Spinners, bool),
    begin: impl FnOnce(),
) -> f64 {
    let (base, last) = (Instant::now(), AtomicU64::new(0));
    let call = || {
        call();
        last.fetch_max(base.elapsed().as_nanos() as u64, SeqCst);
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..callers).map(|_| spawn(scope, call)).collect();
        while !are_ready() {
            thread::sleep(ms(1));
        }
        let begun = spinners.beside(is_starved, || {
            let begun = Instant::now();
            begin();
            callers.into_iter().for_each(|caller| caller.join().expect("no panic"));
            begun
        });
        millis(Duration::from_nanos(last.load(SeqCst)) - (begun - base))
    })
}

/// From the arrival of fifty callers to the return of the last.
fn burst(pool: &impl Lends, spinners: (&Spinners, bool)) -> f64 {
    let start = Barrier::new(CALLERS + 1);
    let call = || {
        start.wait();
        assert!(pool.lend(WORK), "it is open");
    };
    let begin = || {
        start.wait();
    };
    last_of(CALLERS, call, || true, spinners, begin)
}

/// From the close to the last of those who wait.
fn close(pool: &impl Lends, waiters: usize, spinners: (&Spinners, bool)) -> f64 {
    let wait = || assert!(!pool.lend(WORK), "nothing is idle");
    last_of(waiters, wait, || pool.waiting() == waiters, spinners, || pool.close())
}

fn close_caliburn(waiters: usize, spinners: (&Spinners, bool)) -> f64 {
    let pool = pool(1);
    let _held = pool.get().expect("an object");
    close(&pool, waiters, spinners)
}

fn main() {
    let length = Options::length_only(HELP);
    let waiters = length.pick(10_000, 100);
    let count = 2 * cores();
    let spinners = Spinners { are_on: AtomicBool::new(false), are_over: AtomicBool::new(false) };
    thread::scope(|scope| {
        (0..count).for_each(|_| drop(spawn(scope, || spinners.spin())));
        for (is_starved, when) in [(false, "not starved"), (true, "starved")] {
            let spinners = (&spinners, is_starved);
            let bursts = vec![
                Entrant::new(Kind::Ours, "caliburn", move || burst(&pool(OBJECTS), spinners)),
                Entrant::new(Kind::Peer, PLAIN, move || burst(&Plain::new(OBJECTS), spinners)),
            ];
            measure(format!("{CALLERS} callers at once, {when}"), length.pick(31, 3), bursts);
            let closes = vec![
                Entrant::new(Kind::Ours, "caliburn", move || close_caliburn(waiters, spinners)),
                Entrant::new(Kind::Peer, PLAIN, move || close(&Plain::new(0), waiters, spinners)),
            ];
            measure(format!("close with {waiters} waiting, {when}"), length.pick(9, 2), closes);
        }
        spinners.are_over.store(true, SeqCst);
    });
    say!("{count} spinning threads; {}", conditions());
}

/// Both by turns; the ratio asked for is 1.
fn measure(title: String, rounds: usize, entrants: Vec<Entrant<'_, f64>>) {
    let records = by_turns(&title, Rounds::exactly(rounds), entrants, || ());
    let columns: [Measure<'_, f64, ()>; 1] =
        [("median (quartiles), ms", Better::Less, Show::Quartiles, &|o| o.figure)];
    say!("{title}:\n\n{}", Sheet::of("starved", &*title, &records, &columns));
    let medians = [0, 1]
        .map(|n| records[n].of(|outcome| outcome.figure).into_iter().collect::<Spread>().median());
    say!("{:.2} x\n", medians[0] / medians[1]);
}
