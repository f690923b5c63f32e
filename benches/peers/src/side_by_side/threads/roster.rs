//! Who takes part, of the pools for threads.

use super::{Bell, ForThreads, Get, Lines, Opool, Queue, R2d2, Reusables, Slab, Spins};
use super::{Stack, Thrifty, TryGet, Yielding};
use crate::side_by_side::contest::{Entrant, Kind};
use caliburn::Fairness;
use caliburn::health::{AgeEviction, PingOnBorrow};
use std::time::Duration;

/// What is measured about each pool, whatever its type.
pub trait Arena<'a> {
    /// What comes of one slice.
    type Figure;

    /// `make` builds a pool of so many objects.
    fn admit<P: ForThreads + 'a>(
        &self,
        kind: Kind,
        name: &'static str,
        make: impl Fn(usize) -> P + 'a,
    ) -> Entrant<'a, Self::Figure>;
}

/// Everybody, for loans that never wait.
pub fn everybody<'a, A: Arena<'a>>(arena: &A) -> Vec<Entrant<'a, A::Figure>> {
    let strategies = || (PingOnBorrow::default(), AgeEviction::default());
    vec![
        arena.admit(Kind::Ours, "caliburn", Get::new),
        arena.admit(Kind::Variant, "caliburn, try_get", TryGet::new),
        arena.admit(Kind::Variant, "caliburn, PingOnBorrow + AgeEviction", move |size| {
            Get::judged(size, strategies())
        }),
        arena.admit(Kind::Peer, "r2d2", R2d2::new),
        arena.admit(Kind::Peer, "regex-automata Pool", Thrifty::new),
        arena.admit(Kind::Peer, "crossbeam ArrayQueue", |size| Yielding(Queue::new(size))),
        arena.admit(Kind::Peer, "lockfree-object-pool Linear", Lines::new),
        arena.admit(Kind::Peer, "lockfree-object-pool SpinLock", Spins::new),
        arena.admit(Kind::Peer, "opool", Opool::new),
        arena.admit(Kind::Peer, "object-pool", Reusables::new),
        arena.admit(Kind::Peer, "sharded-slab", Slab::new),
        arena.admit(Kind::Peer, "Mutex<Vec>", |size| Yielding(Stack::new(size))),
    ]
}

/// Those that can wait.
pub fn parking<'a, A: Arena<'a>>(arena: &A) -> Vec<Entrant<'a, A::Figure>> {
    vec![
        arena.admit(Kind::Ours, "caliburn", Get::new),
        arena.admit(Kind::Peer, "r2d2", R2d2::new),
        arena.admit(Kind::Peer, "Mutex<Vec> + Condvar", Bell::new),
    ]
}

/// The same, caliburn's other fairness, and one that yields the processor until its turn comes.
pub fn patient<'a, A: Arena<'a>>(arena: &A) -> Vec<Entrant<'a, A::Figure>> {
    let mut entrants = parking(arena);
    let fairness = Fairness::BoundedBarging(Duration::from_millis(1));
    let barging = move |size| Get::with(size, |builder| builder.fairness(fairness));
    entrants.insert(1, arena.admit(Kind::Variant, "caliburn, BoundedBarging(1 ms)", barging));
    let yielding = |size| Yielding(Queue::new(size));
    entrants.push(arena.admit(Kind::Peer, "ArrayQueue, yielding", yielding));
    entrants
}
