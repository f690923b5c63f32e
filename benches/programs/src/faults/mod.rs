//! What the pool does when the server, the network or the driver fails, scenario by scenario: each
//! injures something, measures, and adds its rows to the report.

pub mod closing;
pub mod cut;
pub mod handoff;
pub mod limits;
pub mod mute;
pub mod outage;
pub mod overload;
pub mod password;
pub mod wired;

use crate::harness::options::Length;
use crate::harness::table::Report;
use crate::harness::turns::workers;
use caliburn::{AsyncManager, Builder, Pool};
use std::time::Duration;
use tokio::runtime::Runtime;

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
