//! "Welcome to the jungle", after HikariCP's wiki: a spike of demand on a quiet pool.
//!
//! A few connections are open, connecting is slow, queries are quick. Then many callers come at
//! once, one query each. Whoever waits for a connect of his own waits far longer than for a
//! connection returned.

use caliburn_peers::driver::Books;
use caliburn_peers::options::{Options, complain};
use caliburn_peers::pools::{Limits, Which, versions};
use caliburn_peers::sleepy::Sleepy;
use caliburn_peers::table::{Table, median};
use std::io::Write;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::Barrier;

const HELP: &str = "\
A spike of demand on a quiet pool: caliburn, r2d2, bb8 and deadpool, in turn, over and over.

  --runs N         spikes for each pool (11)
  --callers N      who come at once, one query each (50)
  --idle N         connections open before (5)
  --max N          the most connections (50)
  --connect TIME   how long connecting takes (150ms)
  --query TIME     how long a query takes (2ms)
  --help           this text

A time is a number and a unit: 150ms, 1.5s.
";

struct Plan {
    runs: usize,
    callers: usize,
    connect: Duration,
    query: Duration,
    limits: Limits,
}

impl Plan {
    fn read() -> Self {
        let names = ["--runs", "--callers", "--idle", "--max", "--connect", "--query"];
        let options = Options::read(HELP, &names, &[]);
        let limits = Limits {
            max: options.count("--max", 50, 1000),
            idle: options.count("--idle", 5, 1000),
            get: Duration::from_secs(30),
            check: None,
        };
        if limits.idle > limits.max {
            complain(&format!("--idle is {}, more than --max, {}", limits.idle, limits.max));
        }
        Self {
            runs: options.count("--runs", 11, 1000),
            callers: options.count("--callers", 50, 1000),
            connect: options.time("--connect", Duration::from_millis(150)),
            query: options.time("--query", Duration::from_millis(2)),
            limits,
        }
    }

    /// What a pool could do that never waits for a connect.
    fn ideal(&self) -> Duration {
        self.query * self.callers.div_ceil(self.limits.idle) as u32
    }
}

/// What one spike came to.
#[derive(Clone, Copy)]
struct Spike {
    /// From the first caller's coming until the last one's query was done.
    done: Duration,
    longest_get: Duration,
    /// Connections open before: whoever has more than asked for has an easier time.
    open_before: usize,
    /// Connections open when the last query was done, and connects begun since the first caller
    /// came.
    open: usize,
    begun: usize,
    /// Connections open when no connect was under way any more.
    open_at_rest: usize,
}

/// One caller's account.
struct Call {
    came: Instant,
    waited: Duration,
    left: Instant,
    /// What the books said then.
    open: usize,
    begun: usize,
}

fn spike(which: Which, plan: &Plan, runtime: &Runtime) -> Spike {
    let books = Books::default();
    let driver = Sleepy { connect: plan.connect, query: plan.query, books: books.clone() };
    let pool = runtime
        .block_on(which.build(plan.limits, driver.clone(), driver))
        .unwrap_or_else(|error| panic!("{which} did not start: {error}"));
    wait_for_rest(&books);
    let (open_before, begun_before) = (books.open(), books.begun());

    let start = Arc::new(Barrier::new(plan.callers));
    let (tell, calls) = mpsc::channel();
    for _ in 0..plan.callers {
        let (pool, books) = (Arc::clone(&pool), books.clone());
        let (start, tell) = (Arc::clone(&start), tell.clone());
        which.spawn(runtime.handle(), async move {
            start.wait().await;
            let came = Instant::now();
            let (note, noted) = mpsc::sync_channel(1);
            let got = move |result| note.send((came.elapsed(), result)).expect("noted once");
            pool.turn(&got).await.expect("a query of this driver never fails");
            let left = Instant::now();
            let (open, begun) = (books.open(), books.begun());
            let (waited, result) = noted.recv().expect("noted in every turn");
            if let Err(refusal) = result {
                panic!("a spike so short keeps nobody for {waited:?}: {}", refusal.text);
            }
            let _ = tell.send(Call { came, waited, left, open, begun });
        });
    }
    drop(tell);
    let calls: Vec<Call> = calls.iter().collect();
    assert_eq!(calls.len(), plan.callers, "a caller of {which} panicked");
    wait_for_rest(&books);

    let first = calls.iter().map(|call| call.came).min().expect("there are callers");
    let last = calls.iter().max_by_key(|call| call.left).expect("there are callers");
    Spike {
        done: last.left - first,
        longest_get: calls.iter().map(|call| call.waited).max().unwrap_or_default(),
        open_before,
        open: last.open,
        begun: last.begun - begun_before,
        open_at_rest: books.open(),
    }
}

/// Until no connect has been under way for a while, or long enough anyway.
fn wait_for_rest(books: &Books) {
    let begun = Instant::now();
    let mut quiet = 0;
    while quiet < 5 && begun.elapsed() < Duration::from_secs(30) {
        thread::sleep(Duration::from_millis(10));
        quiet = if books.under_way() == 0 { quiet + 1 } else { 0 };
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

fn report(plan: &Plan, spikes: &[(Which, Vec<Spike>)]) -> String {
    let mut table = Table::new(&[
        "pool",
        "all served, ms",
        "longest get, ms",
        "open before",
        "open then",
        "connects begun by then",
        "open in the end",
    ]);
    for (which, spikes) in spikes {
        fn column<T>(spikes: &[Spike], of: impl Fn(&Spike) -> T) -> Vec<T> {
            spikes.iter().map(of).collect()
        }
        table.row(vec![
            which.to_string(),
            median(&column(spikes, |spike| spike.done), millis),
            median(&column(spikes, |spike| spike.longest_get), millis),
            median(&column(spikes, |spike| spike.open_before), |n| n.to_string()),
            median(&column(spikes, |spike| spike.open), |n| n.to_string()),
            median(&column(spikes, |spike| spike.begun), |n| n.to_string()),
            median(&column(spikes, |spike| spike.open_at_rest), |n| n.to_string()),
        ]);
    }
    let Plan { runs, callers, connect, query, limits } = plan;
    let (idle, max) = (limits.idle, limits.max);
    let ideal = millis(plan.ideal());
    let versions = versions();
    format!(
        "{versions}

{callers} callers at once on {idle} open connections, at most {max}; connect {connect:?}, query {query:?}.
Ideal: {ideal} ms, no connect. {runs} spikes for each pool, in turn; median (least to most).

{table}
Threads borrow from r2d2 and from caliburn's blocking face, tasks on tokio from the others. Nobody checks connections
on checkout. Threads sleep with std::thread::sleep; tasks are woken by a thread of like precision, as tokio's timer would
round 2 ms up to 3. \"In the end\": when no connect was under way any more, not even one for nobody.
caliburn: min_size({idle}), else as shipped. r2d2: min_idle({idle}), its own three connecting threads; more of them would
open more, none sooner. bb8: min_idle({idle}). deadpool keeps no minimum; {idle} borrowers at once opened the first ones.
"
    )
}

fn main() {
    let plan = Plan::read();
    let runtime = Runtime::new().expect("a runtime");
    let mut spikes: Vec<_> = Which::ALL.iter().map(|&which| (which, Vec::new())).collect();
    for run in 0..plan.runs {
        eprintln!("run {} of {}", run + 1, plan.runs);
        // Whoever goes first in one run goes last in the next.
        let pools = spikes.len();
        for n in 0..pools {
            let (which, spikes) = &mut spikes[(run + n) % pools];
            spikes.push(spike(*which, &plan, &runtime));
        }
    }
    let _ = std::io::stdout().write_all(report(&plan, &spikes).as_bytes());
    // Connects that go on for nobody must not keep the program.
    runtime.shutdown_background();
}
