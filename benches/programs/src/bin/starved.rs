//! A burst and a close while the process is starved of CPU.

use caliburn::Pool;
use caliburn_benches::harness::*;
use caliburn_benches::pools::{Adapter, Boxes, pool};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const ABOUT: &str = "\
A burst and a close while the process is starved of CPU. A minute.

Two threads for each core spin all the time. Meanwhile fifty callers come at once to five objects
and work for 2 ms each; and 10,000 threads wait for one object when the pool is closed. Measured is
the time until the last caller is done, and until the last thread has been told. In turn with the
least that lends and closes: a list behind a Mutex, and a Condvar.";

const CALLERS: usize = 50;
const OBJECTS: usize = 5;
/// Threads that spin, for each core.
const SPINNERS: usize = 2;
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

/// What `work` does, beside threads that spin all the time, if the process is to be starved.
fn beside_spinners<T>(is_starved: bool, work: impl FnOnce() -> T) -> T {
    let (count, is_over) =
        (if is_starved { SPINNERS * cores() } else { 0 }, AtomicBool::new(false));
    let spin = || {
        while !is_over.load(SeqCst) {
            spin_loop();
        }
    };
    thread::scope(|scope| {
        (0..count).for_each(|_| drop(scope.spawn(spin)));
        // Until all of them are at it.
        thread::sleep(ms(20));
        let done = work();
        is_over.store(true, SeqCst);
        done
    })
}

/// Milliseconds from `begin` to the moment when the last of so many callers is done: told apart
/// from the end of their threads, which takes its time.
fn last_of(
    callers: usize,
    call: impl Fn() + Sync,
    are_ready: impl Fn() -> bool,
    is_starved: bool,
    begin: impl FnOnce(),
) -> f64 {
    let (base, last) = (Instant::now(), AtomicU64::new(0));
    let call = || {
        call();
        last.fetch_max(base.elapsed().as_nanos() as u64, SeqCst);
    };
    thread::scope(|scope| {
        let spawn = |_| thread::Builder::new().stack_size(STACK).spawn_scoped(scope, call);
        let callers: Vec<_> = (0..callers).map(spawn).collect::<Result<_, _>>().expect("threads");
        while !are_ready() {
            thread::sleep(ms(1));
        }
        let begun = beside_spinners(is_starved, || {
            let begun = Instant::now();
            begin();
            callers.into_iter().for_each(|caller| caller.join().expect("no panic"));
            begun
        });
        millis(Duration::from_nanos(last.load(SeqCst)) - (begun - base))
    })
}

/// From the arrival of fifty callers to the return of the last.
fn burst(pool: &impl Lends, is_starved: bool) -> f64 {
    let start = Barrier::new(CALLERS + 1);
    let call = || {
        start.wait();
        assert!(pool.lend(WORK), "it is open");
    };
    last_of(CALLERS, call, || true, is_starved, || _ = start.wait())
}

/// From the close to the last of those who wait.
fn close(pool: &impl Lends, waiters: usize, is_starved: bool) -> f64 {
    let wait = || assert!(!pool.lend(WORK), "nothing is idle");
    last_of(waiters, wait, || pool.waiting() == waiters, is_starved, || pool.close())
}

fn main() {
    let length = Length::read(ABOUT);
    let waiters = length.pick(10_000, 100);
    for (is_starved, when) in [(false, "not starved"), (true, "starved")] {
        let bursts = vec![
            Entrant::new(Kind::Ours, "caliburn", move || burst(&pool(OBJECTS), is_starved)),
            Entrant::new(Kind::Peer, PLAIN, move || burst(&Plain::new(OBJECTS), is_starved)),
        ];
        measure(format!("{CALLERS} callers at once, {when}"), length.pick(31, 3), bursts);
        let closes = vec![
            Entrant::new(Kind::Ours, "caliburn", move || {
                let pool = pool(1);
                let _held = pool.get().expect("an object");
                close(&pool, waiters, is_starved)
            }),
            Entrant::new(Kind::Peer, PLAIN, move || close(&Plain::new(0), waiters, is_starved)),
        ];
        measure(format!("close with {waiters} waiting, {when}"), length.pick(9, 2), closes);
    }
    say!("{SPINNERS} spinning threads for each core; {}", conditions());
}

/// Both by turns; the ratio asked for is 1.
fn measure(title: String, rounds: usize, entrants: Vec<Entrant<'_, f64>>) {
    let records = by_turns(&title, Rounds::exactly(rounds), entrants, || ());
    let name = "median (quartiles), ms";
    let measure: Measure<'_, _, _> = (name, Better::Less, Show::Quartiles, &|o| o.figure);
    let sheet = Sheet::of("starved", &*title, &records).with(&[measure]);
    say!("{title}:\n\n{sheet}\n");
    let medians = [0, 1]
        .map(|n| records[n].of(|outcome| outcome.figure).into_iter().collect::<Spread>().median());
    say!("{:.2} x\n", medians[0] / medians[1]);
}
