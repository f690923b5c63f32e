//! Who takes part, of the pools for tasks.

use super::{Bb8, Deadpool, ForTasks, GetAsync, Mobc, Sqlx};
use crate::side_by_side::contest::{Entrant, Kind};

/// What is measured about each pool, whatever its type.
pub trait Arena<'a> {
    /// What comes of one slice.
    type Figure;

    /// Builds such a pool and has it take part.
    fn admit<P: ForTasks>(&self, kind: Kind, name: &'static str) -> Entrant<'a, Self::Figure>;
}

/// Everybody.
pub fn everybody<'a, A: Arena<'a>>(arena: &A) -> Vec<Entrant<'a, A::Figure>> {
    vec![
        arena.admit::<GetAsync>(Kind::Ours, "caliburn"),
        arena.admit::<Deadpool>(Kind::Peer, "deadpool"),
        arena.admit::<Bb8>(Kind::Peer, "bb8"),
        arena.admit::<Mobc>(Kind::Peer, "mobc"),
        arena.admit::<Sqlx>(Kind::Peer, "sqlx"),
    ]
}
