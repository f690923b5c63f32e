//! What the command line says.

use caliburn::HealthStrategy;
use caliburn::health::{AgeEviction, PeriodicSweep, PingAfterFailure, PingOnBorrow};
use std::time::Duration;

pub(crate) const HELP: &str = "\
Threads and tasks insert into one SQLite database and read from it through one pool,
in bursts, while connections are cut. At the end nothing must be lost.

  --health WHAT   the health strategy (default all):
                    ping   ping before each loan
                    sweep  ping idle connections in the background
                    age    limit the age and the uses of a connection
                    all    all of these, and ping after failure
  --threads N     threads that call get (default 4)
  --tasks N       tasks that await get_async (default 12)
  --size N        the most connections (default 4)
  --seconds S     how long to go on (default 3, if --ops is not given)
  --ops N         how many operations to do
  --help          this text";

/// What the command line says.
pub(crate) struct Plan {
    pub(crate) health: String,
    pub(crate) threads: usize,
    pub(crate) tasks: usize,
    pub(crate) size: usize,
    pub(crate) seconds: Option<f64>,
    pub(crate) ops: Option<u64>,
}

impl Plan {
    /// `None`: only help is wanted.
    pub(crate) fn from_args(
        mut args: impl Iterator<Item = String>,
    ) -> Result<Option<Self>, String> {
        let mut plan =
            Self { health: "all".into(), threads: 4, tasks: 12, size: 4, seconds: None, ops: None };
        while let Some(option) = args.next() {
            let mut value = || args.next().ok_or(format!("{option} needs a value"));
            match option.as_str() {
                "--health" => plan.health = value()?,
                "--threads" => plan.threads = number(&option, &value()?)?,
                "--tasks" => plan.tasks = number(&option, &value()?)?,
                "--size" => plan.size = number(&option, &value()?)?,
                "--seconds" => plan.seconds = Some(number(&option, &value()?)?),
                "--ops" => plan.ops = Some(number(&option, &value()?)?),
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("unknown option {option}")),
            }
        }
        plan.strategy()?;
        if plan.threads + plan.tasks == 0 {
            return Err("--threads or --tasks must be more than 0".into());
        }
        if plan.threads > 1000 || plan.tasks > 100_000 {
            return Err("at most 1000 threads and 100000 tasks".into());
        }
        if !(1..=1000).contains(&plan.size) {
            return Err("--size must be from 1 to 1000".into());
        }
        if plan.seconds.is_some_and(|seconds| !(0.0..=86_400.0).contains(&seconds)) {
            return Err("--seconds must be from 0 to 86400".into());
        }
        if plan.ops.is_none() {
            plan.seconds.get_or_insert(3.0);
        }
        Ok(Some(plan))
    }

    /// Chosen at run time, as by a configuration file.
    pub(crate) fn strategy(&self) -> Result<Box<dyn HealthStrategy>, String> {
        let ping = PingOnBorrow::always();
        let sweep = PeriodicSweep::every(Duration::from_millis(20));
        let age = AgeEviction::default().max_lifetime(Duration::from_millis(250)).max_uses(1000);
        Ok(match self.health.as_str() {
            "ping" => Box::new(ping),
            "sweep" => Box::new(sweep),
            "age" => Box::new(age),
            "all" => Box::new((ping, sweep, age, PingAfterFailure)),
            other => return Err(format!("--health must be ping, sweep, age or all, not {other}")),
        })
    }
}

fn number<T: std::str::FromStr>(option: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{option} needs a number, not {value}"))
}
