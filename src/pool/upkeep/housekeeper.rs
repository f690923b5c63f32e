//! One housekeeper thread for all pools of the process.
//!
//! It has a timetable of when each pool needs a visit, hears their rings, and sends a keeper: it
//! calls no foreign code. It knows pools weakly, starts with the first of them and ends with the
//! last.

use super::keeper::{self, Household};
use crate::clock::{Clock, Tick};
use crate::fork::PerProcess;
use crate::no_unwind::no_unwind;
use crate::pool::ground::ring::RUNG;
use crate::pool::ground::rung::Rung;
use crate::pool::ground::threads;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, thread};
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

/// The longest sleep: how far the coarse tick may lag.
const PERIOD: Duration = Duration::from_millis(25);

/// A keeper is sent this much ahead of time.
const LEAD: Duration = Duration::from_micros(200);

/// A closed pool, which must live on.
type Kept = Option<Arc<dyn Household>>;

/// What is told to the housekeeper.
#[derive(Default)]
struct Desk {
    thread: Option<thread::Thread>,
    newcomers: Vec<(usize, Weak<dyn Household>)>,
    /// Closed pools, which must live on until their last connection has gone.
    closed: Vec<(usize, Arc<dyn Household>)>,
    /// Keepers have left these pools: when the next visit is due, and what they were given of a
    /// closed one.
    left: Vec<(usize, Tick, Kept)>,
    /// Numbers in use, and those that are free again.
    numbers: usize,
    free: Vec<usize>,
}

static DESK: PerProcess<Mutex<Desk>> = PerProcess::new();

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a pool on. The answer is the thread to ring, which lives as long as the pool does, and the
/// pool's number.
pub(crate) fn take_on(pool: Weak<dyn Household>) -> io::Result<(thread::Thread, usize)> {
    let desk = DESK.get();
    let mut desk = lock(&desk);
    let thread = match &desk.thread {
        Some(thread) => thread.clone(),
        None => {
            let builder = thread::Builder::new().name("caliburn-housekeeper".into());
            let thread = builder.spawn(keep_house)?.thread().clone();
            desk.thread = Some(thread.clone());
            thread
        }
    };
    let number = desk.free.pop().unwrap_or_else(|| {
        desk.numbers += 1;
        desk.numbers - 1
    });
    desk.newcomers.push((number, pool));
    drop(desk);
    thread.unpark();
    Ok((thread, number))
}

/// Keeps a closed pool of that number until its last connection and its last handle have gone, and
/// then gives it up on a thread of the pool's own: what a handle gives up is not the last of a
/// pool, whose manager would be dropped with it.
pub(crate) fn see_out(number: usize, pool: Arc<dyn Household>) {
    lock(&DESK.get()).closed.push((number, pool));
}

/// A pool in the timetable.
struct Lodger {
    pool: Weak<dyn Household>,
    /// A closed pool is kept.
    kept: Kept,
    /// When the next visit is due. `None`: a keeper is there.
    due: Option<Tick>,
    /// It has rung since a keeper was last sent.
    rung: bool,
    /// When a keeper was last there.
    visited: Tick,
}

#[derive(Default)]
struct Timetable {
    /// By number.
    lodgers: Vec<Option<Lodger>>,
    visits: BTreeSet<(Tick, usize)>,
    lodging: usize,
}

fn keep_house() {
    let clock = Clock::real();
    let mut timetable = Timetable::default();
    loop {
        timetable.hear(clock.now());
        timetable.send_keepers(clock.now());
        if timetable.lodging == 0 {
            let desk = DESK.get();
            let mut desk = lock(&desk);
            if desk.newcomers.is_empty() {
                desk.thread = None;
                return;
            }
            continue;
        }
        // Also to bring the coarse time up to date.
        let next = timetable.visits.first().map_or(Tick::NEVER, |(due, _)| *due);
        let sleep = next.since(clock.now() + LEAD).min(PERIOD);
        if !sleep.is_zero() {
            thread::park_timeout(sleep);
        }
    }
}

impl Timetable {
    /// Takes in what was told and rung.
    fn hear(&mut self, now: Tick) {
        let desk = DESK.get();
        let mut desk = lock(&desk);
        for (number, pool) in desk.newcomers.drain(..) {
            if self.lodgers.len() <= number {
                self.lodgers.resize_with(number + 1, || None);
            }
            self.lodgers[number] =
                Some(Lodger { pool, kept: None, due: None, rung: true, visited: now });
            self.lodging += 1;
            self.plan(number, now, now);
        }
        for (number, due, kept) in desk.left.drain(..) {
            if let Some(Some(lodger)) = self.lodgers.get_mut(number) {
                // A closed pool is looked at once with what keeps it in the keeper's hands.
                lodger.rung |= kept.is_none() && lodger.kept.is_some();
                lodger.kept = kept.or(lodger.kept.take());
                lodger.visited = now;
                self.plan(number, due, now);
            }
        }
        for (number, pool) in desk.closed.drain(..) {
            if let Some(Some(lodger)) = self.lodgers.get_mut(number) {
                lodger.kept = Some(pool);
                lodger.rung = true;
                if lodger.due.is_some() {
                    self.plan(number, now, now);
                }
            }
        }
        drop(desk);
        RUNG.get().take(|number| {
            // Beyond what can be told apart, numbers share a bit.
            for number in (number..self.lodgers.len()).step_by(Rung::NUMBERS) {
                let Some(lodger) = &mut self.lodgers[number] else { continue };
                lodger.rung = true;
                if lodger.due.is_some() {
                    self.plan(number, now, now);
                }
            }
        });
    }

    /// The next visit is at `due`, or `now` if the pool has rung.
    fn plan(&mut self, number: usize, due: Tick, now: Tick) {
        let Some(lodger) = &mut self.lodgers[number] else { return };
        let due = if lodger.rung { now } else { due };
        if let Some(before) = lodger.due.replace(due) {
            self.visits.remove(&(before, number));
        }
        self.visits.insert((due, number));
    }

    /// Sends a keeper to each pool that needs one about now.
    fn send_keepers(&mut self, now: Tick) {
        while let Some(&(due, number)) = self.visits.first()
            && due <= now + LEAD
        {
            self.visits.pop_first();
            let Some(lodger) = &mut self.lodgers[number] else { continue };
            lodger.due = None;
            let unvisited = now.since(lodger.visited);
            if !lodger.rung
                && let Some(wait) = lodger.pool.upgrade().and_then(|pool| look(pool, unvisited))
            {
                self.plan(number, now + wait, now);
                continue;
            }
            lodger.rung = false;
            let kept = lodger.kept.take();
            let Some(pool) = kept.clone().or_else(|| lodger.pool.upgrade()) else {
                self.lodgers[number] = None;
                self.lodging -= 1;
                lock(&DESK.get()).free.push(number);
                continue;
            };
            if !send(pool, number, kept) {
                // No thread is to be had: a visit is made here.
                let wait = lodger.pool.upgrade().map(visit);
                self.plan(number, now + wait.unwrap_or(PERIOD), now);
            }
        }
    }
}

/// For how long there is nothing to do for the pool after all. The pool is given up again on a
/// thread of its own if it is the last of it.
fn look(pool: Arc<dyn Household>, unvisited: Duration) -> Option<Duration> {
    let postponed = pool.postponed(unvisited);
    if Arc::strong_count(&pool) == 1 {
        threads::submit(Box::new(move || no_unwind(|| drop(pool)).unwrap_or(())));
    }
    postponed
}

/// A visit without a keeper.
fn visit(pool: Arc<dyn Household>) -> Duration {
    pool.ring().answer();
    no_unwind(|| pool.visit()).unwrap_or(PERIOD)
}

/// Sends a keeper. False: the system gives no thread.
fn send(pool: Arc<dyn Household>, number: usize, kept: Kept) -> bool {
    threads::submit(Box::new(move || {
        let mut due = keeper::keep(&pool);
        // A handle that is being dropped must not be the last of it: its thread may unwind.
        let is_over = pool.is_over();
        let is_held = Arc::strong_count(&pool) > 1 + usize::from(kept.is_some());
        if is_over && is_held && pool.is_deserted() {
            due = due.min(Clock::real().now() + PERIOD);
        }
        let kept = kept.filter(|_| !is_over || is_held);
        let desk = DESK.get();
        let mut desk = lock(&desk);
        desk.left.push((number, due, kept));
        let housekeeper = desk.thread.clone();
        drop(desk);
        if let Some(housekeeper) = housekeeper
            && due <= Clock::real().now() + 2 * PERIOD
        {
            housekeeper.unpark();
        }
        // Here, on a thread that is nobody's, the last of a pool may go.
        no_unwind(|| drop(pool));
    }))
}
