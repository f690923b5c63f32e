//! Everybody by turns, in another order each round, with a slice of the reference right before and
//! after each.

use super::effort::Rounds;
use std::io::{IsTerminal, Write};
use std::time::Instant;

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

/// The outcomes of one who takes part, round by round.
pub struct Record<T, R> {
    pub who: Who,
    pub outcomes: Vec<Outcome<T, R>>,
}

/// Has all of them measured, round by round.
pub fn by_turns<T, R: Copy>(
    title: &str,
    rounds: Rounds,
    mut entrants: Vec<Entrant<'_, T>>,
    mut reference: impl FnMut() -> R,
) -> Vec<Record<T, R>> {
    let (count, begun) = (entrants.len(), Instant::now());
    let mut records: Vec<_> =
        entrants.iter().map(|entrant| Record { who: entrant.who, outcomes: Vec::new() }).collect();
    let mut done = 0;
    for round in 0..rounds.most {
        if round >= rounds.least && begun.elapsed() > rounds.within {
            break;
        }
        progress(title, round, rounds.most);
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
        done = round + 1;
    }
    eprintln!("{}{title}: {done} rounds, {:.1?}    ", start_of_line(), begun.elapsed());
    records
}

/// On a terminal there is one line that changes.
fn progress(title: &str, round: usize, rounds: usize) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        let _ = write!(out, "\r{title}: round {} of {rounds}", round + 1);
        let _ = out.flush();
    }
}

fn start_of_line() -> &'static str {
    if std::io::stderr().is_terminal() { "\r" } else { "" }
}
