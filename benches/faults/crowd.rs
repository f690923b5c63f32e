//! Ten thousand tasks wait in line, each with a deadline, and nothing happens.

use crate::Plan;
use crate::common::{AsyncFake, Fake, PLENTY, eventually};
use crate::measure::{Row, ms, runtime};
use caliburn::Pool;
use cpu_time::ProcessTime;
use std::thread;
use std::time::{Duration, Instant};

const TASKS: usize = 10_000;
const WINDOW: Duration = ms(3000);

pub(crate) fn tasks(_: &Plan) -> Vec<Row> {
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let pool = Pool::builder_async(AsyncFake(Fake::new()))
        .spawner(move |task| drop(handle.spawn(task)))
        .max_size(8)
        .min_size(8)
        .checkout_timeout(Duration::from_secs(60))
        .wait_ready(PLENTY)
        .build()
        .expect("the fake connects");
    let guards: Vec<_> = (0..8).map(|_| pool.get().expect("a connection")).collect();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let pool = pool.clone();
            runtime.spawn(async move { pool.get_async().await.is_ok() })
        })
        .collect();
    eventually("all wait", || pool.stats().waiting == TASKS);
    thread::sleep(ms(100));
    let (cpu, begun) = (ProcessTime::now(), Instant::now());
    thread::sleep(WINDOW);
    let share = cpu.elapsed().as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    let begun = Instant::now();
    drop(guards);
    let served = runtime.block_on(async {
        let mut served = 0;
        for task in tasks {
            served += usize::from(task.await.is_ok_and(|is_served| is_served));
        }
        served
    });
    let took = begun.elapsed();
    vec![Row::new(
        "10,000 waiting tasks: CPU",
        "< 1 % of a core",
        format!("{share:.2} %"),
        share < 1.0 && served == TASKS,
        format!(
            "over {WINDOW:.0?}; then 8 returns serve {served}, one after the other, in {took:.0?}"
        ),
    )]
}
