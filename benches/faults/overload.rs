//! Twenty times as many requests as the pool can serve: it should go on serving as many as it can,
//! and throw no finished connect away.

use crate::Plan;
use crate::common::eventually;
use crate::measure::{Row, ms, runtime};
use crate::paced::{AsyncPaced, Paced, Session, pause};
use caliburn::{Manager, Pool};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const SLOTS: usize = 8;
const TIMES: usize = 20;
const QUERY: Duration = ms(5);
const CONNECT: Duration = ms(20);
const LIMIT: Duration = ms(100);
/// One use in so many breaks its connection, so that there are connects to throw away.
const BREAKS: usize = 200;
/// Not measured, at the begin of each load.
const ONSET: Duration = ms(300);
/// How long the capacity is measured for.
const CAPACITY: Duration = ms(2000);

#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    served: AtomicUsize,
    refused: AtomicUsize,
}

impl Load {
    fn use_up(&self, session: &mut Session) {
        session.is_broken = self.served.fetch_add(1, SeqCst) % BREAKS == BREAKS - 1;
    }

    fn refuse(&self) {
        self.refused.fetch_add(1, SeqCst);
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(SeqCst)
    }

    /// Served and refused per second.
    fn measure(&self, window: Duration) -> Rates {
        thread::sleep(ONSET);
        let counts = || (self.served.load(SeqCst), self.refused.load(SeqCst));
        let (begun, (served, refused)) = (Instant::now(), counts());
        thread::sleep(window);
        let ((served_then, refused_then), wall) = (counts(), begun.elapsed().as_secs_f64());
        self.is_over.store(true, SeqCst);
        let rate = |before: usize, after: usize| (after - before) as f64 / wall;
        Rates { served: rate(served, served_then), refused: rate(refused, refused_then) }
    }
}

struct Rates {
    served: f64,
    refused: f64,
}

fn window(plan: &Plan) -> Duration {
    if plan.is_long { ms(30_000) } else { ms(5_000) }
}

fn closed_loop_of_threads(pool: &Pool<Paced>, callers: usize, window: Duration) -> Rates {
    let load = Load::default();
    thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                while load.goes_on() {
                    let Ok(mut session) = pool.get_timeout(LIMIT) else {
                        load.refuse();
                        continue;
                    };
                    thread::sleep(QUERY);
                    load.use_up(&mut session);
                }
            });
        }
        load.measure(window)
    })
}

async fn request(pool: Pool<AsyncPaced>, load: Arc<Load>) {
    let Ok(mut session) = pool.get_timeout_async(LIMIT).await else { return load.refuse() };
    pause(QUERY).await;
    load.use_up(&mut session);
}

fn closed_loop_of_tasks(runtime: &Runtime, pool: &Pool<AsyncPaced>, window: Duration) -> Rates {
    let load = Arc::new(Load::default());
    for _ in 0..SLOTS {
        let (pool, load) = (pool.clone(), load.clone());
        runtime.spawn(async move {
            while load.goes_on() {
                request(pool.clone(), load.clone()).await;
            }
        });
    }
    load.measure(window)
}

/// Requests come at their rate, whatever becomes of them.
fn open_loop(
    runtime: &Runtime,
    pool: &Pool<AsyncPaced>,
    per_second: f64,
    window: Duration,
) -> Rates {
    let load = Arc::new(Load::default());
    thread::scope(|scope| {
        scope.spawn(|| {
            let (begun, mut sent) = (Instant::now(), 0);
            while load.goes_on() {
                let due = (begun.elapsed().as_secs_f64() * per_second) as usize;
                for _ in sent..due {
                    runtime.spawn(request(pool.clone(), load.clone()));
                }
                sent = due;
                thread::sleep(ms(1));
            }
        });
        load.measure(window)
    })
}

fn rows<M: Manager>(
    name: &str,
    paced: &Paced,
    pool: &Pool<M>,
    capacity: &Rates,
    overload: &Rates,
    conditions: &str,
) -> Vec<Row> {
    eventually("the pool comes to rest", || {
        let stats = pool.stats();
        stats.waiting + stats.opening + stats.maintenance + stats.lent == 0
    });
    let share = overload.served / capacity.served * 100.0;
    let evicted = pool.stats().evictions.total();
    let thrown_away = paced.dropped() as i64 - evicted as i64;
    vec![
        Row::new(
            format!("{name}: goodput"),
            ">= 95 % of capacity",
            format!("{share:.1} %"),
            share >= 95.0,
            format!(
                "{:.0}/s of {:.0}/s, {:.0}/s timed out; {conditions}",
                overload.served, capacity.served, overload.refused
            ),
        ),
        Row::new(
            format!("{name}: finished connects thrown away"),
            "0",
            format!("{thrown_away}"),
            thrown_away == 0,
            format!(
                "{} opened, {} alive, {evicted} evicted; one use in {BREAKS} breaks",
                paced.opened(),
                paced.opened() - paced.dropped()
            ),
        ),
    ]
}

pub(crate) fn threads(plan: &Plan) -> Vec<Row> {
    let paced = Paced::new(CONNECT);
    let pool = paced.pool(0, SLOTS);
    let capacity = closed_loop_of_threads(&pool, SLOTS, CAPACITY);
    let overload = closed_loop_of_threads(&pool, TIMES * SLOTS, window(plan));
    let conditions = "closed loop: 160 threads on 8 slots, limit 100 ms; capacity: 8 threads";
    rows("overload, 160 threads", &paced, &pool, &capacity, &overload, conditions)
}

pub(crate) fn tasks(plan: &Plan) -> Vec<Row> {
    let (paced, runtime) = (Paced::new(CONNECT), runtime());
    let pool = AsyncPaced(paced.clone()).pool(&runtime, 0, SLOTS);
    let capacity = closed_loop_of_tasks(&runtime, &pool, CAPACITY);
    let per_second = capacity.served * TIMES as f64;
    let overload = open_loop(&runtime, &pool, per_second, window(plan));
    let conditions =
        format!("open loop: {per_second:.0} tasks/s on 8 slots, limit 100 ms; capacity: 8 tasks");
    rows("overload, tasks", &paced, &pool, &capacity, &overload, &conditions)
}
