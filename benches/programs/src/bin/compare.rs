//! caliburn beside other pools and beside the physical floor, in one program, by turns: what a
//! round trip costs alone and among others, how long those wait who have to, what a burst of
//! callers sees.

use caliburn_benches::burst::Burst;
use caliburn_benches::compare::{crowded, handoff, shortage, sizes, sweep, uncontended};
use caliburn_benches::harness::*;
use caliburn_benches::pools::PACKAGES;

const HELP: &str = "\
caliburn beside r2d2, deadpool, bb8, mobc, sqlx's pool and object pools, and beside the physical
floor. Three minutes and a half; best on a machine that does nothing else. The README of this
package has the method.

  --only W1        only these tables, as W1 or W1,W4:
                     W1  one thread or task alone            W7   a burst of callers
                     W2  two threads                         W8   waits of 1,000 tasks
                     W3  16 threads                          W9   pools of 8 to 4,096 slots
                     W4  waits in a shortage                 W10  borrowers while a sweep pings
                     W5  hand-off to those who wait
                   (memory, W6, is a program of its own: --bin memory)
  --quick          some 20 seconds for all, to see that it runs
  --help           this text
";

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
        say!("{} {}:\n\n{sheet}", sheet.key, sheet.title);
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
    let mut options = Options::read(HELP);
    let length = options.length();
    let only = options.value("--only").map(|only: String| only.to_uppercase());
    options.finish();
    let wants =
        |key: &str| only.as_ref().is_none_or(|only| only.split(',').any(|word| word == key));
    let parts: Vec<_> = PARTS.into_iter().filter(|(key, _)| wants(key)).collect();
    if parts.is_empty() {
        complain(&"--only names no table");
    }
    let (sheets, took) = timed(|| parts.iter().map(|(_, part)| part(length)).collect::<Vec<_>>());
    report(&sheets);
    say!("\n{took:.0?} in all");
}
