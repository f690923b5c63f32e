//! W10: whether borrowers notice the sweep.
//!
//! A pool of 64 connections, nearly all of them idle. In every other slice the sweep pings them
//! without a break, four at once, 200 µs each; in those between there is none. Measured is the call
//! of `get`, with the 20 to 30 ns that reading the clock takes. Borrowers hold an object for no
//! time, when some thousand pings in a second meet ten million checkouts; for 20 µs of a core's
//! time, when a ping comes between every few checkouts and the lines that the sweep wrote must be
//! fetched from another core; or, eight threads, for a sleep of 200 µs, as if they waited for a
//! server's answer. Mind the clock: where it goes by steps of 10 ns, as on many AMD processors, a
//! p99 of 40 ns cannot rise by less than a quarter.

use caliburn::Pool;
use caliburn::health::PeriodicSweep;
use caliburn_benches::harness::*;
use caliburn_benches::pools::{Adapter, Books, Sleepy};
use std::thread;
use std::time::{Duration, Instant};

const NEVER: Duration = Duration::from_secs(3600);
/// The next pass begins as soon as one is over: it takes longer than this.
const CONTINUOUSLY: Duration = ms(1);

fn set_interval(pool: &Pool<Adapter<Sleepy>>, interval: Duration) {
    pool.change(|settings| settings.sweep_interval = Some(interval)).expect("it is not zero");
    // Until the pass is over, or until the first is well under way.
    thread::sleep(ms(20));
}

/// Turns, and pings in a second meanwhile.
type Half = (Turns, f64);

fn borrow(pool: &Pool<Adapter<Sleepy>>, threads: usize, hold: fn(), time: Duration) -> Half {
    let (before, begun) = (pool.stats().pings, Instant::now());
    let turns = on_threads(threads, time, || {
        let begun = Instant::now();
        let mut object = pool.get().expect("an object");
        let wait = begun.elapsed();
        object.is_broken = false;
        hold();
        wait
    });
    (turns, (pool.stats().pings - before) as f64 / begun.elapsed().as_secs_f64())
}

pub(crate) fn noticed(length: Length) -> Sheet {
    let (connect, query, ping) = (Duration::ZERO, Duration::ZERO, Duration::from_micros(200));
    let (face, books) = (Face::Threads, Books::default());
    let driver = Sleepy { connect, ping, query, face, books };
    let pool = Pool::builder(Adapter(driver)).max_size(64).min_size(64);
    let pool = pool.health(PeriodicSweep::every(NEVER)).wait_ready(ms(10_000)).build();
    let pool = &pool.expect("objects always connect");
    let time = length.pick(ms(180), ms(50));
    let cases: [(&str, usize, fn()); 5] = [
        ("1 thread, no hold", 1, || ()),
        ("a thread for each core, no hold", cores(), || ()),
        ("1 thread, 20 µs", 1, || spin(Duration::from_micros(20))),
        ("a thread for each core, 20 µs", cores(), || spin(Duration::from_micros(20))),
        ("8 threads, sleep of 200 µs", 8, || thread::sleep(Duration::from_micros(200))),
    ];
    let entrants = cases.map(|(name, threads, hold)| {
        let mut is_swept_first = false;
        Entrant::new(Kind::Ours, name, move || {
            is_swept_first = !is_swept_first;
            let half = |interval| {
                set_interval(pool, interval);
                borrow(pool, threads, hold, time)
            };
            if is_swept_first {
                let swept = half(CONTINUOUSLY);
                [half(NEVER), swept]
            } else {
                [NEVER, CONTINUOUSLY].map(half)
            }
        })
    });
    let records = by_turns("W10", Rounds::new(length, 20, 60), entrants.into(), || ());
    type Halves = Outcome<[Half; 2], ()>;
    let at = |half: usize, share| move |o: &Halves| o.figure[half].0.waits.nanos_at(share);
    let raised = |o: &Halves| (at(1, 0.99)(o) / at(0, 0.99)(o) - 1.0) * 100.0;
    Sheet::of("W10", "the call of get while 64 idle connections are pinged", &records).with(&[
        ("p50 without, ns", Better::Neither, Show::Median, &at(0, 0.5)),
        ("p50, ns", Better::Neither, Show::Median, &at(1, 0.5)),
        ("p99 without, ns", Better::Neither, Show::Median, &at(0, 0.99)),
        ("p99, ns", Better::Neither, Show::Median, &at(1, 0.99)),
        ("p99 raised by, %", Better::Neither, Show::Quartiles, &raised),
        ("p99.9 without, ns", Better::Neither, Show::Median, &at(0, 0.999)),
        ("p99.9, ns", Better::Neither, Show::Median, &at(1, 0.999)),
        ("pings/s", Better::Neither, Show::Count, &|outcome| outcome.figure[1].1),
    ])
}
