//! What all programs measure with. They take all of it: `use harness::*`.

mod callers;
mod contest;
mod cores;
mod figures;
mod floor;
mod histogram;
mod late;
mod near;
mod options;
mod progress;
mod sheet;
mod slices;
mod table;
mod turns;

pub use crate::say;
pub use callers::{Face, Got};
pub use comfy_table::Table;
pub use contest::{Entrant, Kind, Outcome, Record, Rounds, Who, by_turns};
pub use cores::keep_to_core;
pub use figures::{Spread, conditions, cores, figure, jain, millis, ms, spin, timed, versions};
pub use floor::Line;
pub use histogram::Histogram;
pub use late::late;
pub use near::Distance;
pub use options::Length;
pub use progress::Progress;
pub use sheet::{Better, Column, JAIN, Measure, RATIO, Sheet, Show};
pub use slices::{Crowd, alone, crowd, trips_for};
pub use table::{Report, table};
pub use turns::{Times, Turns, on_tasks, on_threads, workers};
