//! Fifty callers at once on a pool of five that may grow to fifty, where a connect takes 150 ms and
//! a query 2 ms. The five can serve all in 20 ms; whoever connects for each caller takes longer
//! than 150 ms, and ends with 50 connections.

use crate::Plan;
use crate::measure::{Row, Spread, ms, on_tasks, on_threads, runtime};
use crate::paced::{AsyncPaced, Paced, pause};
use caliburn::{Manager, Pool};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

const CALLERS: usize = 50;
const IDLE: usize = 5;
const CONNECT: Duration = ms(150);
const QUERY: Duration = ms(2);
const RUNS: usize = 21;
/// Between the start of a pool and the spike.
const QUIET: Duration = ms(20);

/// One spike: from the first arrival to the last answer, and how many connections there were then.
struct Run {
    took: Duration,
    connections: usize,
}

fn run<M: Manager>(pool: &Pool<M>, paced: &Paced, spike: impl FnOnce() -> Vec<Span>) -> Run {
    // The connects of the start are to be over and done with.
    thread::sleep(QUIET);
    let spans = spike();
    let begun = spans.iter().map(|span| span.0).min();
    let ended = spans.iter().map(|span| span.1).max();
    let took = begun.zip(ended).map_or(Duration::MAX, |(begun, ended)| ended - begun);
    // What was begun in the spike comes to its end, and counts.
    let deadline = Instant::now() + 4 * CONNECT;
    while pool.stats().opening > 0 && Instant::now() < deadline {
        thread::sleep(ms(1));
    }
    Run { took, connections: paced.opened() }
}

/// When a caller came, and when it had its answer.
type Span = (Instant, Instant);

fn rows(name: &str, runs: &[Run], coarse: Option<Duration>, conditions: &str) -> Vec<Row> {
    let took: Spread = runs.iter().map(|run| run.took).collect();
    // Where the timer is too coarse for a query of 2 ms, twelve and a half of those that it makes.
    let (limit, asked) = match coarse {
        None => (ms(25), String::from("<= 25 ms")),
        Some(query) => {
            (query.mul_f64(12.5), format!("<= {:.1?} (12.5 queries)", query.mul_f64(12.5)))
        }
    };
    let mut ends = BTreeMap::new();
    runs.iter().for_each(|run| *ends.entry(run.connections).or_insert(0) += 1);
    let most = ends.last_key_value().map_or(0, |(most, _)| *most);
    let ends: Vec<_> = ends.iter().map(|(end, runs)| format!("{end} in {runs} runs")).collect();
    vec![
        Row::new(
            format!("{name}: all served"),
            asked,
            format!("{:.1?}", took.median()),
            took.median() <= limit,
            format!("median of {RUNS}, longest {:.1?}; {conditions}", took.longest()),
        ),
        Row::new(
            format!("{name}: connections at the end"),
            "<= 6",
            format!("{most}"),
            most <= 6,
            format!("{}; 5 idle, 50 allowed, a connect takes 150 ms", ends.join(", ")),
        ),
    ]
}

pub(crate) fn threads(_: &Plan) -> Vec<Row> {
    let one = |_| {
        let paced = Paced::new(CONNECT);
        let pool = paced.pool(IDLE, CALLERS);
        run(&pool, &paced, || {
            on_threads(CALLERS, |_| {
                let begun = Instant::now();
                let session = pool.get().expect("a session");
                thread::sleep(QUERY);
                drop(session);
                (begun, Instant::now())
            })
        })
    };
    let runs: Vec<Run> = (0..RUNS).map(one).collect();
    let slept: Spread = (0..RUNS).map(|_| timed(|| thread::sleep(QUERY))).collect();
    let conditions = format!("a query alone takes {:.2?}", slept.median());
    rows("spike of 50 threads", &runs, None, &conditions)
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

pub(crate) fn tasks(_: &Plan) -> Vec<Row> {
    let mut all = with_timer("spike of 50 tasks", "a timer thread", false, || pause(QUERY));
    let sleep = || tokio::time::sleep(QUERY);
    all.extend(with_timer("spike of 50 tasks, tokio's timer", "tokio::time::sleep", true, sleep));
    all
}

fn with_timer<F>(name: &str, timer: &str, is_coarse: bool, query: fn() -> F) -> Vec<Row>
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = runtime();
    let one = |_| {
        let paced = Paced::new(CONNECT);
        let pool = AsyncPaced(paced.clone()).pool(&runtime, IDLE, CALLERS);
        run(&pool, &paced, || {
            on_tasks(&runtime, CALLERS, |_| {
                let pool = pool.clone();
                async move {
                    let begun = Instant::now();
                    let session = pool.get_async().await.expect("a session");
                    query().await;
                    drop(session);
                    (begun, Instant::now())
                }
            })
        })
    };
    let runs: Vec<Run> = (0..RUNS).map(one).collect();
    let alone: Spread = runtime.block_on(async {
        let mut alone = Vec::new();
        for _ in 0..RUNS {
            let begun = Instant::now();
            query().await;
            alone.push(begun.elapsed());
        }
        alone.into_iter().collect()
    });
    let conditions = format!("{timer}: a query alone takes {:.2?}", alone.median());
    rows(name, &runs, is_coarse.then_some(alone.median()), &conditions)
}
