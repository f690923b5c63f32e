//! Who takes part.

use super::borrowed::{Lines, Opool, Reusables, Slab, Spins, Thrifty};
use super::caliburn::{Get, Plain, TryGet, pool};
use super::containers::{Bell, Queue, Stack, Yielding};
use super::object::Boxes;
use super::r2d2::R2d2;
use super::{Bb8, Deadpool, ForTasks, ForThreads, GetAsync, Mobc, Sqlx};
use crate::harness::contest::{Entrant, Kind};
use caliburn::Fairness;
use caliburn::health::{AgeEviction, PingOnBorrow};
use std::time::Duration;

/// What is measured about each pool for threads, whatever its type.
pub trait ThreadArena<'a> {
    /// What comes of one slice.
    type Figure;

    /// `make` builds a pool of so many objects.
    fn admit<P: ForThreads + 'a>(
        &self,
        kind: Kind,
        name: &'static str,
        make: impl Fn(usize) -> P + 'a,
    ) -> Entrant<'a, Self::Figure>;

    /// Everybody, for loans that never wait.
    fn everybody(&self) -> Vec<Entrant<'a, Self::Figure>> {
        let judged = |size| {
            Get(pool(size, (PingOnBorrow::default(), AgeEviction::default()), |builder| builder))
        };
        vec![
            self.admit(Kind::Ours, "caliburn", get),
            self.admit(Kind::Variant, "caliburn, try_get", |size| {
                TryGet(pool(size, (), |builder| builder))
            }),
            self.admit(Kind::Variant, "caliburn, ObjectPool", Plain::new),
            self.admit(Kind::Variant, "caliburn, PingOnBorrow + AgeEviction", judged),
            self.admit(Kind::Peer, "r2d2", R2d2::<Boxes>::new),
            self.admit(Kind::Peer, "regex-automata Pool", Thrifty::new),
            self.admit(Kind::Peer, "crossbeam ArrayQueue", |size| Yielding(Queue::new(size))),
            self.admit(Kind::Peer, "lockfree-object-pool Linear", Lines::new),
            self.admit(Kind::Peer, "lockfree-object-pool SpinLock", Spins::new),
            self.admit(Kind::Peer, "opool", Opool::new),
            self.admit(Kind::Peer, "object-pool", Reusables::new),
            self.admit(Kind::Peer, "sharded-slab", Slab::new),
            self.admit(Kind::Peer, "Mutex<Vec>", |size| Yielding(Stack::new(size))),
        ]
    }

    /// Those that can wait.
    fn parking(&self) -> Vec<Entrant<'a, Self::Figure>> {
        vec![
            self.admit(Kind::Ours, "caliburn", get),
            self.admit(Kind::Peer, "r2d2", R2d2::<Boxes>::new),
            self.admit(Kind::Peer, "Mutex<Vec> + Condvar", Bell::new),
        ]
    }

    /// The same, caliburn's other fairness, and one that yields the processor until its turn comes.
    fn patient(&self) -> Vec<Entrant<'a, Self::Figure>> {
        let mut entrants = self.parking();
        let fairness = Fairness::BoundedBarging(Duration::from_millis(1));
        let barging = move |size| Get(pool(size, (), |builder| builder.fairness(fairness)));
        entrants.insert(1, self.admit(Kind::Variant, "caliburn, BoundedBarging(1 ms)", barging));
        let yielding = |size| Yielding(Queue::new(size));
        entrants.push(self.admit(Kind::Peer, "ArrayQueue, yielding", yielding));
        entrants
    }
}

fn get(size: usize) -> Get {
    Get(pool(size, (), |builder| builder))
}

/// The same for tasks.
pub trait TaskArena<'a> {
    type Figure;

    /// Builds such a pool and has it take part.
    fn admit<P: ForTasks>(&self, kind: Kind, name: &'static str) -> Entrant<'a, Self::Figure>;

    fn everybody(&self) -> Vec<Entrant<'a, Self::Figure>> {
        vec![
            self.admit::<GetAsync<false>>(Kind::Ours, "caliburn"),
            self.admit::<Deadpool<Boxes>>(Kind::Peer, "deadpool"),
            self.admit::<Bb8<Boxes>>(Kind::Peer, "bb8"),
            self.admit::<Mobc>(Kind::Peer, "mobc"),
            self.admit::<Sqlx>(Kind::Peer, "sqlx"),
        ]
    }
}
