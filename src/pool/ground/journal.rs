//! Events on their way to observers, and the latest of them.
//!
//! A thread that notes an event puts it into a queue of fixed size: it takes no lock and runs no
//! foreign code. (A thread that the system deschedules in the middle of that may hold others up for
//! as long; without observers there is no queue.) A visit to the pool starts a thread of the
//! crate's own that calls the observers, which are foreign code and may block.
//!
//! *A visit finds that a thread is at it, which has just found the queue empty.* The pool is not at
//! rest until the queue is empty, so there is another visit. When a pool ends, its last events are
//! reported by a thread that waits for the one at it.

use super::caught::Foreign;
use super::threads;
use crate::clock::Tick;
use crate::no_unwind::no_unwind;
use crate::observe::{Event, EventKind, Observer};
use crate::sync::{Arc, Mutex, PoisonError, Relaxed, forks};
use crossbeam_queue::ArrayQueue;
use std::fmt;

/// Events that may wait for their observers.
const OUTBOX: usize = 1024;
/// When so many do, a visit is called for at once.
const MANY: usize = OUTBOX / 4;
/// The most events that are kept.
const MOST_KEPT: usize = 1 << 16;

/// See the [module](self).
pub(crate) struct Journal {
    begun: Tick,
    /// The process, by the number of forks before it.
    born_in: u64,
    observers: Foreign<Vec<Box<dyn Observer>>>,
    /// What the observers have not been told. `None`: there are none.
    outbox: Option<ArrayQueue<Event>>,
    /// How many events found no place there.
    lost: Relaxed<u64>,
    /// A thread tells the observers, or is about to.
    is_telling: Relaxed<bool>,
    /// Held by the thread that tells them.
    turn: Mutex<()>,
    recent: Recent,
}

/// The latest events: a place for each, written in turn. Whoever finds a place taken for a moment
/// goes on to the next.
struct Recent {
    places: Box<[Mutex<Place>]>,
    next: Relaxed<usize>,
}

/// An event, numbered.
type Place = Option<(usize, Event)>;

impl Recent {
    fn put(&self, event: Event) {
        for _ in 0..self.places.len() {
            let number = self.next.add(1);
            if let Ok(mut place) = self.places[number % self.places.len()].try_lock() {
                *place = Some((number, event));
                return;
            }
        }
    }

    fn all(&self) -> Vec<Event> {
        let places = self.places.iter();
        let read =
            |place: &Mutex<Place>| place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all: Vec<_> = places.filter_map(read).collect();
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, event)| event).collect()
    }
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
        let places = (0..kept.min(MOST_KEPT)).map(|_| Mutex::default()).collect();
        Self {
            begun,
            born_in: forks(),
            outbox: (!observers.is_empty()).then(|| ArrayQueue::new(OUTBOX)),
            observers: Foreign::new(observers),
            lost: Relaxed::<u64>::new(0),
            is_telling: Relaxed::<bool>::new(false),
            turn: Mutex::default(),
            recent: Recent { places, next: Relaxed::<usize>::new(0) },
        }
    }

    /// In a child of the process that has built the pool, a thread that was in the middle of
    /// something is not there to end it.
    fn is_inherited(&self) -> bool {
        self.born_in != forks()
    }

    /// Keeps an event, and says when observers are to be told.
    pub(crate) fn put(&self, now: Tick, kind: EventKind, is_reserved: bool) -> Urgency {
        if self.is_inherited() {
            return Urgency::None;
        }
        let event = Event { at: now.since(self.begun), kind, is_reserved };
        let Some(outbox) = &self.outbox else {
            self.recent.put(event);
            return Urgency::None;
        };
        if !self.recent.places.is_empty() {
            self.recent.put(event.clone());
        }
        if outbox.push(event).is_err() {
            self.lost.add(1);
        }
        let is_urgent = outbox.len() >= MANY && !self.is_telling.get();
        if is_urgent { Urgency::Now } else { Urgency::Soon }
    }

    /// The latest events, the last one last.
    pub(crate) fn recent(&self) -> Vec<Event> {
        if self.is_inherited() { Vec::new() } else { self.recent.all() }
    }

    /// Whether observers know all.
    pub(crate) fn is_told(&self) -> bool {
        self.outbox.as_ref().is_none_or(ArrayQueue::is_empty)
    }

    /// Tells the observers on this thread, unless another is at it.
    pub(crate) fn tell_here(&self) {
        if !self.is_told()
            && let Ok(_turn) = self.turn.try_lock()
        {
            self.tell_all();
        }
    }

    fn tell_all(&self) {
        let Some(outbox) = &self.outbox else { return };
        while let Some(event) = outbox.pop() {
            for observer in self.observers.iter() {
                no_unwind(|| observer.on_event(&event));
            }
            let lost = self.lost.replace(0);
            if lost > 0 {
                for observer in self.observers.iter() {
                    no_unwind(|| observer.on_lost(lost));
                }
            }
        }
    }
}

/// Has a thread tell the observers, unless one is at it or there is nothing to tell.
pub(crate) fn tell(journal: &Arc<Journal>) {
    if journal.is_told() || !journal.is_telling.exchange(false, true) {
        return;
    }
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

/// Has a thread tell the observers what is left, after the one that is at it. There will be no
/// visit any more.
pub(crate) fn tell_the_last(journal: &Arc<Journal>) {
    if journal.is_told() || journal.is_inherited() {
        return;
    }
    let told = Arc::clone(journal);
    threads::submit(Box::new(move || {
        let _turn = told.turn.lock().unwrap_or_else(PoisonError::into_inner);
        told.tell_all();
    }));
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("observers", &self.observers.len()).finish_non_exhaustive()
    }
}
