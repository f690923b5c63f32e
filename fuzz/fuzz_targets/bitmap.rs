//! The mechanism itself, compiled in from `src/raw`: the bitmap and the pool of slots, each beside
//! a model of sets and lists.
#![no_main]

#[path = "../../src/no_unwind.rs"]
mod no_unwind;
#[path = "../../src/raw/mod.rs"]
#[allow(dead_code, rustdoc::all)]
mod raw;
#[path = "../../src/sync.rs"]
#[allow(dead_code, unused_imports)]
mod sync;

use libfuzzer_sys::{arbitrary, fuzz_target};
use raw::bitmap::{Bitmap, Newcomers};
use raw::slots::{Occupied, Vacant};
use raw::waiter::{Outcome, Terms, Ticket};
use raw::{PoolHooks, RawPool};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

#[derive(arbitrary::Arbitrary, Debug)]
enum Input {
    Bitmap { capacity: u8, threads: u8, ops: Vec<(BitOp, u8)> },
    Pool { capacity: u8, threads: u8, ops: Vec<(PoolOp, u8)> },
}

#[derive(arbitrary::Arbitrary, Clone, Copy, Debug)]
enum BitOp {
    Put,
    Offer,
    Claim,
    Pick,
    ClaimPastFlags,
    ClaimAt,
    RaiseWaiters,
    RaiseHandOff,
    Lower,
    Close,
}

#[derive(arbitrary::Arbitrary, Clone, Copy, Debug)]
enum PoolOp {
    Fill,
    Claim,
    ClaimAt,
    Release,
    Vacate,
    DropVacant,
    Retire,
    Grow,
    Shrink,
    Enroll,
    EnrollAhead,
    Poll,
    Leave,
    Expire,
    FailAll,
    Close,
}

fuzz_target!(|input: Input| match input {
    Input::Bitmap { capacity, threads, ops } => {
        // More than 61 slots take two words.
        drive_bitmap(usize::from(capacity % 130) + 1, usize::from(threads % 8), &ops);
    }
    Input::Pool { capacity, threads, ops } => {
        drive_pool(u32::from(capacity % 5) + 1, usize::from(threads % 4), &ops);
    }
});

fn drive_bitmap(capacity: usize, threads: usize, ops: &[(BitOp, u8)]) {
    let bitmap = Bitmap::new(Bitmap::stripes_for(capacity, threads));
    let mut set = BTreeSet::new();
    // The dispatcher's flags, as `Queue` has them.
    let (mut flags, mut is_closed) = (None, false);
    for (op, n) in ops {
        let (index, home) = (u32::from(*n) % capacity as u32, usize::from(*n));
        let place = bitmap.place(index);
        let is_barred = flags == Some(Newcomers::MustWait) || is_closed;
        let has_waiters = flags.is_some() || is_closed;
        match op {
            BitOp::Put => {
                if set.insert(index) {
                    assert_eq!(bitmap.put(index), has_waiters);
                }
            }
            BitOp::Offer => {
                if !set.contains(&index) {
                    let is_taken = raw::bitmap::offer(bitmap.word_of(place), place.mask());
                    assert_eq!(is_taken, !has_waiters);
                    if is_taken {
                        set.insert(index);
                    }
                }
            }
            BitOp::Claim => match bitmap.claim(home) {
                Some(index) => assert!(!is_barred && set.remove(&index)),
                None => assert!(is_barred || set.is_empty()),
            },
            BitOp::Pick => {
                if let Some(pick) = bitmap.pick(home) {
                    let index = pick.index;
                    assert!(!has_waiters && pick.take().is_some() && set.remove(&index));
                }
            }
            BitOp::ClaimPastFlags => match bitmap.claim_past_flags(home) {
                Some(index) => assert!(set.remove(&index)),
                None => assert!(set.is_empty()),
            },
            BitOp::ClaimAt => assert_eq!(bitmap.claim_at(index), set.remove(&index)),
            BitOp::RaiseWaiters => {
                bitmap.raise_flags(Newcomers::MayClaim);
                flags = Some(Newcomers::MayClaim);
            }
            BitOp::RaiseHandOff => {
                bitmap.raise_flags(Newcomers::MustWait);
                flags = Some(Newcomers::MustWait);
            }
            BitOp::Lower => {
                bitmap.lower_flags();
                flags = None;
            }
            BitOp::Close => {
                bitmap.close();
                is_closed = true;
            }
        }
        assert_eq!(bitmap.count(), set.len());
    }
}

/// Values count themselves.
struct Value(Arc<AtomicUsize>);

impl Drop for Value {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Bare;

impl PoolHooks for Bare {
    type Value = Value;
    type Ledger = ();
    type Context = AtomicUsize;

    fn on_orphan(slot: Occupied<Self>) {
        drop(slot.vacate());
    }

    fn on_return(slot: Occupied<Self>) {
        drop(slot);
    }

    fn now(_: &AtomicUsize) -> u64 {
        0
    }

    fn on_deadline(_: &AtomicUsize, _: u64) {}

    fn on_torn_down(context: &AtomicUsize) {
        context.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Told {
    Nothing,
    Expired,
    Failed,
    Closed,
}

struct Model<'p> {
    pool: &'p RawPool<Bare>,
    values: Arc<AtomicUsize>,
    is_closed: bool,
    /// Slots that should be out of use.
    retired: i64,
    now: u64,
    occupied: Vec<Occupied<Bare>>,
    vacant: Vec<Vacant<Bare>>,
    /// In line order, with deadlines; only a poll tells which of them was granted a slot.
    line: Vec<(Ticket<'p, Bare>, u64, Told)>,
}

fn drive_pool(capacity: u32, threads: usize, ops: &[(PoolOp, u8)]) {
    let stripes = Bitmap::stripes_for(capacity as usize, threads);
    let pool = RawPool::<Bare>::build(capacity, stripes, AtomicUsize::new(0));
    let mut model = Model {
        pool: &pool,
        values: Arc::default(),
        is_closed: false,
        retired: 0,
        now: 0,
        occupied: Vec::new(),
        vacant: Vec::new(),
        line: Vec::new(),
    };
    for (op, n) in ops {
        model.step(*op, usize::from(*n));
        model.check();
    }
    let values = Arc::clone(&model.values);
    drop(model);
    pool.close();
    assert!(pool.is_torn_down());
    assert_eq!(pool.context().load(Ordering::Relaxed), 1);
    assert_eq!(pool.queued(), 0);
    assert_eq!(values.load(Ordering::Relaxed), 0);
    assert_eq!(Arc::strong_count(&pool), 1);
}

fn pick<T>(all: &mut Vec<T>, n: usize) -> Option<T> {
    (!all.is_empty()).then(|| all.remove(n % all.len()))
}

impl Model<'_> {
    fn has_waiters(&self) -> bool {
        self.pool.gauges().waiting > 0
    }

    fn step(&mut self, op: PoolOp, n: usize) {
        let before = self.pool.gauges();
        let capacity = self.pool.capacity() as i64;
        match op {
            PoolOp::Fill => {
                if let Some(slot) = self.vacant.pop().or_else(|| self.pool.claim_vacant()) {
                    self.values.fetch_add(1, Ordering::Relaxed);
                    drop(slot.fill(Value(Arc::clone(&self.values))));
                }
            }
            PoolOp::Claim => match self.pool.claim() {
                Some(slot) => {
                    assert!(before.idle > 0 && before.waiting == 0 && !self.is_closed);
                    self.occupied.push(slot);
                }
                None => assert!(before.idle == 0 || before.waiting > 0 || self.is_closed),
            },
            PoolOp::ClaimAt => {
                let index = (n % self.pool.capacity()) as u32;
                if let Some(slot) = self.pool.claim_idle_at(index) {
                    assert!(before.idle > 0);
                    assert_eq!(slot.index(), index);
                    self.occupied.push(slot);
                }
            }
            PoolOp::Release => drop(pick(&mut self.occupied, n)),
            PoolOp::Vacate => {
                if let Some(slot) = pick(&mut self.occupied, n) {
                    self.vacant.push(slot.vacate().0);
                }
            }
            PoolOp::DropVacant => {
                if let Some(slot) = pick(&mut self.vacant, n) {
                    if self.pool.take_debt() { slot.retire() } else { drop(slot) }
                }
            }
            PoolOp::Retire => {
                if let Some(slot) = pick(&mut self.occupied, n) {
                    if self.pool.take_debt() { slot.vacate().0.retire() } else { drop(slot) }
                }
            }
            PoolOp::Grow | PoolOp::Shrink => {
                let by = (n % 3) as i64 * if matches!(op, PoolOp::Grow) { -1 } else { 1 };
                if (0..=capacity).contains(&(self.retired + by)) && !self.is_closed {
                    self.retired += by;
                    self.pool.adjust(by);
                }
            }
            PoolOp::Enroll | PoolOp::EnrollAhead => {
                let deadline = if n & 1 == 0 { u64::MAX } else { self.now + n as u64 };
                let ahead = matches!(op, PoolOp::EnrollAhead);
                // What is not taken in time is left to the models.
                let terms = Terms { deadline, ahead, ..Terms::STRICT };
                match self.pool.enroll(Waker::noop(), terms, 3) {
                    Ok(ticket) => {
                        assert!(before.waiting < 3 || ahead);
                        let told = if self.is_closed { Told::Closed } else { Told::Nothing };
                        let at = if ahead { 0 } else { self.line.len() };
                        self.line.insert(at, (ticket, deadline, told));
                    }
                    Err(_) => assert!(before.waiting >= 3 && !ahead),
                }
            }
            PoolOp::Poll => {
                if self.line.is_empty() {
                    return;
                }
                let n = n % self.line.len();
                let (ticket, _, told) = &mut self.line[n];
                let told = *told;
                let mut cx = Context::from_waker(Waker::noop());
                let Poll::Ready(outcome) = ticket.poll(&mut cx) else {
                    assert!(told == Told::Nothing && self.has_waiters());
                    return;
                };
                drop(self.line.remove(n));
                match outcome {
                    Outcome::Granted(slot) => self.occupied.push(slot),
                    Outcome::Closed => assert!(told == Told::Closed),
                    Outcome::Failed => assert!(told == Told::Failed),
                    Outcome::Expired => assert!(told == Told::Expired),
                    Outcome::Lapsed => panic!("nothing lapses"),
                    Outcome::Shed => panic!("nobody is shed"),
                }
            }
            PoolOp::Leave => drop(pick(&mut self.line, n)),
            PoolOp::Expire => {
                self.now += (n % 8) as u64;
                let now = self.now;
                self.tell(Told::Expired, |deadline| deadline <= now);
                self.pool.expire(now);
                assert!(self.pool.next_deadline() > now);
            }
            PoolOp::FailAll => {
                self.tell(Told::Failed, |_| true);
                self.pool.fail_all();
            }
            PoolOp::Close => {
                if n.is_multiple_of(8) {
                    self.tell(Told::Closed, |_| true);
                    self.pool.close();
                    self.is_closed = true;
                }
            }
        }
    }

    /// Notes what the waiters are told that were told nothing before and have no slot.
    fn tell(&mut self, what: Told, whom: impl Fn(u64) -> bool) {
        for (_, deadline, told) in &mut self.line {
            if *told == Told::Nothing && whom(*deadline) {
                *told = what;
            }
        }
    }

    fn check(&self) {
        let gauges = self.pool.gauges();
        let tokens = self.occupied.len() + self.vacant.len();
        let bits = gauges.idle + gauges.vacant + gauges.retired + self.pool.torn_down();
        let granted = self.pool.capacity() - bits - tokens;
        assert!(granted + gauges.waiting <= self.line.len(), "{gauges:?}");
        let values = self.values.load(Ordering::Relaxed);
        assert_eq!(values, gauges.idle + granted + self.occupied.len(), "{gauges:?}");
        if self.is_closed {
            assert_eq!(gauges.idle + gauges.vacant + gauges.retired + gauges.waiting, 0);
        } else {
            assert!(gauges.waiting == 0 || gauges.idle == 0, "{gauges:?}");
            assert!(gauges.retired as i64 <= self.retired, "{gauges:?}");
        }
        assert!(gauges.waiting <= self.pool.queued(), "{gauges:?}");
    }
}
