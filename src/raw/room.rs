//! The waiting room: what those who wait share. `waiters` has the dispatch.

use super::bitmap::Newcomers;
use super::requests::Requests;
use super::waiter::{NEVER, Waiter};
use crate::sync::{Arc, AtomicU64, AtomicUsize, Mutex, Ordering, Relaxed, SegQueue};
use std::collections::VecDeque;

/// The line tolerates this many waiters that have left beyond the number of those that wait.
const SLACK: usize = 8;

/// The room itself, on cache lines of its own: waiters write here, and must not disturb threads
/// that need not wait.
#[repr(align(128))]
pub(super) struct WaitingRoom {
    pub(super) inbox: SegQueue<Arc<Waiter>>,
    /// How many requests for a dispatch are unanswered.
    pub(super) requests: Requests,
    /// What only the dispatcher touches. The lock is never contended: `requests` elects one.
    pub(super) queue: Mutex<Queue>,
    /// Waiters in the line that still wait.
    pub(super) live: AtomicUsize,
    /// Waiters in the line, with those that have left, as the dispatcher left it.
    pub(super) queued: Relaxed<usize>,
    /// No later than the earliest deadline in the line.
    pub(super) next_deadline: AtomicU64,
    /// Deadlines up to here are to expire; zero: none. O4 orders it: it rides on a request.
    pub(super) expire_to: Relaxed<u64>,
    /// All waiters are to fail. O4 orders it: it rides on a request.
    pub(super) fail_all: Relaxed<bool>,
}

/// What the dispatcher owns.
pub(super) struct Queue {
    pub(super) line: VecDeque<Arc<Waiter>>,
    /// The waiters flag is up, and the hand-off flag if newcomers must wait. `None`: both are down.
    pub(super) flags: Option<Newcomers>,
}

impl WaitingRoom {
    pub(super) fn new() -> Self {
        Self {
            inbox: SegQueue::new(),
            requests: Requests::new(),
            queue: Mutex::new(Queue { line: VecDeque::new(), flags: None }),
            live: AtomicUsize::new(0),
            queued: Relaxed::default(),
            next_deadline: AtomicU64::new(NEVER),
            expire_to: Relaxed::default(),
            fail_all: Relaxed::default(),
        }
    }

    pub(super) fn live(&self) -> usize {
        // O14: a gauge, or a limit on it; the last waiter to leave needs its own subtraction only.
        self.live.load(Ordering::Relaxed)
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.get()
    }

    pub(super) fn next_deadline(&self) -> u64 {
        // O8
        self.next_deadline.load(Ordering::Acquire)
    }

    pub(super) fn left(&self) {
        // O14: the last waiter to leave, and the dispatch that it requests, see that all others left.
        self.live.fetch_sub(1, Ordering::AcqRel);
    }

    /// More waiters have left than wait, or none waits.
    pub(super) fn is_littered(&self) -> bool {
        let live = self.live();
        live == 0 || self.queued() > 2 * live + SLACK
    }
}
