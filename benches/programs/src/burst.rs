//! A burst of callers on a quiet pool, one query each.
//!
//! A few connections are open, which could serve all of them before a single connect is through.
//! Whoever waits for a connect of his own waits far longer than for a connection returned.

use crate::harness::*;
use crate::pools::{Books, Limits, Sleepy, Which};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const BEGUN: &str = "connects begun by then";

#[derive(Clone, Copy, Debug)]
pub struct Burst {
    pub callers: usize,
    /// Connections open before.
    pub idle: usize,
    pub most: usize,
    pub connect: Duration,
    pub query: Duration,
}

/// What one burst came to.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// From the first caller's coming until the last one's query was done.
    served: Duration,
    longest_get: Duration,
    /// Connections open before: whoever has more than asked for has an easier time.
    open_before: usize,
    /// Connections open when the last query was done, and connects begun by then for the burst.
    open_then: usize,
    begun_then: usize,
    /// When no connect was under way any more.
    open_at_rest: usize,
}

/// One caller's account: when it came and left, and what the books said then.
struct Call {
    came: Instant,
    waited: Duration,
    left: Instant,
    open: usize,
    begun: usize,
}

impl Burst {
    /// What a pool could do that never waits for a connect.
    pub fn ideal(&self) -> Duration {
        self.query * self.callers.div_ceil(self.idle) as u32
    }

    fn run(&self, which: Which, runtime: &Runtime) -> Seen {
        let books = Books::default();
        let driver = Sleepy {
            connect: self.connect,
            ping: Duration::ZERO,
            query: self.query,
            face: which.face(),
            books: books.clone(),
        };
        let get = Duration::from_secs(30);
        let limits = Limits { max: self.most, idle: self.idle, get, check: None, shed: None };
        let pool = runtime.block_on(which.build(limits, driver)).expect("it connects");
        rest(&books);
        let (open_before, begun_before) = (books.open(), books.begun());
        let calls = which.face().all(runtime.handle(), self.callers, |_| {
            let (pool, books) = (Arc::clone(&pool), books.clone());
            async move {
                let came = Instant::now();
                let waited = Mutex::new(Duration::ZERO);
                let got = |result: Result<(), _>| {
                    result.expect("nobody waits for long");
                    *waited.lock().expect("no panic") = came.elapsed();
                };
                pool.turn(&got).await.expect("a query of this driver never fails");
                let (left, open, begun) = (Instant::now(), books.open(), books.begun());
                let waited = waited.into_inner().expect("no panic");
                Call { came, waited, left, open, begun }
            }
        });
        rest(&books);
        let first = calls.iter().map(|call| call.came).min().expect("callers");
        let last = calls.iter().max_by_key(|call| call.left).expect("callers");
        Seen {
            served: last.left - first,
            longest_get: calls.iter().map(|call| call.waited).max().unwrap_or_default(),
            open_before,
            open_then: last.open,
            begun_then: last.begun - begun_before,
            open_at_rest: books.open(),
        }
    }

    /// The table, for caliburn and its peers.
    pub fn measure(&self, key: &'static str, title: &str, rounds: Rounds) -> Sheet {
        let runtime = Runtime::new().expect("a runtime");
        let entrants = Which::ALL.map(|which| {
            let (burst, runtime) = (*self, &runtime);
            let is_ours = matches!(which, Which::CaliburnThreads | Which::CaliburnTasks);
            let kind = if is_ours { Kind::Ours } else { Kind::Peer };
            Entrant::new(kind, which.name(), move || burst.run(which, runtime))
        });
        let records = by_turns(key, rounds, entrants.into(), || ());
        // Connects that go on for nobody must not keep the program.
        runtime.shutdown_background();
        let ideal = millis(self.ideal());
        Sheet::of(key, title, &records).with(&[
            ("all served, ms", Better::Less, Show::Quartiles, &|o| millis(o.figure.served)),
            ("x ideal", Better::Less, Show::Median, &|o| millis(o.figure.served) / ideal),
            ("longest get, ms", Better::Less, Show::Median, &|o| millis(o.figure.longest_get)),
            ("open before", Better::Neither, Show::Count, &|o| o.figure.open_before as f64),
            ("open then", Better::Neither, Show::Count, &|o| o.figure.open_then as f64),
            (BEGUN, Better::Less, Show::Count, &|o| o.figure.begun_then as f64),
            ("open in the end", Better::Less, Show::Count, &|o| o.figure.open_at_rest as f64),
        ])
    }
}

/// Until no connect has been under way for a while, or long enough anyway.
fn rest(books: &Books) {
    let begun = Instant::now();
    let mut quiet = 0;
    while quiet < 5 && begun.elapsed() < Duration::from_secs(30) {
        thread::sleep(ms(10));
        quiet = if books.under_way() == 0 { quiet + 1 } else { 0 };
    }
}
