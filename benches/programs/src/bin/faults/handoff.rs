//! The only connect that could help is blocked for ever, and one connection comes back.

use crate::Bench;
use crate::wired::Driven;
use caliburn::Pool;
use caliburn_benches::common::{Fake, Mode, PLENTY, eventually};
use caliburn_benches::harness::*;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// For ever, as far as this is concerned.
const NEVER: Duration = Duration::from_secs(3600);

/// One waits at a time, and tells when it was served: the same caller each time.
pub(crate) fn returns<M: Driven<Driver = Fake>>(bench: &mut Bench) {
    let (face, fake) = (M::FACE, Fake::new());
    let times = bench.length.pick(200, 20);
    // One connection open, room for another, and no connect comes back any more.
    let builder = M::builder(&fake, bench).max_size(2).initial_size(1).connect_timeout(NEVER);
    let pool = builder.checkout_timeout(PLENTY).wait_ready(PLENTY).build();
    let pool = pool.expect("the fake connects");
    fake.on_connect(Mode::Hang);
    let begin = Arc::new(Notify::new());
    let waiter = face.begin(bench.runtime.handle(), 1, |_| {
        let (pool, begin): (Pool<M>, _) = (pool.clone(), Arc::clone(&begin));
        async move {
            let mut served = Vec::new();
            for _ in 0..times {
                begin.notified().await;
                let guard = face.get(&pool).await.expect("a connection");
                served.push(Instant::now());
                drop(guard);
            }
            served
        }
    });
    let give = |_| {
        let mut guard = None;
        eventually("the connection is back", || {
            guard = pool.try_get().ok();
            guard.is_some()
        });
        begin.notify_one();
        eventually("somebody waits for a connect", || {
            let stats = pool.stats();
            stats.waiting == 1 && stats.opening == 1
        });
        // Let it fall asleep.
        thread::sleep(ms(1));
        let begun = Instant::now();
        drop(guard);
        begun
    };
    let given: Vec<_> = (0..times).map(give).collect();
    let served = bench.runtime.block_on(waiter.join_all()).concat().into_iter();
    let took: Spread =
        served.zip(given).map(|(served, given)| served.saturating_duration_since(given)).collect();
    fake.open_gate();
    let p95 = format!("of {times}; p95 {:.2} ms", took.at(0.95));
    let conditions = "from before the drop of the guard to after get";
    for (what, took, conditions) in
        [("median", took.median(), conditions), ("longest", took.most(), &*p95)]
    {
        let name = format!("one return while a connect hangs, {face}: {what}");
        bench.report.row(name, "< 1 ms", (format!("{took:.3} ms"), took < 1.0), conditions);
    }
}
