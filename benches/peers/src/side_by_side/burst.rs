//! W7: 50 callers at once, five connections open.

use super::contest::{Entrant, Kind, by_turns};
use super::effort::Effort;
use super::sheet::{Better, Sheet, Show};
use crate::driver::Books;
use crate::pools::{Limits, Which};
use crate::sleepy::Sleepy;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::Barrier;

const CALLERS: usize = 50;
const OPEN: usize = 5;
const MOST: usize = 20;
const CONNECT: Duration = Duration::from_millis(20);
const QUERY: Duration = Duration::from_millis(2);

#[derive(Clone, Copy)]
struct Burst {
    served: Duration,
    /// Connects begun since the first caller came, and how many of those until the last was served.
    begun: usize,
    begun_in_time: usize,
}

fn burst(which: Which, runtime: &Runtime) -> Burst {
    let books = Books::default();
    let driver = Sleepy { connect: CONNECT, query: QUERY, books: books.clone() };
    let limits = Limits { max: MOST, idle: OPEN, get: Duration::from_secs(30), check: None };
    let pool = runtime.block_on(which.build(limits, driver.clone(), driver)).expect("it connects");
    rest(&books);
    let before = books.begun();
    let start = Arc::new(Barrier::new(CALLERS));
    let (tell, told) = mpsc::channel();
    for _ in 0..CALLERS {
        let (pool, start, tell) = (Arc::clone(&pool), Arc::clone(&start), tell.clone());
        let books = books.clone();
        which.spawn(runtime.handle(), async move {
            start.wait().await;
            let came = Instant::now();
            pool.turn(&|result| result.expect("nobody waits for long")).await.expect("a query");
            let _ = tell.send((came, Instant::now(), books.begun()));
        });
    }
    drop(tell);
    let calls: Vec<_> = told.iter().collect();
    assert_eq!(calls.len(), CALLERS, "a caller of {which} panicked");
    rest(&books);
    let came = calls.iter().map(|call| call.0).min().expect("callers");
    let (_, served, begun) = *calls.iter().max_by_key(|call| call.1).expect("callers");
    Burst { served: served - came, begun: books.begun() - before, begun_in_time: begun - before }
}

/// Until no connect has been under way for a while, or long enough anyway.
fn rest(books: &Books) {
    let begun = Instant::now();
    let mut quiet = 0;
    while quiet < 3 && begun.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(10));
        quiet = if books.under_way() == 0 { quiet + 1 } else { 0 };
    }
}

/// How soon all of them were served, and how many connections that took.
pub fn served(effort: Effort) -> Sheet {
    let runtime = Runtime::new().expect("a runtime");
    let entrants = [
        (Kind::Ours, "caliburn, threads", Which::CaliburnThreads),
        (Kind::Ours, "caliburn, tasks", Which::CaliburnTasks),
        (Kind::Peer, "r2d2", Which::R2d2),
        (Kind::Peer, "deadpool", Which::Deadpool),
        (Kind::Peer, "bb8", Which::Bb8),
    ];
    let entrants = entrants.map(|(kind, name, which)| {
        let runtime = &runtime;
        Entrant::new(kind, name, move || burst(which, runtime))
    });
    // The five alone could serve all: that is no measurement.
    let ideal = QUERY.as_secs_f64() * CALLERS.div_ceil(OPEN) as f64;
    let records = by_turns("W7", effort.rounds(11, 12), entrants.into(), || ideal);
    let mut sheet = Sheet::new("W7", "50 callers, 5 connections open, connect 20 ms, query 2 ms")
        .column("all served, ms", Better::Less, Show::Quartiles)
        .column("x ideal", Better::Less, Show::Median)
        .column("opened by then", Better::Less, Show::Count)
        .column("opened in the end", Better::Less, Show::Count);
    for record in &records {
        let of = |figure: &dyn Fn(Burst) -> f64| {
            record.outcomes.iter().map(|outcome| figure(outcome.figure)).collect::<Vec<_>>()
        };
        sheet.row(
            record.who,
            vec![
                of(&|burst| burst.served.as_secs_f64() * 1e3),
                of(&|burst| burst.served.as_secs_f64() / ideal),
                of(&|burst| burst.begun_in_time as f64),
                of(&|burst| burst.begun as f64),
            ],
        );
    }
    drop(records);
    runtime.shutdown_background();
    sheet
}
