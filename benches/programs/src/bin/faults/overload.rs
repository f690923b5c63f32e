//! Twenty times as many requests as the pool can serve: it should go on serving as many as it can,
//! and throw no finished connect away.

use crate::Bench;
use caliburn::Pool;
use caliburn_benches::common::eventually;
use caliburn_benches::harness::*;
use caliburn_benches::pools::{Adapter, Books, Driver, Sleepy};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

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

type Slow = Adapter<Sleepy>;

#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    served: AtomicUsize,
    refused: AtomicUsize,
}

impl Load {
    async fn request(&self, face: Face, pool: &Pool<Slow>) {
        match face.get(pool).await {
            Ok(mut session) => {
                let driver = &pool.manager().0;
                driver.query(&mut session).await.expect("it never fails");
                session.is_broken = self.served.fetch_add(1, SeqCst) % BREAKS == BREAKS - 1;
            }
            Err(_) => drop(self.refused.fetch_add(1, SeqCst)),
        }
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(SeqCst)
    }

    /// Served and refused per second.
    fn measure(&self, window: Duration) -> [f64; 2] {
        thread::sleep(ONSET);
        let counts = || [&self.served, &self.refused].map(|count| count.load(SeqCst));
        let (begun, before) = (Instant::now(), counts());
        thread::sleep(window);
        let (after, wall) = (counts(), begun.elapsed().as_secs_f64());
        self.is_over.store(true, SeqCst);
        [0, 1].map(|n| (after[n] - before[n]) as f64 / wall)
    }
}

/// So many callers, who ask again as soon as they are done.
fn closed_loop(
    bench: &Bench,
    face: Face,
    pool: &Pool<Slow>,
    callers: usize,
    window: Duration,
) -> [f64; 2] {
    let load = Arc::new(Load::default());
    let callers = face.begin(bench.runtime.handle(), callers, |_| {
        let (pool, load) = (pool.clone(), Arc::clone(&load));
        async move {
            while load.goes_on() {
                load.request(face, &pool).await;
            }
        }
    });
    let rates = load.measure(window);
    bench.runtime.block_on(callers.join_all());
    rates
}

/// Requests come at their rate, whatever becomes of them.
fn open_loop(bench: &Bench, pool: &Pool<Slow>, per_second: f64, window: Duration) -> [f64; 2] {
    let load = Arc::new(Load::default());
    thread::scope(|scope| {
        scope.spawn(|| {
            let (begun, mut sent) = (Instant::now(), 0);
            while load.goes_on() {
                let due = (begun.elapsed().as_secs_f64() * per_second) as usize;
                for _ in sent..due {
                    let (pool, load) = (pool.clone(), Arc::clone(&load));
                    let request = async move { load.request(Face::Tasks, &pool).await };
                    drop(bench.runtime.spawn(request));
                }
                sent = due;
                thread::sleep(ms(1));
            }
        });
        load.measure(window)
    })
}

pub(crate) fn overload(bench: &mut Bench, face: Face) {
    let (books, ping) = (Books::default(), Duration::ZERO);
    let slow = Sleepy { connect: CONNECT, ping, query: QUERY, face, books: books.clone() };
    let builder = match face {
        Face::Threads => Pool::builder(Adapter(slow)),
        Face::Tasks => bench.builder(Adapter(slow)),
    };
    let pool = builder.max_size(SLOTS).checkout_timeout(LIMIT).build().expect("sound settings");
    let window = bench.lasts;
    let [capacity, _] = closed_loop(bench, face, &pool, SLOTS, CAPACITY);
    let ([served, refused], how) = match face {
        Face::Threads => (
            closed_loop(bench, face, &pool, TIMES * SLOTS, window),
            "closed loop: 160 threads".into(),
        ),
        Face::Tasks => {
            let per_second = capacity * TIMES as f64;
            let how = format!("open loop: {per_second:.0} tasks/s");
            (open_loop(bench, &pool, per_second, window), how)
        }
    };
    eventually("the pool comes to rest", || {
        let stats = pool.stats();
        stats.waiting + stats.opening + stats.maintenance + stats.lent == 0
    });
    let share = served / capacity * 100.0;
    let (opened, alive, evicted) = (books.begun(), books.open(), pool.stats().evictions.total());
    let thrown_away = (opened - alive) as i64 - evicted as i64;
    bench.report.row(
        format!("overload, {face}: goodput"),
        ">= 95 % of capacity",
        (format!("{share:.1} %"), share >= 95.0),
        format!(
            "{served:.0}/s of {capacity:.0}/s, {refused:.0}/s timed out; {how} on 8 slots, limit \
             100 ms; capacity: 8 {face}"
        ),
    );
    bench.report.row(
        format!("overload, {face}: finished connects thrown away"),
        "0",
        (thrown_away.to_string(), thrown_away == 0),
        format!("{opened} opened, {alive} alive, {evicted} evicted; one use in {BREAKS} breaks"),
    );
}
