//! One housekeeper thread for all pools of the process.
//!
//! It keeps deadlines, plans maintenance and starts workers; it calls no driver. It holds weak
//! references to the pools, starts with the first pool and ends with the last.

use super::visit;
use crate::clock::Clock;
use crate::manager::Manager;
use crate::no_unwind::no_unwind;
use crate::pool::state::pooled::Raw;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, thread};
use std::io;
use std::time::Duration;

/// The longest sleep: how far the coarse tick may lag, and the safety net under every ring.
const PERIOD: Duration = Duration::from_millis(25);

/// The housekeeper spends the last moments before a deadline awake, or it would meet the deadline
/// late. One part in `AWAKE_SHARE` of all time may be spent so, and up to `MOST_CREDIT` saved up;
/// deadlines beyond that bear the delay.
const AWAKE_SHARE: u32 = 20;
const MOST_CREDIT: Duration = Duration::from_millis(1);

/// A pool as the housekeeper sees it.
pub(crate) trait Household: Send + Sync {
    /// Does what is due, and returns for how long nothing else will be.
    fn visit(self: Arc<Self>) -> Duration;
}

impl<M: Manager> Household for Raw<M> {
    fn visit(self: Arc<Self>) -> Duration {
        let next = visit::visit(&self);
        self.context().clock.until(next)
    }
}

struct Door {
    thread: Option<thread::Thread>,
    newcomers: Vec<Weak<dyn Household>>,
}

static DOOR: Mutex<Door> = Mutex::new(Door { thread: None, newcomers: Vec::new() });

fn lock() -> MutexGuard<'static, Door> {
    DOOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a pool on. Returns the thread to ring, which lives as long as the pool does.
pub(crate) fn take_on(pool: Weak<dyn Household>) -> io::Result<thread::Thread> {
    let mut door = lock();
    let thread = match &door.thread {
        Some(thread) => thread.clone(),
        None => {
            let builder = thread::Builder::new().name("caliburn-housekeeper".into());
            let thread = builder.spawn(keep_house)?.thread().clone();
            door.thread = Some(thread.clone());
            thread
        }
    };
    door.newcomers.push(pool);
    drop(door);
    thread.unpark();
    Ok(thread)
}

fn keep_house() {
    let clock = Clock::real();
    let mut pools = Vec::new();
    let (mut credit, mut credited_at) = (Duration::ZERO, clock.now());
    loop {
        pools.append(&mut lock().newcomers);
        let begun = clock.now();
        let mut sleep = PERIOD;
        pools.retain(|pool: &Weak<dyn Household>| {
            let Some(pool) = pool.upgrade() else { return false };
            // A pool's spawner or wakers may panic; that is no reason to abandon the others.
            let visit = no_unwind(|| pool.visit());
            sleep = sleep.min(visit.unwrap_or(PERIOD));
            true
        });
        if pools.is_empty() {
            let mut door = lock();
            if door.newcomers.is_empty() {
                door.thread = None;
                return;
            }
            continue;
        }
        let until = begun + sleep;
        credit = MOST_CREDIT.min(credit + begun.since(credited_at) / AWAKE_SHARE);
        credited_at = begun;
        match clock.nap(until) {
            Duration::ZERO if clock.until(until) <= credit => {
                let from = clock.now();
                while clock.now() < until {
                    thread::yield_now();
                }
                credit = credit.saturating_sub(clock.now().since(from));
            }
            Duration::ZERO => thread::park_timeout(clock.until(until)),
            nap => thread::park_timeout(nap),
        }
    }
}
