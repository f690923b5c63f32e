//! Pools for PostgreSQL and their borrowers, who all do the same: get a connection, ask for `SELECT
//! 1`, give it back.

mod tasks;
mod threads;
mod turns;

pub use turns::{Log, Times};

use caliburn::health::{HealthStrategy, PingOnBorrow};
use caliburn::{Builder, Fairness, Manager, Pool, Stats};
use std::fmt;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Connections in every pool, all open before anything is measured.
pub const SIZE: usize = 8;

/// For a pool to open its connections.
const START: Duration = Duration::from_secs(30);

/// How to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
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
    pub const ALL: [Self; 2] = [Self::Prepared, Self::Simple];
    const SQL: &str = "SELECT 1";
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

/// Whether a connection is checked before it is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    Never,
    /// With a round trip, each time.
    Always,
}

/// A pool in one of its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Which {
    pub pool: Name,
    pub borrowers: Borrowers,
    pub checks: Checks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Caliburn,
    /// With [`Fairness::BoundedBarging`]: a newcomer may go before those who wait, as with the
    /// peers, though not for ever.
    Barging,
    /// The first one again.
    Control,
    /// caliburn with a manager that does no more than those of the others: it rolls nothing back.
    Bare,
    Bb8,
    Deadpool,
    /// Which lends what came back last, as caliburn does, and not what has been idle for longest.
    DeadpoolLifo,
    R2d2,
}

/// Who borrows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Borrowers {
    /// On one tokio runtime.
    Tasks,
    Threads,
    /// Threads that block on what tasks would await, outside of the runtime on which the
    /// connections live.
    Outsiders,
}

impl Borrowers {
    pub const ALL: [Self; 3] = [Self::Tasks, Self::Threads, Self::Outsiders];

    fn peers(self) -> &'static [Name] {
        match self {
            Self::Tasks | Self::Outsiders => &[Name::Deadpool, Name::Bb8],
            Self::Threads => &[Name::R2d2],
        }
    }

    /// Who serves them: caliburn and its peers, and those who were asked for besides.
    pub fn pools(self, besides: &[Name]) -> Vec<Which> {
        let names = [&[Name::Caliburn, Name::Barging], besides, self.peers()].concat();
        let is_one = |name: &Name| *name != Name::DeadpoolLifo || self != Self::Threads;
        let names = names.into_iter().filter(is_one);
        let both = |pool| {
            [Checks::Never, Checks::Always].map(|checks| Which { pool, borrowers: self, checks })
        };
        names.flat_map(both).collect()
    }
}

impl fmt::Display for Borrowers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tasks => "tasks",
            Self::Threads => "threads",
            Self::Outsiders => "outsiders",
        })
    }
}

impl Name {
    pub fn is_peer(self) -> bool {
        matches!(self, Self::Bb8 | Self::Deadpool | Self::DeadpoolLifo | Self::R2d2)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caliburn => "caliburn",
            Self::Barging => "caliburn, barging",
            Self::Control => "caliburn, again",
            Self::Bare => "caliburn, bare",
            Self::Bb8 => "bb8",
            Self::Deadpool => "deadpool",
            Self::DeadpoolLifo => "deadpool, last first",
            Self::R2d2 => "r2d2",
        })
    }
}

impl Which {
    /// As its makers deliver it.
    pub fn is_default(self) -> bool {
        let checks = match self.pool {
            Name::Bb8 | Name::R2d2 => Checks::Always,
            _ => Checks::Never,
        };
        self.checks == checks
    }

    /// What it was told about checks.
    pub fn setting(self) -> &'static str {
        match (self.pool, self.checks) {
            (Name::Bb8 | Name::R2d2, Checks::Never) => "test_on_check_out(false)",
            (Name::Bb8 | Name::R2d2, Checks::Always) => "test_on_check_out(true)",
            (Name::Deadpool | Name::DeadpoolLifo, Checks::Never) => "RecyclingMethod::Fast",
            (Name::Deadpool | Name::DeadpoolLifo, Checks::Always) => "RecyclingMethod::Verified",
            (Name::Barging, Checks::Never) => "BoundedBarging(10 ms)",
            (Name::Barging, Checks::Always) => "BoundedBarging(10 ms), PingOnBorrow::always()",
            (_, Checks::Never) => "no strategy",
            (_, Checks::Always) => "PingOnBorrow::always()",
        }
    }

    /// Builds the pool and has it open all its connections.
    pub fn build(self, dsn: &str, runtime: &Runtime) -> Box<dyn Contender> {
        let is_blocking = self.borrowers == Borrowers::Threads;
        match self.pool {
            Name::R2d2 => threads::r2d2(self.checks, dsn),
            Name::Bare if is_blocking => threads::bare(self, dsn),
            _ if is_blocking => threads::caliburn(self, dsn),
            Name::Bb8 => tasks::bb8(self, dsn, runtime),
            Name::Deadpool | Name::DeadpoolLifo => tasks::deadpool(self, dsn, runtime),
            Name::Bare => tasks::bare(self, dsn, runtime),
            Name::Caliburn | Name::Barging | Name::Control => tasks::caliburn(self, dsn, runtime),
        }
    }
}

/// A pool with its connections open.
pub trait Contender {
    /// So many borrowers take turns, for the times given.
    fn take_turns(&self, borrowers: usize, query: Query, times: Times) -> Log;

    /// What it counted itself, if it does.
    fn stats(&self) -> Option<Stats> {
        None
    }
}

/// A manager as an outsider would write one in a minute.
struct Bare<C>(C);

fn configured<M: Manager>(builder: Builder<M>, which: Which) -> Builder<M> {
    let strategy: Box<dyn HealthStrategy> = match which.checks {
        Checks::Never => Box::new(()),
        Checks::Always => Box::new(PingOnBorrow::always()),
    };
    let fairness = match which.pool {
        Name::Barging => Fairness::BoundedBarging(Duration::from_millis(10)),
        _ => Fairness::Fifo,
    };
    builder.max_size(SIZE).min_size(SIZE).health(strategy).fairness(fairness)
}

fn filled<M: Manager>(pool: Pool<M>) -> Pool<M> {
    pool.ready(START).unwrap_or_else(|error| panic!("caliburn did not start: {error}"));
    pool
}
