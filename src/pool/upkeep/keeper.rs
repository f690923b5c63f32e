//! A keeper: a thread that visits one pool as long as there is something to do, then leaves word
//! when to come again.
//!
//! So foreign code of one pool (strategies, wakers, spawners), which may block, keeps no other pool
//! waiting.

use crate::clock::{Clock, Tick};
use crate::fork::PerProcess;
use crate::no_unwind::no_unwind;
use crate::pool::ground::ring::Ring;
use crate::sync::{Arc, Relaxed, thread};
use std::time::Duration;

/// The longest time between two visits to a pool that is not at rest: the safety net under every
/// ring.
pub(crate) const PERIOD: Duration = Duration::from_millis(25);

/// How long a keeper stays after the last ring: the next one finds it without the housekeeper.
const LINGER: Duration = Duration::from_millis(10);

/// No more keepers than this linger at once.
const MOST_LINGERING: usize = 16;

/// The last moments before a deadline are spent awake, or it would be met late. This share of all
/// time may go there, and this much may be saved up; deadlines beyond that bear the delay.
const AWAKE_SHARE: u32 = 20;
const MOST_CREDIT: Duration = Duration::from_millis(1);

/// A pool as keepers and housekeeper see it.
pub(crate) trait Household: Send + Sync {
    fn ring(&self) -> &Ring;

    /// Does what is due. The answer is how long nothing will be.
    fn visit(self: Arc<Self>) -> Duration;

    /// For how long a visit would find nothing to do, though it was planned for now. `None`: it is
    /// due. `unvisited` is the time since the last visit. Calls no foreign code.
    fn postponed(&self, unvisited: Duration) -> Option<Duration>;

    /// No connection is left, and none will come.
    fn is_over(&self) -> bool;

    /// No handle is left.
    fn is_deserted(&self) -> bool;
}

/// How many keepers there are.
static LINGERING: PerProcess<Relaxed<usize>> = PerProcess::new();

/// Visits `pool` until it needs no visit for a while; the answer is when it will.
pub(crate) fn keep(pool: &Arc<dyn Household>) -> Tick {
    let clock = Clock::real();
    let ring = pool.ring();
    let mut awake = Awake::new(&clock);
    ring.keep();
    let lingering = LINGERING.get();
    lingering.add(1);
    let mut stays_until = clock.now() + LINGER;
    let due = loop {
        if ring.answer() {
            stays_until = clock.now() + LINGER;
        }
        let begun = clock.now();
        // A strategy, a spawner or a waker may panic; the pool goes on.
        let wait = no_unwind(|| Arc::clone(pool).visit()).unwrap_or(PERIOD);
        let due = begun + wait;
        // What is over is given up at once, and the manager with it.
        let is_wanted = lingering.get() <= MOST_LINGERING || due <= stays_until;
        let may_linger = is_wanted && !pool.is_over();
        let until = if may_linger { due.min(stays_until) } else { clock.now() };
        let was_rung = if until == due && wait < PERIOD {
            awake.sleep(&clock, ring, until)
        } else {
            // The end of the stay and the safety net need not be met on time.
            sleep_roughly(&clock, ring, until)
        };
        if !was_rung && until < due && ring.leave() {
            break due;
        }
    };
    lingering.subtract(1);
    due
}

/// Sleeps until about `until`, or until a ring: true.
fn sleep_roughly(clock: &Clock, ring: &Ring, until: Tick) -> bool {
    loop {
        let now = clock.now();
        if ring.is_rung() || now >= until {
            return ring.is_rung();
        }
        thread::park_timeout(until.since(now));
    }
}

/// Sleeps that end on time.
struct Awake {
    credit: Duration,
    credited_at: Tick,
}

impl Awake {
    fn new(clock: &Clock) -> Self {
        Self { credit: MOST_CREDIT, credited_at: clock.now() }
    }

    /// Sleeps until `until`, or until a ring: true.
    fn sleep(&mut self, clock: &Clock, ring: &Ring, until: Tick) -> bool {
        let now = clock.now();
        self.credit = MOST_CREDIT.min(self.credit + now.since(self.credited_at) / AWAKE_SHARE);
        self.credited_at = now;
        loop {
            if ring.is_rung() {
                return true;
            }
            let now = clock.now();
            if now >= until {
                return false;
            }
            match clock.nap(until) {
                Duration::ZERO if until.since(now) <= self.credit => {
                    thread::yield_now();
                    self.credit = self.credit.saturating_sub(clock.now().since(now));
                }
                Duration::ZERO => thread::park_timeout(until.since(now)),
                nap => thread::park_timeout(nap),
            }
        }
    }
}
