//! Events on their way to observers, and the latest of them.
//!
//! A thread that notes an event puts it into a queue of fixed size: it takes no lock, does not
//! wait, and runs no foreign code except the destructor of an error that finds no place. A visit to
//! the pool starts a thread of the crate's own that calls the observers, which are foreign code and
//! may block. A pool has at most one such thread: only visits start one, visits come one at a time,
//! and the next visit starts one only after this thread has reset its flag, as its last step.

use super::caught::{Foreign, let_go};
use super::threads;
use crate::clock::Tick;
use crate::no_unwind::no_unwind;
use crate::observe::{Event, EventKind, Observer};
use crate::sync::{Arc, Relaxed};
use crossbeam_queue::ArrayQueue;
use std::fmt;

/// Events that may wait for their observers.
const OUTBOX: usize = 4096;
/// When so many do, a visit is called for at once.
const MANY: usize = OUTBOX / 4;

/// See the [module](self).
pub(crate) struct Journal {
    begun: Tick,
    observers: Foreign<Vec<Box<dyn Observer>>>,
    /// What the observers have not been told. `None`: there are none.
    outbox: Option<ArrayQueue<Event>>,
    /// How many events found no place there.
    lost: Relaxed<u64>,
    /// A thread tells the observers.
    is_telling: Relaxed<bool>,
    /// The latest events. `None`: they are not kept.
    recent: Option<ArrayQueue<Event>>,
}

/// When observers are to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// There are none.
    None,
    Soon,
    Now,
}

impl Journal {
    /// Of a pool that is built at `begun`, for these observers; the latest `kept` events stay.
    pub(crate) fn new(begun: Tick, observers: Vec<Box<dyn Observer>>, kept: usize) -> Self {
        Self {
            begun,
            outbox: (!observers.is_empty()).then(|| ArrayQueue::new(OUTBOX)),
            observers: Foreign::new(observers),
            lost: Relaxed::<u64>::new(0),
            is_telling: Relaxed::<bool>::new(false),
            recent: (kept > 0).then(|| ArrayQueue::new(kept)),
        }
    }

    /// Keeps an event, and says when observers are to be told.
    pub(crate) fn put(&self, now: Tick, kind: EventKind) -> Urgency {
        let event = Event { at: now.since(self.begun), kind };
        if let Some(recent) = &self.recent {
            let_go(recent.force_push(event.clone()));
        }
        let Some(outbox) = &self.outbox else { return Urgency::None };
        if let Err(event) = outbox.push(event) {
            self.lost.add(1);
            let_go(event);
        }
        let is_urgent = outbox.len() >= MANY && !self.is_telling.get();
        if is_urgent { Urgency::Now } else { Urgency::Soon }
    }

    /// The latest events, the last one last.
    pub(crate) fn recent(&self) -> Vec<Event> {
        let Some(recent) = &self.recent else { return Vec::new() };
        let mut events: Vec<_> = std::iter::from_fn(|| recent.pop()).collect();
        for event in &events {
            let_go(recent.force_push(event.clone()));
        }
        // Of two that look at once each puts back what it has taken.
        events.sort_by_key(|event| event.at);
        events
    }

    /// Whether observers know all.
    pub(crate) fn is_told(&self) -> bool {
        self.outbox.as_ref().is_none_or(ArrayQueue::is_empty)
    }

    /// Tells the observers, on this thread.
    pub(crate) fn tell_here(&self) {
        let Some(outbox) = &self.outbox else { return };
        while let Some(event) = outbox.pop() {
            for observer in self.observers.iter() {
                no_unwind(|| observer.on_event(&event));
            }
            let_go(event);
            let lost = self.lost.replace(0);
            if lost > 0 {
                for observer in self.observers.iter() {
                    no_unwind(|| observer.on_lost(lost));
                }
            }
        }
    }
}

/// Has a thread tell the observers, unless one is at it or there is nothing to tell. For visits,
/// of which there is one at a time.
pub(crate) fn tell(journal: &Arc<Journal>) {
    if journal.is_told() || journal.is_telling.get() {
        return;
    }
    journal.is_telling.set(true);
    let told = Arc::clone(journal);
    let is_begun = threads::submit(Box::new(move || {
        told.tell_here();
        told.is_telling.set(false);
    }));
    if !is_begun {
        // The next visit tries again.
        journal.is_telling.set(false);
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("observers", &self.observers.len()).finish_non_exhaustive()
    }
}
