//! Who takes part.

use super::borrowed::{Lines, Opool, Reusables, Slab, Spins, Thrifty};
use super::caliburn::{Get, Plain, TryGet, builder, full, pool, watched};
use super::containers::{Bell, Permits, Queue, Stack, Yielding};
use super::object::Boxes;
use super::r2d2::R2d2;
use super::{Bb8, Deadpool, ForTasks, ForThreads, GetAsync, Mobc, Sqlx};
use crate::harness::*;
use caliburn::Fairness;
use caliburn::health::{AgeEviction, PingOnBorrow};
use std::time::Duration;

/// What is measured about each pool for threads, whatever its type.
pub trait ThreadArena<'a> {
    /// What comes of one slice.
    type Figure;

    /// The slices of a pool of so many objects, which `make` builds.
    fn slices<P: ForThreads + 'a>(
        &self,
        make: impl Fn(usize) -> P + 'a,
    ) -> impl FnMut() -> Self::Figure + 'a;

    fn admit<P: ForThreads + 'a>(
        &self,
        kind: Kind,
        name: &'static str,
        make: impl Fn(usize) -> P + 'a,
    ) -> Entrant<'a, Self::Figure> {
        Entrant::new(kind, name, self.slices(make))
    }

    /// Everybody, for loans that never wait.
    fn everybody(&self) -> Vec<Entrant<'a, Self::Figure>> {
        let both = || (PingOnBorrow::default(), AgeEviction::default());
        let judged = move |size| Get(full(builder(size).health(both())));
        vec![
            self.admit(Kind::Ours, "caliburn", |size| Get(pool(size))),
            self.admit(Kind::Variant, "caliburn, try_get", |size| TryGet(pool(size))),
            self.admit(Kind::Variant, "caliburn, ObjectPool", Plain::new),
            self.admit(Kind::Variant, "caliburn, PingOnBorrow + AgeEviction", judged),
            self.admit(Kind::Variant, "caliburn, watched", |size| Get(full(watched(size)))),
            self.admit(Kind::Peer, "r2d2", R2d2::<Boxes>::new),
            self.admit(Kind::Peer, "regex-automata Pool", Thrifty::new),
            self.admit(Kind::Peer, "crossbeam ArrayQueue", Yielding::<Queue>::new),
            self.admit(Kind::Peer, "lockfree-object-pool Linear", Lines::new),
            self.admit(Kind::Peer, "lockfree-object-pool SpinLock", Spins::new),
            self.admit(Kind::Peer, "opool", Opool::new),
            self.admit(Kind::Peer, "object-pool", Reusables::new),
            self.admit(Kind::Peer, "sharded-slab", Slab::new),
            self.admit(Kind::Peer, "Mutex<Vec>", Yielding::<Stack>::new),
        ]
    }

    /// Those that can wait.
    fn parking(&self) -> Vec<Entrant<'a, Self::Figure>> {
        vec![
            self.admit(Kind::Ours, "caliburn", |size| Get(pool(size))),
            self.admit(Kind::Peer, "r2d2", R2d2::<Boxes>::new),
            self.admit(Kind::Peer, "Mutex<Vec> + Condvar", Bell::new),
        ]
    }

    /// The same, caliburn's other fairness, and one that yields the processor until its turn comes.
    fn patient(&self) -> Vec<Entrant<'a, Self::Figure>> {
        let mut entrants = self.parking();
        let fairness = Fairness::BoundedBarging(Duration::from_millis(1));
        let barging = move |size| Get(full(builder(size).fairness(fairness)));
        entrants.insert(1, self.admit(Kind::Variant, "caliburn, BoundedBarging(1 ms)", barging));
        entrants.push(self.admit(Kind::Peer, "ArrayQueue, yielding", Yielding::<Queue>::new));
        entrants
    }
}

/// The same for tasks.
pub trait TaskArena<'a> {
    type Figure;

    /// The slices of such a pool, which it builds.
    fn slices<P: ForTasks>(&self) -> impl FnMut() -> Self::Figure + 'a;

    fn everybody(&self) -> Vec<Entrant<'a, Self::Figure>> {
        vec![
            Entrant::new(Kind::Ours, "caliburn", self.slices::<GetAsync<false>>()),
            Entrant::new(Kind::Peer, "deadpool", self.slices::<Deadpool<Boxes>>()),
            Entrant::new(Kind::Peer, "bb8", self.slices::<Bb8<Boxes>>()),
            Entrant::new(Kind::Peer, "mobc", self.slices::<Mobc>()),
            Entrant::new(Kind::Peer, "sqlx", self.slices::<Sqlx>()),
        ]
    }

    /// The same, and what one writes by hand who needs a queue and no more.
    fn everybody_and_by_hand(&self) -> Vec<Entrant<'a, Self::Figure>> {
        let mut entrants = self.everybody();
        let by_hand = self.slices::<Permits>();
        entrants.push(Entrant::new(Kind::Peer, "Semaphore + ArrayQueue", by_hand));
        entrants
    }
}
