//! Everybody by turns, in another order each round, with a slice of the reference right before and
//! after each.

use super::options::Length;
use super::progress::Progress;
use std::time::{Duration, Instant};

/// How often everybody has a slice. On a busy machine slices have to be repeated, and take longer.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    pub most: usize,
    pub least: usize,
    /// No round begins later than this, once there were enough.
    pub within: Duration,
}

impl Rounds {
    /// So many, however long that takes.
    pub fn exactly(count: usize) -> Self {
        Self { most: count, least: count, within: Duration::MAX }
    }

    /// So many, or as many as there is time for.
    pub fn new(length: Length, most: usize, seconds: u64) -> Self {
        let full = Self { most, least: 9.min(most), within: Duration::from_secs(seconds) };
        length.pick(full, Self { most: 3, least: 2, within: Duration::from_secs(1) })
    }
}

/// What somebody takes part as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What nature asks for, or no pool at all: it competes with nobody.
    Floor,
    /// caliburn, as one would write it down first.
    Ours,
    /// caliburn in another way, shown beside.
    Variant,
    Peer,
}

/// Name and part of one who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    pub name: &'static str,
    pub kind: Kind,
}

/// One who takes part, and what is done in one of its slices.
pub struct Entrant<'a, T> {
    pub who: Who,
    slice: Box<dyn FnMut() -> T + 'a>,
}

impl<'a, T> Entrant<'a, T> {
    /// `slice` is called once in each round.
    pub fn new(kind: Kind, name: &'static str, slice: impl FnMut() -> T + 'a) -> Self {
        Self { who: Who { name, kind }, slice: Box::new(slice) }
    }
}

/// What came of a slice, and the reference at that time.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<T, R> {
    pub figure: T,
    pub before: R,
    pub after: R,
}

impl Outcome<f64, f64> {
    /// How many times the reference beside it this was.
    pub fn ratio(&self) -> f64 {
        self.figure / ((self.before + self.after) / 2.0)
    }
}

/// The outcomes of one who takes part, round by round.
pub struct Record<T, R> {
    pub who: Who,
    pub outcomes: Vec<Outcome<T, R>>,
}

impl<T, R> Record<T, R> {
    /// A figure of each outcome.
    pub fn of(&self, figure: impl Fn(&Outcome<T, R>) -> f64) -> Vec<f64> {
        self.outcomes.iter().map(figure).collect()
    }
}

/// Has all of them measured, round by round.
pub fn by_turns<T, R: Copy>(
    title: &str,
    rounds: Rounds,
    mut entrants: Vec<Entrant<'_, T>>,
    mut reference: impl FnMut() -> R,
) -> Vec<Record<T, R>> {
    let (count, begun) = (entrants.len(), Instant::now());
    let progress = Progress::new(rounds.most);
    progress.say(title.to_owned());
    let mut records: Vec<_> =
        entrants.iter().map(|entrant| Record { who: entrant.who, outcomes: Vec::new() }).collect();
    for round in 0..rounds.most {
        if round >= rounds.least && begun.elapsed() > rounds.within {
            break;
        }
        let mut before = reference();
        for turn in 0..count {
            // Neighbours change sides from round to round, and the first one changes too.
            let turn = if round % 2 == 0 { turn } else { count - 1 - turn };
            let place = (turn + round / 2) % count;
            let figure = (entrants[place].slice)();
            let after = reference();
            records[place].outcomes.push(Outcome { figure, before, after });
            before = after;
        }
        progress.advance(1);
    }
    records
}
