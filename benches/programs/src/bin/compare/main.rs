//! caliburn beside other pools and beside the physical floor, in one program, by turns: what a
//! round trip costs alone and among others, how long those wait who have to, what a burst of
//! callers sees.

mod crowded;
mod handoff;
mod shortage;
mod sizes;
mod sweep;
mod uncontended;

use caliburn_benches::burst::Burst;
use caliburn_benches::harness::*;
use caliburn_benches::pools::PACKAGES;
use clap::Parser;

/// caliburn beside r2d2, deadpool, bb8, mobc, sqlx's pool and object pools, and beside the physical
/// floor. Three minutes and a half; best on a machine that does nothing else. The README of this
/// package has the method.
#[derive(Parser)]
struct Options {
    /// Only these tables, as W1 or W1,W4: one thread or task alone (W1), two threads (W2), 16
    /// threads (W3), waits in a shortage (W4), hand-off to those who wait (W5), a burst of callers
    /// (W7), waits of 1,000 tasks (W8), pools of 8 to 4,096 slots (W9), borrowers while a sweep
    /// pings (W10). Memory, W6, is a program of its own
    #[arg(long, ignore_case = true, value_delimiter = ',', value_parser = KEYS)]
    only: Vec<String>,
    #[command(flatten)]
    length: Length,
}

const KEYS: [&str; 9] = ["W1", "W2", "W3", "W4", "W5", "W7", "W8", "W9", "W10"];

/// A table, and how it is made.
type Part = (&'static str, fn(Length) -> Sheet);

const PARTS: [Part; 13] = [
    ("W1", uncontended::threads),
    ("W1", uncontended::tasks),
    ("W2", crowded::two),
    ("W3", crowded::sixteen),
    ("W4", shortage::tasks),
    ("W4", shortage::working),
    ("W4", shortage::sleeping),
    ("W5", shortage::hand_overs),
    ("W5", handoff::parked),
    ("W7", burst),
    ("W8", shortage::many_tasks),
    ("W9", sizes::flat),
    ("W10", sweep::noticed),
];

fn burst(length: Length) -> Sheet {
    let burst = Burst { callers: 50, idle: 5, most: 20, connect: ms(20), query: ms(2) };
    let title = "50 callers, 5 connections open, connect 20 ms, query 2 ms";
    burst.measure("W7", title, Rounds::new(length, 11, 12))
}

fn report(sheets: &[Sheet]) {
    say!("{}; {}\n", versions(&PACKAGES), conditions());
    let (mut asked, mut found) = (0, Vec::new());
    for sheet in sheets {
        say!("{} {}:\n\n{sheet}\n", sheet.key, sheet.title);
        let (more, shortfalls) = sheet.shortfalls();
        asked += more;
        found.extend(shortfalls);
    }
    let reached = asked - found.len();
    say!("caliburn is at least as good as the best peer in {reached} of {asked} columns.");
    if !found.is_empty() {
        say!("It is not in these (caliburn's median, the best peer's):\n");
        found.iter().for_each(|line| say!("- {line}"));
    }
}

fn main() {
    let Options { only, length } = Options::parse();
    let wants = |key: &str| only.is_empty() || only.iter().any(|it| it.eq_ignore_ascii_case(key));
    let parts: Vec<_> = PARTS.into_iter().filter(|(key, _)| wants(key)).collect();
    let (sheets, took) = timed(|| parts.iter().map(|(_, part)| part(length)).collect::<Vec<_>>());
    report(&sheets);
    say!("\n{took:.0?} in all");
}
