//! Whether borrowers notice the sweep: `cargo bench --bench sweep_interference`, 45 s; `-- --quick`
//! for less.
//!
//! A pool of 64 connections, nearly all of them idle. In one half of each round the sweep pings
//! them without a break, four at once, 200 µs each; in the other half there is no sweep. Both
//! halves use the same pool, and take turns in going first. Measured is the call of `get`, with the
//! 20 to 30 ns that reading the clock takes, by one thread and by one for each core. They hold an
//! object for no time, when some thousand pings in a second meet ten million checkouts; for 20 µs
//! of a core's time, when a ping comes between every few checkouts and the lines that the sweep
//! wrote must be fetched from another core; or, eight threads, for a sleep of 200 µs, as if they
//! waited for a server's answer. Asked for: p99 raised by 10 % at most. Mind the clock: where it
//! goes by steps of 10 ns, as on many AMD processors, a p99 of 40 ns cannot rise by less than a
//! quarter.

mod harness;

use caliburn::Pool;
use caliburn::health::PeriodicSweep;
use harness::figures::{Spread, conditions, cores, work};
use harness::histogram::Histogram;
use harness::length::Length;
use harness::objects::Objects;
use harness::table::{Table, verdict};
use harness::turns::on_threads;
use std::thread;
use std::time::{Duration, Instant};

const SLOTS: usize = 64;
const PING: Duration = Duration::from_micros(200);
/// The next pass begins as soon as one is over: it takes longer than this.
const CONTINUOUSLY: Duration = Duration::from_millis(1);
const NEVER: Duration = Duration::from_secs(3600);
const STILL_FIRST: [Duration; 2] = [NEVER, CONTINUOUSLY];
const SWEPT_FIRST: [Duration; 2] = [CONTINUOUSLY, NEVER];

fn pool() -> Pool<Objects> {
    Pool::builder(Objects { ping_takes: PING, ..Objects::default() })
        .max_size(SLOTS)
        .min_size(SLOTS)
        .health(PeriodicSweep::every(NEVER))
        .wait_ready(Duration::from_secs(10))
        .build()
        .expect("objects always connect")
}

/// The waits of so many threads, and how many pings there were in a second meanwhile.
fn borrow(
    pool: &Pool<Objects>,
    threads: usize,
    hold: &(dyn Fn() + Sync),
    time: Duration,
) -> (Histogram, f64) {
    let (before, begun) = (pool.stats().pings, Instant::now());
    let turns = on_threads(threads, time, || {
        let begun = Instant::now();
        let mut object = pool.get().expect("an object");
        let wait = begun.elapsed();
        object.touched += 1;
        hold();
        wait
    });
    let pings = (pool.stats().pings - before) as f64 / begun.elapsed().as_secs_f64();
    (turns.waits, pings)
}

fn set_interval(pool: &Pool<Objects>, interval: Duration) {
    pool.change(|settings| settings.sweep_interval = Some(interval)).expect("it is not zero");
    // Until the pass is over, or until the first is well under way.
    thread::sleep(Duration::from_millis(20));
}

/// One half beside the other.
struct Round {
    still: Histogram,
    swept: Histogram,
    pings: f64,
}

fn round(
    pool: &Pool<Objects>,
    order: [Duration; 2],
    mut measure: impl FnMut() -> (Histogram, f64),
) -> Round {
    let halves = order.map(|interval| {
        set_interval(pool, interval);
        measure()
    });
    let [(still, _), (swept, pings)] = if order == STILL_FIRST {
        halves
    } else {
        let [swept, still] = halves;
        [still, swept]
    };
    Round { still, swept, pings }
}

fn rows(table: &mut Table, name: &str, rounds: &[Round]) {
    for (title, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let show = |nanos: f64| format!("{nanos:.0} ns");
        let spread = |of: &dyn Fn(&Round) -> f64| rounds.iter().map(of).collect::<Spread>();
        let still = |round: &Round| round.still.nanos_at(share);
        let swept = |round: &Round| round.swept.nanos_at(share);
        let raised = spread(&|round| (swept(round) / still(round) - 1.0) * 100.0);
        let percent = |raised: f64| format!("{raised:+.1} %");
        let asked =
            if title == "p99" { verdict(raised.median(), 10.0, percent) } else { String::new() };
        table.row([
            format!("{name}: {title}"),
            spread(&still).show(show),
            spread(&swept).show(show),
            raised.show(percent),
            asked,
            format!("{:.0}", spread(&|round| round.pings).median()),
        ]);
    }
}

fn main() {
    let Some(length) = Length::asked() else { return };
    let (count, time) =
        length.pick((20, Duration::from_millis(180)), (3, Duration::from_millis(50)));
    let pool = pool();
    let mut table = Table::new(&[
        "get, median (quartiles) of rounds",
        "no sweep",
        "sweep",
        "raised by",
        "asked",
        "pings/s",
    ]);
    let mut case = |name: &str, threads, hold: &(dyn Fn() + Sync)| {
        eprint!("\r{name:60}");
        let measure = || borrow(&pool, threads, hold, time);
        let orders = [STILL_FIRST, SWEPT_FIRST].into_iter().cycle().take(count);
        let rounds: Vec<_> = orders.map(|order| round(&pool, order, measure)).collect();
        rows(&mut table, name, &rounds);
    };
    let busy = || work(Duration::from_micros(20));
    case("1 thread, no hold", 1, &|| ());
    case("a thread for each core, no hold", cores(), &|| ());
    case("1 thread, 20 µs", 1, &busy);
    case("a thread for each core, 20 µs", cores(), &busy);
    case("8 threads, sleep of 200 µs", 8, &|| thread::sleep(Duration::from_micros(200)));
    eprint!("\r{:60}\r", "");
    println!("{count} rounds each; {}\n\n{table}", conditions());
}
