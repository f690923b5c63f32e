//! Which pool may begin the next connect: a pure state machine.
//!
//! | a place is | when | who moves it on |
//! |---|---|---|
//! | free | there are fewer than the limit, and there is a turn | whoever settles the line |
//! | offered | the first in line was called | that pool takes it or leaves; it lapses |
//! | taken | a connect was asked for, or is under way | the connect's end, whatever comes of it |
//! | taken for long | for longer than connects usually take | the same |
//!
//! A pool stands in line once, however many connects it wants: with each place that it takes it
//! goes to the end. Places go to the first in line as soon as they are free, so that no pool which
//! comes later, or has just had one, can be quicker.
//!
//! What takes long does not count against the limit, up to the same number again: it is as good as
//! lost. If nothing else is under way, one more may always begin beside it: a probe. A connect that
//! takes long and has been overtaken, by one that was begun later and has succeeded, does not count
//! at all.
//!
//! The limits may be changed at any time. Places that were taken are kept, whatever the limit is
//! now; what they owe is told in the new measure. Offers beyond a lowered limit are taken back.

use super::turns::Turns;
use crate::clock::Tick;
use crate::pool::ground::backoff::TAKING_LONG;
use crate::pool::ground::usual_connect::UsualConnect;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A connect that lasts so many times as long as others takes long, if that is more than
/// [`TAKING_LONG`].
const GENEROUS: u32 = 4;

/// But no more than this longer.
const SPARE: Duration = Duration::from_secs(3);

/// A pool that does not come for so long when it was called loses the place, and its own in line.
pub(super) const LAPSE: Duration = Duration::from_millis(100);

/// What a governor limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    pub(crate) max_concurrent: usize,
    pub(crate) per_second: Option<f64>,
    /// If it is said.
    pub(crate) burst: Option<usize>,
}

impl Limits {
    pub(crate) const NONE: Self =
        Self { max_concurrent: usize::MAX, per_second: None, burst: None };

    /// So many may begin at once: if it is not said, a share of a second's turns.
    pub(crate) fn burst(&self) -> usize {
        const SHARE: f64 = 0.1;
        // What is greater than the greatest number is the greatest.
        let saved = self.per_second.map_or(1, |per_second| (per_second * SHARE) as usize);
        self.burst.unwrap_or(saved).max(1)
    }
}

/// See the [module](self). `C` is how a pool is called.
#[derive(Debug)]
pub(super) struct Line<C> {
    max: usize,
    turns: Turns,
    waiting: VecDeque<Waiting<C>>,
    /// By number, in the order in which they were given.
    places: BTreeMap<u64, Place>,
    last: u64,
    /// The latest that was taken and has succeeded.
    proven: u64,
    /// How long connects take.
    usual: UsualConnect,
}

/// A pool in line.
#[derive(Debug)]
struct Waiting<C> {
    pool: u64,
    caller: C,
}

#[derive(Debug)]
struct Place {
    /// When it was offered, or taken.
    since: Tick,
    /// Until when its turn is owed.
    owed: Tick,
    /// How long the connect may take.
    limit: Duration,
    offered_to: Option<u64>,
}

/// What is said to a pool that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The place of this number is its own until it is given back.
    Granted(u64),
    /// It will be called. If it has joined the line just now: how many stand ahead of it.
    Held(Option<usize>),
}

/// How many there are of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) taken: usize,
    pub(crate) long: usize,
    pub(crate) waiting: usize,
}

impl<C> Line<C> {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max: limits.max_concurrent,
            turns: Turns::new(limits.per_second, limits.burst()),
            waiting: VecDeque::new(),
            places: BTreeMap::new(),
            last: 0,
            proven: 0,
            usual: UsualConnect::default(),
        }
    }

    /// From now on there are other limits. What was given leave goes on and counts; offers beyond
    /// the limit are taken back, the latest first.
    pub(super) fn limit(&mut self, limits: &Limits, now: Tick) {
        self.max = limits.max_concurrent;
        let measure = self.turns.pace(limits.per_second, limits.burst(), now);
        self.places.values_mut().for_each(|place| place.owed = measure.of(place.owed));
        let beyond = self.places.len().saturating_sub(self.max);
        let offers = self.places.iter().rev().filter(|(_, place)| place.offered_to.is_some());
        for number in offers.map(|(number, _)| *number).take(beyond).collect::<Vec<_>>() {
            self.end(number, false, now);
        }
    }

    /// Offers what is free to the first in line; these are to be called.
    pub(super) fn settle(&mut self, now: Tick) -> Vec<C> {
        let mut called = Vec::new();
        if self.waiting.is_empty() {
            return called;
        }
        self.take_back(now, |place| place.offered_to.is_some() && now >= place.since + LAPSE);
        while self.has_room(now)
            && !self.waiting.is_empty()
            && self.turns.take(now)
            && let Some(Waiting { pool, caller }) = self.waiting.pop_front()
        {
            self.give(now, Duration::MAX, Some(pool));
            called.push(caller);
        }
        called
    }

    /// A place for a connect that may take up to `limit`. If there is none, `pool` stands in line.
    /// The line is [settled](Self::settle).
    pub(super) fn ask(
        &mut self,
        pool: u64,
        limit: Duration,
        now: Tick,
        caller: impl FnOnce() -> C,
    ) -> Answer {
        let mut places = self.places.iter_mut();
        if let Some((number, place)) = places.find(|(_, place)| place.offered_to == Some(pool)) {
            *place = Place { since: now, limit, offered_to: None, ..*place };
            return Answer::Granted(*number);
        }
        if self.waiting.iter().any(|one| one.pool == pool) {
            return Answer::Held(None);
        }
        if self.waiting.is_empty() && self.has_room(now) && self.turns.take(now) {
            return Answer::Granted(self.give(now, limit, None));
        }
        let ahead = self.waiting.len();
        self.waiting.push_back(Waiting { pool, caller: caller() });
        Answer::Held(Some(ahead))
    }

    /// A place though there be none.
    pub(super) fn take_anyway(&mut self, limit: Duration, now: Tick) -> u64 {
        self.turns.take_anyway(now);
        self.give(now, limit, None)
    }

    /// Its turn has just been taken.
    fn give(&mut self, now: Tick, limit: Duration, offered_to: Option<u64>) -> u64 {
        let owed = self.turns.owed(now);
        self.last += 1;
        self.places.insert(self.last, Place { since: now, owed, limit, offered_to });
        self.last
    }

    /// The pool wants none any more: neither one to come, nor one that it was offered. The caller,
    /// if it stood in line, is to be dropped once nothing is held.
    #[must_use]
    pub(super) fn leave(&mut self, pool: u64, now: Tick) -> Option<C> {
        self.take_back(now, |place| place.offered_to == Some(pool));
        let at = self.waiting.iter().position(|one| one.pool == pool)?;
        self.waiting.remove(at).map(|one| one.caller)
    }

    /// The pool has no use for a place just now: what it was offered goes to the next. Its own in
    /// line it keeps, as it may have use for one when it is called. Whether it stands there.
    pub(super) fn decline(&mut self, pool: u64, now: Tick) -> bool {
        self.take_back(now, |place| place.offered_to == Some(pool));
        self.waiting.iter().any(|one| one.pool == pool)
    }

    /// The connect is over. If it was never begun, its turn is another's.
    pub(super) fn end(&mut self, number: u64, was_begun: bool, now: Tick) {
        if let Some(Place { owed, .. }) = self.places.remove(&number)
            && !was_begun
        {
            self.turns.give_back(owed, now);
        }
    }

    /// Frees places that were not used.
    fn take_back(&mut self, now: Tick, which: impl Fn(&Place) -> bool) {
        let Self { places, turns, .. } = self;
        places.retain(|_, place| {
            let is_unused = which(place);
            if is_unused {
                turns.give_back(place.owed, now);
            }
            !is_unused
        });
    }

    /// The connect has succeeded, and its call `took` so long: what it waited for a thread says
    /// nothing about the server.
    pub(super) fn succeeded(&mut self, number: u64, took: Duration) {
        self.usual.note(took);
        self.proven = self.proven.max(number);
    }

    /// When a taken place will have been so for long.
    fn long_at(&self, place: &Place) -> Tick {
        let usual = self.usual.get().unwrap_or_default();
        let generous = usual.saturating_mul(GENEROUS).min(usual.saturating_add(SPARE));
        let patience = generous.max(TAKING_LONG);
        place.since + place.limit.min(patience)
    }

    fn is_long(&self, place: &Place, now: Tick) -> bool {
        place.offered_to.is_none() && self.long_at(place) <= now
    }

    fn has_room(&self, now: Tick) -> bool {
        if self.places.len() < self.max {
            return true;
        }
        let (mut counted, mut long) = (0usize, 0usize);
        for (number, place) in &self.places {
            if !self.is_long(place, now) {
                counted += 1;
            } else if *number > self.proven {
                long += 1;
            }
        }
        counted == 0 || counted + long.saturating_sub(self.max) < self.max
    }

    /// When the line is to be settled again, if nothing happens before. Never, if none waits.
    pub(super) fn next_look(&self, now: Tick) -> Tick {
        if self.waiting.is_empty() {
            return Tick::NEVER;
        }
        let lapses = self.places.values().filter(|place| place.offered_to.is_some());
        let lapse = lapses.map(|place| place.since + LAPSE).min();
        let free = if self.has_room(now) {
            Some(self.turns.next())
        } else {
            let taken = self.places.values().filter(|place| place.offered_to.is_none());
            taken.map(|place| self.long_at(place)).filter(|at| *at > now).min()
        };
        lapse.into_iter().chain(free).min().unwrap_or(Tick::NEVER)
    }

    pub(super) fn tally(&self, now: Tick) -> Tally {
        let taken = self.places.values().filter(|place| place.offered_to.is_none());
        let (long, counted): (Vec<_>, Vec<_>) = taken.partition(|place| self.is_long(place, now));
        let (taken, long) = (counted.len() + long.len(), long.len());
        Tally { taken, long, waiting: self.waiting.len() }
    }
}

#[cfg(test)]
mod tests;
