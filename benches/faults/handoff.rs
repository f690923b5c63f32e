//! The only connect that could help is blocked for ever, and one connection comes back.

use crate::Plan;
use crate::common::{AsyncFake, Fake, Mode, PLENTY, eventually};
use crate::measure::{Row, Spread, ms, runtime};
use caliburn::{Builder, Manager, Pool};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const REPETITIONS: usize = 200;
/// For ever, as far as this is concerned.
const NEVER: Duration = Duration::from_secs(3600);

/// One connection open, room for another, and no connect comes back any more.
fn prepare<M: Manager>(builder: Builder<M>, fake: &Fake) -> Pool<M> {
    let builder = builder.max_size(2).initial_size(1).connect_timeout(NEVER);
    let pool = builder.checkout_timeout(PLENTY).wait_ready(PLENTY).build();
    let pool = pool.expect("the fake connects");
    fake.on_connect(Mode::Hang);
    pool
}

/// `begin` has somebody wait, who tells when he was served.
fn repeat<M: Manager>(pool: &Pool<M>, begin: impl Fn(mpsc::Sender<Instant>)) -> Spread {
    let (sender, served) = mpsc::channel();
    let one = || {
        let mut guard = None;
        eventually("the connection is back", || {
            guard = pool.try_get().ok();
            guard.is_some()
        });
        begin(sender.clone());
        eventually("somebody waits for a connect", || {
            let stats = pool.stats();
            stats.waiting == 1 && stats.opening == 1
        });
        // Let him fall asleep.
        thread::sleep(ms(1));
        let begun = Instant::now();
        drop(guard);
        let served = served.recv().expect("he is served");
        served.saturating_duration_since(begun)
    };
    (0..REPETITIONS).map(|_| one()).collect()
}

fn rows(name: &str, took: &Spread, conditions: &str) -> Vec<Row> {
    let row = |what, took: Duration, conditions| {
        let name = format!("one return while a connect hangs, {name}: {what}");
        Row::new(name, "< 1 ms", format!("{took:.1?}"), took < ms(1), conditions)
    };
    vec![
        row("median", took.median(), conditions.into()),
        row("longest", took.longest(), format!("of {REPETITIONS}; p95 {:.1?}", took.at(0.95))),
    ]
}

pub(crate) fn threads(_: &Plan) -> Vec<Row> {
    let fake = Fake::new();
    let pool = prepare(Pool::builder(fake.clone()), &fake);
    let took = thread::scope(|scope| {
        let (calls, called) = mpsc::channel::<mpsc::Sender<Instant>>();
        let pool = &pool;
        scope.spawn(move || {
            for sender in called {
                let guard = pool.get().expect("a connection");
                let served = Instant::now();
                drop(guard);
                let _ = sender.send(served);
            }
        });
        repeat(pool, move |sender| drop(calls.send(sender)))
    });
    fake.open_gate();
    rows("thread", &took, "from before the drop of the guard to after get")
}

pub(crate) fn tasks(_: &Plan) -> Vec<Row> {
    let (fake, runtime) = (Fake::new(), runtime());
    let handle = runtime.handle().clone();
    let builder = Pool::builder_async(AsyncFake(fake.clone()));
    let pool = prepare(builder.spawner(move |task| drop(handle.spawn(task))), &fake);
    let took = repeat(&pool, |sender| {
        let pool = pool.clone();
        runtime.spawn(async move {
            let guard = pool.get_async().await.expect("a connection");
            let served = Instant::now();
            drop(guard);
            let _ = sender.send(served);
        });
    });
    rows("task", &took, "the guard is dropped on a thread outside tokio, which sleeps")
}
