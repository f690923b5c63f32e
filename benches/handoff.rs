//! Connections that pass from hand to hand: `cargo bench --bench handoff`, 45 s; `-- --quick` for
//! less.
//!
//! First a shortage: more borrowers than slots, all of them always busy or waiting. Threads hold a
//! connection for no time, for 20 µs of a core's time, or for a sleep of 200 µs, as if the server
//! were at work. Tasks do the same, with a yield in the middle, or nothing but a yield. The ideal
//! is as many workers as can get on at once, without any pool; it is measured right before, round
//! by round, and medians of the ratios are printed. Rounds in which the machine had no cores for
//! the ideal are left out of these. Without a hold throughput says little: it depends on how often
//! two threads run at once. A wait is the whole call of `get`; the index is Jain's, of turns, 1 if
//! all had as many.
//!
//! Then one connection is handed to a thread that has been parked for 40 µs, beside a bare `unpark`
//! of such a thread: from before the guard's drop until the other has the connection.

mod harness;
#[path = "handoff/parked.rs"]
mod parked;
#[path = "handoff/shortage.rs"]
mod shortage;

use harness::figures::conditions;
use harness::length::Length;

fn main() {
    let Some(length) = Length::asked() else { return };
    println!("{}\n\n{}", conditions(), shortage::measure(length));
    println!("{}\n{}", parked::measure(length), conditions());
}
