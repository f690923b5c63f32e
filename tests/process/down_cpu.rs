//! What a pool costs while its server is down. In a process of its own, as the time of the whole
//! process is measured.

use crate::common::*;
use caliburn::Pool;
use caliburn::health::{PingAfterFailure, PingOnBorrow};
use cpu_time::ProcessTime;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

const CALLERS: usize = 16;

/// deadpool #201: a restarted database, a loop without a pause, and all cores are busy. Here the
/// server is killed under 16 callers, half of them threads and half tasks, who go on waiting;
/// connects fail at once, then hang.
#[test]
fn row_26_a_pool_whose_server_was_killed_uses_next_to_no_processor_time() {
    let _alone = crate::alone();
    let test = "row_26_a_pool_whose_server_was_killed_uses_next_to_no_processor_time";
    in_child(test, 3 * PLENTY, || {
        let fake = Fake::new();
        let pool = Pool::builder(fake.clone())
            .max_size(CALLERS)
            .min_size(8)
            .health((PingAfterFailure, PingOnBorrow::default()))
            .wait_ready(PLENTY)
            .build()
            .unwrap();
        let held: Vec<_> = (0..CALLERS).map(|_| pool.get().unwrap()).collect();
        fake.kill_all();
        fake.on_connect(Mode::Fail);
        held.into_iter().for_each(|mut conn| conn.broken = true);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        std::thread::scope(|scope| {
            let tasks = (0..CALLERS / 2).map(|_| {
                let pool = pool.clone();
                runtime.spawn(async move { pool.get_async().await.map(drop).unwrap() })
            });
            let tasks: Vec<_> = tasks.collect();
            (0..CALLERS / 2).for_each(|_| drop(scope.spawn(|| pool.get().map(drop).unwrap())));
            eventually("all wait", || pool.stats().waiting == CALLERS);
            for (mode, time) in [(Mode::Fail, 1500), (Mode::Hang, 1000)] {
                fake.on_connect(mode);
                let before = fake.books().attempts.load(SeqCst);
                let (begun, cpu) = (Instant::now(), ProcessTime::now());
                // This is what is measured: time in which nothing goes right.
                std::thread::sleep(Duration::from_millis(time));
                let share = cpu.elapsed().as_secs_f64() / begun.elapsed().as_secs_f64();
                let attempts = fake.books().attempts.load(SeqCst) - before;
                println!(
                    "connects {mode:?}: {:.2} % of a core, {attempts} attempts",
                    share * 100.0
                );
                assert!(share < 0.1, "{share:.3} of a core");
                assert!((1..=20).contains(&attempts), "{attempts} attempts in {time} ms");
            }
            fake.on_connect(Mode::Ok);
            fake.open_gate();
            tasks.into_iter().for_each(|task| runtime.block_on(task).unwrap());
        });
        assert_settled(&pool, fake.books());
    });
}
