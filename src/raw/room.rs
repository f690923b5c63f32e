//! The waiting room: what waiters share. `waiters` has the dispatch.

use super::bitmap::Newcomers;
use super::requests::Requests;
use super::waiter::{NEVER, Waiter};
use crate::sync::{Arc, AtomicU64, AtomicUsize, Mutex, Ordering, Relaxed, SegQueue};
use std::collections::VecDeque;
use std::ops::Deref;
use std::task::Waker;

/// The line tolerates this many waiters that have left beyond the number of those that wait.
pub(super) const SLACK: usize = 8;

/// The room itself, on cache lines of its own: waiters write here, and must not disturb threads
/// that need not wait.
#[repr(align(128))]
pub(super) struct WaitingRoom {
    pub(super) inbox: SegQueue<Arc<Waiter>>,
    /// Wake-ups of threads that were all told the same, such as that the pool is closed. Each that
    /// is woken wakes two more: one thread that wakes ten thousand has to compete with them for a
    /// core.
    pub(super) crowd: SegQueue<Waker>,
    /// How many requests for a dispatch are unanswered.
    pub(super) requests: Requests,
    /// What only the dispatcher touches. The lock is never contended: `requests` elects one.
    pub(super) queue: Mutex<Queue>,
    /// Waiters in the line that still wait; and, in units of [`BORROWER`], how many borrowers these
    /// are.
    live: AtomicU64,
    /// Slots that were granted and not taken.
    pub(super) granted: Relaxed<usize>,
    /// Waiters in the line, with those that have left, as the dispatcher left it.
    pub(super) queued: Relaxed<usize>,
    /// No later than the earliest deadline in the line, and the first moment a grant lapses.
    pub(super) next_deadline: AtomicU64,
    /// Deadlines up to here are to expire; zero: none. O4 orders it: it rides on a request.
    pub(super) expire_to: Relaxed<u64>,
    /// What the next round is to do besides.
    pub(super) errands: Errands,
}

/// One borrower, in [`WaitingRoom::live`]: above the count of waiters.
const BORROWER: u64 = 1 << 32;

/// What a waiter adds to the count: a part of what a borrower waits for is no borrower.
fn weight(is_part: bool) -> u64 {
    if is_part { 1 } else { BORROWER + 1 }
}

/// All waiters are to fail.
pub(super) const FAIL_ALL: usize = 1;
/// A pause is over, so the flags may be up for no waiter.
pub(super) const RESUMED: usize = 2;

/// Things that a round is to do once, each a bit.
#[derive(Debug, Default)]
pub(super) struct Errands(AtomicUsize);

impl Errands {
    pub(super) fn note(&self, errand: usize) {
        // O17: a round that was requested by others may find it before the request that follows.
        self.0.fetch_or(errand, Ordering::Release);
    }

    /// What is to be done, if anything; it is no longer noted.
    pub(super) fn take(&self) -> usize {
        // O17; O11: what is not seen here is seen by the round that answers its request (O4).
        if self.0.load(Ordering::Relaxed) == 0 { 0 } else { self.0.swap(0, Ordering::Acquire) }
    }
}

/// What the dispatcher owns.
pub(super) struct Queue {
    /// In order of their places.
    pub(super) line: VecDeque<Standing>,
    /// The last place that was given.
    pub(super) last_place: u64,
    /// No later than the first moment at which a waiter in line expires, or has not heeded what it
    /// was told: until then no round need look at the whole line.
    pub(super) earliest: u64,
    /// Waiters whose grant may lapse, and some that have taken it.
    pub(super) granted: Vec<Standing>,
    pub(super) lapses: Lapses,
    /// A waiter in line may stand before others that were granted a slot: it was late, or waits
    /// ahead.
    pub(super) must_look_behind: bool,
    /// The waiters flag is up, and the hand-off flag if newcomers must wait. `None`: both are down.
    pub(super) flags: Option<Newcomers>,
}

/// When grants lapse.
pub(super) struct Lapses {
    /// The next lapse, if the pool above does not know yet that it must come by then.
    pub(super) due: u64,
    /// Until then grants have a short grace: one has lapsed lately.
    pub(super) hurried_until: u64,
}

/// A waiter, and what only the dispatcher knows of it.
pub(super) struct Standing {
    pub(super) waiter: Arc<Waiter>,
    /// Its place in the line.
    pub(super) place: u64,
    /// When what it was told last lapses.
    pub(super) due: u64,
    /// Whether it had let a grant lapse when it was granted another.
    pub(super) was_late: bool,
    /// Whether it has let a grant lapse.
    pub(super) has_lapsed: bool,
    /// Whether its last grant went to a waiter before it, and did not lapse.
    pub(super) was_robbed: bool,
}

impl Standing {
    pub(super) fn new(waiter: Arc<Waiter>, place: u64) -> Self {
        let (was_late, has_lapsed, was_robbed) = (false, false, false);
        Self { waiter, place, due: NEVER, was_late, has_lapsed, was_robbed }
    }
}

impl Deref for Standing {
    type Target = Waiter;

    fn deref(&self) -> &Waiter {
        &self.waiter
    }
}

impl Standing {
    /// Whether a grant may be taken back from it soon, if others were not taken. One that has come
    /// back is slow, but there; one that waits ahead, or for a certain slot, has no time to lose.
    pub(super) fn may_be_hurried(&self) -> bool {
        let is_back = self.has_lapsed && !self.was_late;
        !is_back && !self.terms.ahead
    }
}

impl Queue {
    fn new() -> Self {
        let (line, granted) = (VecDeque::new(), Vec::new());
        Self {
            line,
            last_place: 0,
            earliest: NEVER,
            granted,
            lapses: Lapses { due: NEVER, hurried_until: 0 },
            must_look_behind: false,
            flags: None,
        }
    }

    /// Puts a waiter where its place is.
    pub(super) fn stand(&mut self, waiter: Standing) {
        self.earliest = self.earliest.min(waiter.terms.deadline);
        let at = self.line.partition_point(|other| other.place < waiter.place);
        self.line.insert(at, waiter);
    }
}

impl WaitingRoom {
    pub(super) fn new() -> Self {
        Self {
            inbox: SegQueue::new(),
            crowd: SegQueue::new(),
            requests: Requests::new(),
            queue: Mutex::new(Queue::new()),
            live: AtomicU64::new(0),
            granted: Relaxed::default(),
            queued: Relaxed::default(),
            next_deadline: AtomicU64::new(NEVER),
            expire_to: Relaxed::default(),
            errands: Errands::default(),
        }
    }

    /// Waiters in the line that still wait.
    pub(super) fn live(&self) -> usize {
        // O14: a gauge, or a limit on it; the last waiter to leave needs its own subtraction only.
        (self.live.load(Ordering::Relaxed) % BORROWER) as usize
    }

    /// Borrowers that wait: one that waits for several slots has as many waiters in the line.
    pub(super) fn borrowers(&self) -> usize {
        // O14: as above.
        (self.live.load(Ordering::Relaxed) / BORROWER) as usize
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.get()
    }

    pub(super) fn next_deadline(&self) -> u64 {
        // O8
        self.next_deadline.load(Ordering::Acquire)
    }

    /// Counts a waiter that joins the line, and returns how many borrowers were there before.
    pub(super) fn arrives(&self, is_part: bool) -> usize {
        // O14: nothing is read or left to be seen here.
        (self.live.fetch_add(weight(is_part), Ordering::Relaxed) / BORROWER) as usize
    }

    pub(super) fn left(&self, is_part: bool) {
        // O14: the last waiter to leave, and the dispatch that it requests, see that all others
        // left.
        self.live.fetch_sub(weight(is_part), Ordering::AcqRel);
    }

    /// Counts a borrower whose waiters are parts, unless `most` wait already.
    pub(super) fn enter(&self, most: usize) -> bool {
        // O14: it counts itself first, as waiters do.
        let is_welcome =
            ((self.live.fetch_add(BORROWER, Ordering::Relaxed) / BORROWER) as usize) < most;
        if !is_welcome {
            self.leave();
        }
        is_welcome
    }

    /// It does not wait any more.
    pub(super) fn leave(&self) {
        // O14: no waiter leaves with it.
        self.live.fetch_sub(BORROWER, Ordering::Relaxed);
    }

    /// More waiters have left than wait, or none waits.
    pub(super) fn is_littered(&self) -> bool {
        let live = self.live();
        live == 0 || self.queued() > 2 * live + SLACK
    }
}
