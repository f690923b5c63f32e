//! Limits from a millisecond to a second, by the clock on the wall: those of a `get`, and those
//! that the pool sets to the calls of an async driver. Longer ones are a matter of arithmetic, and
//! tested under a mock clock.

use crate::{Bench, overshoot};
use caliburn::health::PingOnBorrow;
use caliburn::{AsyncManager, Builder, Deadline, Manager, Pool, PooledConnection};
use caliburn_benches::common::{Fake, PLENTY, eventually};
use caliburn_benches::harness::*;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Limits in milliseconds, and how often each is tried.
const GETS: [(u64, usize); 6] = [(1, 50), (2, 50), (5, 50), (10, 50), (100, 20), (1000, 5)];
const CALLS: [(u64, usize); 3] = [(1, 50), (10, 30), (100, 10)];

fn row(report: &mut Report, name: String, limit: Duration, took: &Spread, conditions: &str) {
    let [median, p90, worst] =
        [took.median(), took.at(0.9), took.most()].map(|took| overshoot(took, limit));
    let earliest = overshoot(took.at(0.0), limit);
    let early = if earliest < 0.0 { format!("; earliest {earliest:.2} %") } else { String::new() };
    report.row(
        name,
        "within 5 %",
        (format!("median {median:+.1} %, worst {worst:+.1} %"), worst <= 5.0 && earliest >= -5.0),
        format!("of {}, p90 {p90:+.1} %{early}; {conditions}", took.count()),
    );
}

/// A pool of one connection, which is out.
fn exhausted() -> (Pool<Fake>, PooledConnection<Fake>) {
    let pool = Pool::builder(Fake::new()).max_size(1).min_size(1).wait_ready(PLENTY).build();
    let pool = pool.expect("the fake connects");
    let guard = pool.get().expect("a connection");
    (pool, guard)
}

pub(crate) fn gets(bench: &mut Bench, face: Face) {
    let (pool, _guard) = exhausted();
    for (millis, times) in GETS {
        let (limit, times) = (ms(millis), bench.length.pick(times, times.min(5)));
        pool.change(|settings| settings.checkout_timeout = limit).expect("any limit will do");
        let took = face.all(bench.runtime.handle(), 1, |_| {
            let pool = pool.clone();
            async move {
                let mut took = Vec::new();
                for _ in 0..times {
                    let begun = Instant::now();
                    assert!(face.get(&pool).await.is_err(), "there is none");
                    took.push(begun.elapsed());
                }
                took
            }
        });
        let took: Spread = took.concat().into_iter().collect();
        let conditions = match face {
            Face::Threads => "",
            Face::Tasks => "tokio, two workers; woken by the housekeeper",
        };
        let name = format!("limit of get {limit:.0?}, {face}");
        row(&mut bench.report, name, limit, &took, conditions);
    }
}

/// Which call never comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Connect,
    Ping,
    Reset,
    Close,
}

/// A driver with a call that never comes back, and a note of how long it was let go on.
#[derive(Clone)]
struct Stuck {
    call: Call,
    ended: Arc<Mutex<Option<Duration>>>,
}

/// Runs until it is dropped.
struct Stopwatch<'a>(&'a Stuck, Instant);

impl Drop for Stopwatch<'_> {
    fn drop(&mut self) {
        self.0.ended.lock().expect("no panic").get_or_insert(self.1.elapsed());
    }
}

impl Stuck {
    async fn may_hang(&self, call: Call) {
        if self.call == call {
            let _stopwatch = Stopwatch(self, Instant::now());
            pending::<()>().await;
        }
    }
}

impl Manager for Stuck {
    type Connection = ();
    type Error = Infallible;

    fn needs_reset(&self, _: &mut ()) -> bool {
        self.call == Call::Reset
    }
}

impl AsyncManager for Stuck {
    async fn connect(&self, _: &Deadline) -> Result<(), Infallible> {
        self.may_hang(Call::Connect).await;
        Ok(())
    }

    async fn ping(&self, _: &mut (), _: &Deadline) -> Result<(), Infallible> {
        self.may_hang(Call::Ping).await;
        Ok(())
    }

    async fn reset(&self, _: &mut (), _: &Deadline) -> Result<(), Infallible> {
        self.may_hang(Call::Reset).await;
        Ok(())
    }

    async fn close(&self, (): (), _: &Deadline) {
        self.may_hang(Call::Close).await;
    }
}

/// A pool of its own for each trial: a failure makes a pool wary.
fn try_once(call: Call, builder: impl Fn(Stuck) -> Builder<Stuck>) -> Duration {
    let stuck = Stuck { call, ended: Arc::default() };
    let builder = builder(stuck.clone()).max_size(1).min_size(1);
    let pool = if call == Call::Connect { builder } else { builder.wait_ready(PLENTY) };
    let pool = pool.build().expect("it connects");
    match call {
        Call::Connect => {}
        Call::Ping => {
            // What has just been opened is lent without a ping. The second time it is not lent but
            // given to a worker.
            drop(pool.try_get().expect("it has just been opened"));
            let _ = pool.try_get().expect_err("it must be pinged");
        }
        Call::Reset => drop(pool.get().expect("a connection")),
        Call::Close => PooledConnection::discard(pool.get().expect("a connection")),
    }
    let mut ended = None;
    eventually("the call is given up", || {
        thread::sleep(Duration::from_micros(300));
        ended = *stuck.ended.lock().expect("no panic");
        ended.is_some()
    });
    ended.unwrap_or_default()
}

pub(crate) fn calls(bench: &mut Bench) {
    // As in a process with other pools, the housekeeper is there already.
    let _other = exhausted();
    for call in [Call::Connect, Call::Ping, Call::Reset, Call::Close] {
        for (millis, times) in CALLS {
            let (limit, times) = (ms(millis), bench.length.pick(times, times.min(5)));
            let builder = |stuck| {
                let builder = bench
                    .builder(stuck)
                    .connect_timeout(limit)
                    .ping_timeout(limit)
                    .reset_timeout(limit)
                    .close_timeout(limit);
                // Only this one is to be pinged by anybody.
                if call == Call::Ping { builder.health(PingOnBorrow::always()) } else { builder }
            };
            let took: Spread = (0..times).map(|_| try_once(call, builder)).collect();
            let name = format!("limit of a {call:?} {limit:.0?}, async driver").to_lowercase();
            let conditions = "on tokio; 1 s to 30 s: tests, mock clock";
            row(&mut bench.report, name, limit, &took, conditions);
        }
    }
}
