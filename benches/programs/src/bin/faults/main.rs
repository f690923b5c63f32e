//! What the pool does when the server, the network or the driver fails, scenario by scenario: each
//! injures something, measures, and adds its rows to the report.

mod closing;
mod cut;
mod handoff;
mod limits;
mod mute;
mod outage;
mod overload;
mod password;
mod wired;

use caliburn::{AsyncManager, Builder, Pool};
use caliburn_benches::common::{AsyncFake, AsyncWire, Fake, Wire};
use caliburn_benches::harness::*;
use clap::Parser;
use std::time::Duration;
use tokio::runtime::Runtime;

/// What the pool does when things go wrong: each scenario injures the server, the network or the
/// driver, and measures. Two minutes and a half. A figure that is missed is marked and counted, and
/// that is all.
#[derive(Parser)]
struct Options {
    /// Only scenarios with this in their names, as outage
    #[arg(long, default_value = "")]
    only: String,
    /// Outages and overload last for 30 s
    #[arg(long)]
    long: bool,
    #[command(flatten)]
    length: Length,
}

/// By its name; takes about so many seconds.
type Scenario = (&'static str, usize, fn(&mut Bench));

const SCENARIOS: &[Scenario] = &[
    ("mute connect, threads", 2, mute::connect::<Wire>),
    ("mute connect, tasks", 2, mute::connect::<AsyncWire>),
    ("mute ping, threads", 1, mute::ping::<Fake>),
    ("mute ping, tasks", 1, mute::ping::<AsyncFake>),
    ("outage black hole, threads", 15, outage::black_hole::<Wire>),
    ("outage black hole, tasks", 15, outage::black_hole::<AsyncWire>),
    ("outage refused, threads", 7, outage::refused::<Wire>),
    ("outage refused, tasks", 7, outage::refused::<AsyncWire>),
    ("overload, threads", 9, |bench| overload::overload(bench, Face::Threads)),
    ("overload, tasks", 9, |bench| overload::overload(bench, Face::Tasks)),
    ("one return during a hanging connect, threads", 1, handoff::returns::<Fake>),
    ("one return during a hanging connect, tasks", 1, handoff::returns::<AsyncFake>),
    ("half of 64 cut, threads", 2, cut::half::<Wire>),
    ("half of 64 cut, tasks", 2, cut::half::<AsyncWire>),
    ("wrong password, threads", 8, password::wrong::<Wire>),
    ("wrong password, tasks", 8, password::wrong::<AsyncWire>),
    ("limit of a get, threads", 16, |bench| limits::gets(bench, Face::Threads)),
    ("limit of a get, tasks", 9, |bench| limits::gets(bench, Face::Tasks)),
    ("limit of a call", 6, limits::calls),
    ("close of a mute server, threads", 3, closing::closed::<Wire>),
    ("close of a mute server, tasks", 3, closing::closed::<AsyncWire>),
];

/// What a scenario is given.
struct Bench {
    runtime: Runtime,
    report: Report,
    /// How long outages and overload last.
    lasts: Duration,
    length: Length,
}

impl Bench {
    /// A pool whose calls are tasks of the runtime.
    fn builder<M: AsyncManager>(&self, manager: M) -> Builder<M> {
        let handle = self.runtime.handle().clone();
        Pool::builder_async(manager).spawner(move |task| drop(handle.spawn(task)))
    }
}

/// By how many percent of `asked` it took longer.
fn overshoot(millis: f64, asked: Duration) -> f64 {
    (millis / (asked.as_secs_f64() * 1e3) - 1.0) * 100.0
}

fn main() {
    let Options { only, long, length } = Options::parse();
    let lasts = if long { ms(30_000) } else { length.pick(ms(6000), ms(4000)) };
    let chosen: Vec<_> = SCENARIOS.iter().filter(|(name, ..)| name.contains(&only)).collect();
    let progress = Progress::new(chosen.iter().map(|(_, seconds, _)| seconds).sum());
    let mut bench = Bench { runtime: workers(2), report: Report::default(), lasts, length };
    for (name, seconds, scenario) in chosen {
        progress.say(*name);
        scenario(&mut bench);
        progress.advance(*seconds);
    }
    drop(progress);
    bench.report.print();
}
