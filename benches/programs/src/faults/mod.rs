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

use crate::common::{AsyncFake, AsyncWire, Fake, Wire};
use crate::harness::*;
use caliburn::{AsyncManager, Builder, Pool};
use std::time::Duration;
use tokio::runtime::Runtime;

/// By its name; takes about so many seconds.
pub type Scenario = (&'static str, usize, fn(&mut Bench));

pub const SCENARIOS: &[Scenario] = &[
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
pub struct Bench {
    pub runtime: Runtime,
    pub report: Report,
    /// How long outages and overload last.
    pub lasts: Duration,
    pub length: Length,
}

impl Bench {
    pub fn new(length: Length, lasts: Duration) -> Self {
        Self { runtime: workers(2), report: Report::default(), lasts, length }
    }

    /// A pool whose calls are tasks of the runtime.
    pub fn builder<M: AsyncManager>(&self, manager: M) -> Builder<M> {
        let handle = self.runtime.handle().clone();
        Pool::builder_async(manager).spawner(move |task| drop(handle.spawn(task)))
    }
}

/// By how many percent of `asked` it took longer.
fn overshoot(millis: f64, asked: Duration) -> f64 {
    (millis / (asked.as_secs_f64() * 1e3) - 1.0) * 100.0
}
