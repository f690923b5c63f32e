//! Pools for PostgreSQL and their borrowers, who all do the same: get a connection, ask for `SELECT
//! 1`, give it back.

use crate::{tasks, threads};
use caliburn::health::{HealthStrategy, PingOnBorrow};
use caliburn::{Builder, Fairness, Manager, Pool};
use caliburn_benches::harness::*;
use deadpool::managed::QueueMode;
use postgres::{Row, SimpleQueryMessage};
use std::fmt;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Connections in every pool, all open before anything is measured.
pub(crate) const SIZE: usize = 8;

/// How to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    /// `query_one`: the statement is prepared, executed and closed. Two round trips, and the answer
    /// to the third request is not waited for.
    Prepared,
    /// `simple_query`: one round trip.
    Simple,
    /// `prepare_cached` and `query_one`, of the pools that keep statements: one round trip, but for
    /// the first.
    Cached,
}

impl Query {
    pub(crate) const SQL: &str = "SELECT 1";

    /// The answer to it.
    pub(crate) fn check_row(row: &Row) {
        assert_eq!(row.get::<_, i32>(0), 1);
    }

    /// The answer to it as a simple query.
    pub(crate) fn check(answer: &[SimpleQueryMessage]) {
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        assert_eq!(row, Some("1"));
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepared => "query_one",
            Self::Simple => "simple_query",
            Self::Cached => "prepare_cached",
        })
    }
}

/// On a pool with its connections open: so many borrowers take turns, for the times given.
pub(crate) type TakeTurns = Box<dyn Fn(usize, Query, Times) -> Turns>;

/// One who takes part: a pool in one of its settings.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) face: Face,
    /// Whether a connection is checked before it is lent, with a round trip, each time.
    pub(crate) checks: bool,
    /// What it was told about that.
    pub(crate) setting: &'static str,
    /// As its makers deliver it.
    pub(crate) is_default: bool,
    pub(crate) take_turns: TakeTurns,
}

impl Contender {
    pub(crate) fn is_peer(&self) -> bool {
        !self.name.starts_with("caliburn")
    }
}

pub(crate) const OURS: &str = "caliburn";
/// A newcomer may go before those who wait, as with the peers, though not for ever.
pub(crate) const BARGING: &str = "caliburn, barging";
/// The first one again.
pub(crate) const CONTROL: &str = "caliburn, again";
/// deadpool, lending what came back last, as caliburn does, and not what has been idle for longest.
pub(crate) const LIFO: &str = "deadpool, last first";

/// Everybody, with those who were asked for `besides`.
pub(crate) fn everybody(dsn: &str, runtime: &Runtime, besides: &[&str]) -> Vec<Contender> {
    let mut all = Vec::new();
    for checks in [false, true] {
        let mut add = |name, face, settings: [&'static str; 2], take_turns| {
            // bb8 and r2d2 check.
            let is_default = checks == matches!(name, "bb8" | "r2d2");
            let setting = settings[usize::from(checks)];
            all.push(Contender { name, face, checks, setting, is_default, take_turns });
        };
        let is_wanted = |name: &str| ![CONTROL, LIFO].contains(&name) || besides.contains(&name);
        let strategies = ["no strategy", "PingOnBorrow::always()"];
        let recycling = ["RecyclingMethod::Fast", "RecyclingMethod::Verified"];
        let tests = ["test_on_check_out(false)", "test_on_check_out(true)"];
        let barging = Fairness::BoundedBarging(Duration::from_millis(10));
        for (name, fairness) in
            [(OURS, Fairness::Fifo), (BARGING, barging), (CONTROL, Fairness::Fifo)]
        {
            if is_wanted(name) {
                let settings = Settings { checks, fairness };
                add(name, Face::Tasks, strategies, tasks::caliburn(settings, dsn, runtime));
                add(name, Face::Threads, strategies, threads::caliburn(settings, dsn));
            }
        }
        for (name, mode) in [("deadpool", QueueMode::Fifo), (LIFO, QueueMode::Lifo)] {
            if is_wanted(name) {
                add(name, Face::Tasks, recycling, tasks::deadpool(checks, mode, dsn, runtime));
            }
        }
        add("bb8", Face::Tasks, tests, tasks::bb8(checks, dsn, runtime));
        add("r2d2", Face::Threads, tests, threads::r2d2(checks, dsn));
    }
    all
}

/// Those of caliburn.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    checks: bool,
    fairness: Fairness,
}

impl Settings {
    /// A pool with all its connections open.
    pub(crate) fn open<M: Manager>(self, builder: Builder<M>) -> Pool<M> {
        let strategy: Box<dyn HealthStrategy> =
            if self.checks { Box::new(PingOnBorrow::always()) } else { Box::new(()) };
        let builder = builder.max_size(SIZE).min_size(SIZE).health(strategy);
        let pool = builder.fairness(self.fairness).build().expect("settings in order");
        pool.ready(Duration::from_secs(30)).expect("a server");
        pool
    }
}
