//! The waiting room: what waiters share. `waiters` has the dispatch.

use super::bitmap::Newcomers;
use super::line::Line;
use super::requests::Requests;
use super::standing::Standing;
use super::waiter::{NEVER, Terms, Waiter};
use crate::sync::{Arc, AtomicU64, AtomicUsize, Mutex, Ordering, Relaxed, SegQueue};
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
    /// What is known of each class, if there are several.
    pub(super) shares: Box<[Share]>,
    /// Slots that were granted and not taken.
    pub(super) granted: Relaxed<usize>,
    /// Waiters in the line, with those that have left, as the dispatcher left it.
    pub(super) queued: Relaxed<usize>,
    /// No later than the earliest deadline in the line, and the first moment a grant lapses. The
    /// dispatcher alone writes it.
    next_deadline: AtomicU64,
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

/// What is known of one class of waiters.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// Borrowers that still wait.
    borrowers: AtomicUsize,
    /// Slots that were handed to them.
    pub(super) served: Relaxed<u64>,
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
    pub(super) line: Line,
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

impl Queue {
    fn new(weights: &[u32]) -> Self {
        Self {
            line: Line::new(weights),
            earliest: NEVER,
            granted: Vec::new(),
            lapses: Lapses { due: NEVER, hurried_until: 0 },
            must_look_behind: false,
            flags: None,
        }
    }

    /// Puts a waiter back where its place is.
    pub(super) fn stand(&mut self, waiter: Standing) {
        self.earliest = self.earliest.min(waiter.terms.deadline);
        self.line.stand(waiter);
    }
}

impl WaitingRoom {
    /// A room for as many classes as there are `weights`.
    pub(super) fn new(weights: &[u32]) -> Self {
        let classes = if weights.len() > 1 { weights.len() } else { 0 };
        Self {
            inbox: SegQueue::new(),
            crowd: SegQueue::new(),
            requests: Requests::new(),
            queue: Mutex::new(Queue::new(weights)),
            live: AtomicU64::new(0),
            shares: (0..classes).map(|_| Share::default()).collect(),
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

    /// The same of a class.
    pub(super) fn borrowers_of(&self, class: usize) -> usize {
        let of = |own: &Share| own.borrowers.load(Ordering::Relaxed); // O14
        self.shares.get(class).map_or_else(|| self.borrowers(), of)
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.get()
    }

    pub(super) fn next_deadline(&self) -> u64 {
        // O8
        self.next_deadline.load(Ordering::Acquire)
    }

    /// For the dispatcher alone.
    pub(super) fn note_next_deadline(&self, at: u64) {
        // O8: before the pool above is told, which then looks when its next visit is.
        self.next_deadline.store(at, Ordering::Release);
    }

    /// Counts a waiter that joins the line. Returns how many borrowers of its class waited before.
    pub(super) fn came(&self, terms: &Terms) -> usize {
        // O14: nothing is read or left to be seen here.
        let before = self.live.fetch_add(weight(terms.is_part), Ordering::Relaxed);
        match self.share_of(terms) {
            Some(own) => own.borrowers.fetch_add(1, Ordering::Relaxed), // O14
            None => (before / BORROWER) as usize,
        }
    }

    /// Counts a waiter off.
    pub(super) fn left(&self, terms: &Terms) {
        if let Some(own) = self.share_of(terms) {
            // O14: a gauge, and a limit.
            own.borrowers.fetch_sub(1, Ordering::Relaxed);
        }
        // O14: the last waiter to leave, and the dispatch that it requests, see that all others
        // left.
        self.live.fetch_sub(weight(terms.is_part), Ordering::AcqRel);
    }

    /// Where the waiter's borrower is counted, unless the waiter is a part or there is one class
    /// alone.
    fn share_of(&self, terms: &Terms) -> Option<&Share> {
        self.shares.get(usize::from(terms.class)).filter(|_| !terms.is_part)
    }

    /// Counts an ordinary borrower whose waiters are parts, unless `most` wait already.
    pub(super) fn enter(&self, most: usize) -> bool {
        // O14: it counts itself first, as waiters do.
        let before = (self.live.fetch_add(BORROWER, Ordering::Relaxed) / BORROWER) as usize;
        let ordinary = self.shares.first();
        // O14
        let own = ordinary.map(|own| own.borrowers.fetch_add(1, Ordering::Relaxed));
        let is_welcome = own.unwrap_or(before) < most;
        if !is_welcome {
            self.leave();
        }
        is_welcome
    }

    /// It does not wait any more.
    pub(super) fn leave(&self) {
        if let Some(own) = self.shares.first() {
            own.borrowers.fetch_sub(1, Ordering::Relaxed); // O14
        }
        // O14: no waiter leaves with it.
        self.live.fetch_sub(BORROWER, Ordering::Relaxed);
    }

    /// Counts a slot that one of the class was handed at its turn. For the dispatcher alone.
    pub(super) fn served(&self, class: usize) {
        if let Some(own) = self.shares.get(class) {
            own.served.add(1);
        }
    }

    /// Of those in the line, `queued` in all, more have left than wait, or none waits.
    pub(super) fn is_littered(&self, queued: usize) -> bool {
        let live = self.live();
        live == 0 || queued > 2 * live + SLACK
    }
}
