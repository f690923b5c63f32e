//! The pools behind one trait, so that each scenario is written once.
//!
//! A pool for threads is used from threads, one for tasks from tasks on tokio. Either way the
//! borrower is written as a future; that of a pool for threads blocks its thread and is never
//! pending.

mod bb8;
mod caliburn;
mod deadpool;
mod r2d2;

use crate::driver::{Async, Blocking};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime::Handle;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A pool, whichever it is.
pub trait Peer: Send + Sync {
    /// One borrower's turn: get a connection, tell `got` what came of it, query once, give back.
    fn turn<'a>(&'a self, got: Got<'a>) -> BoxFuture<'a, io::Result<()>>;
}

/// Told once in each turn.
pub type Got<'a> = &'a (dyn Fn(Result<(), Refusal>) + Sync);

/// Why there was no connection.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub text: String,
    /// Whether it carries what went wrong underneath.
    pub has_cause: bool,
}

impl Refusal {
    fn of(error: &dyn Error) -> Self {
        Self { text: error.to_string(), has_cause: error.source().is_some() }
    }
}

/// The same for all pools.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max: usize,
    /// So many connections are open before the scenario begins, and are kept.
    pub idle: usize,
    /// The limit of one `get`.
    pub get: Duration,
    /// Has every connection checked before it is lent.
    pub check: Option<Check>,
}

/// Limits for those pools that have them.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    pub ping: Duration,
    pub connect: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    CaliburnThreads,
    CaliburnTasks,
    R2d2,
    Bb8,
    Deadpool,
}

impl Which {
    pub const ALL: [Self; 5] =
        [Self::CaliburnThreads, Self::CaliburnTasks, Self::R2d2, Self::Bb8, Self::Deadpool];

    fn name(self) -> &'static str {
        match self {
            Self::CaliburnThreads => "caliburn, threads",
            Self::CaliburnTasks => "caliburn, tasks",
            Self::R2d2 => "r2d2",
            Self::Bb8 => "bb8",
            Self::Deadpool => "deadpool",
        }
    }

    fn uses_threads(self) -> bool {
        matches!(self, Self::CaliburnThreads | Self::R2d2)
    }

    /// Builds the pool and waits until its first connections are open.
    pub async fn build(
        self,
        limits: Limits,
        for_threads: impl Blocking,
        for_tasks: impl Async,
    ) -> Result<Arc<dyn Peer>, Box<dyn Error>> {
        match self {
            Self::CaliburnThreads => caliburn::for_threads(limits, for_threads),
            Self::CaliburnTasks => caliburn::for_tasks(limits, for_tasks).await,
            Self::R2d2 => r2d2::pool(limits, for_threads),
            Self::Bb8 => bb8::pool(limits, for_tasks).await,
            Self::Deadpool => deadpool::pool(limits, for_tasks).await,
        }
    }

    /// Runs a borrower: on a thread of its own, or as a task.
    pub fn spawn(self, handle: &Handle, borrower: impl Future<Output = ()> + Send + 'static) {
        if self.uses_threads() {
            let handle = handle.clone();
            thread::spawn(move || handle.block_on(borrower));
        } else {
            handle.spawn(borrower);
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What runs here: cores, and versions.
pub fn versions() -> String {
    versions_of(&["caliburn", "r2d2", "bb8", "deadpool", "tokio"])
}

/// The versions are those of this package's lock file.
pub fn versions_of(names: &[&str]) -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut line = format!("{cores} cores");
    for name in names {
        let version = include_str!("../../Cargo.lock")
            .split("[[package]]")
            .find_map(|package| package.split_once(&format!("name = \"{name}\"\nversion = \"")))
            .and_then(|(_, rest)| rest.split('"').next())
            .unwrap_or("?");
        line += &format!(", {name} {version}");
    }
    line
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_lock_file_tells_all_versions() {
        assert!(!super::versions().contains('?'), "{}", super::versions());
    }
}
