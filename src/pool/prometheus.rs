//! The figures of pools as a monitoring system reads them.

use super::handle::Pool;
use crate::config::Settings;
use crate::manager::Manager;
use crate::stats::{Histogram, Stats};
use std::fmt;
use std::time::Duration;

/// The upper ends of the buckets, in milliseconds: those that OpenTelemetry advises for these
/// histograms.
const BOUNDS_MS: [u64; 9] = [1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000];

/// The figures of one or several pools; `Display` writes them in the text format of Prometheus.
///
/// Names are those of [OpenTelemetry's conventions][otel] for database clients where there is one
/// (`db.client.connection.count` is `db_client_connection_count`, and so on, with the pool's name
/// as `db_client_connection_pool_name`); all others begin with `caliburn_`.
///
/// [otel]: https://opentelemetry.io/docs/specs/semconv/database/database-metrics/
///
/// ```
/// # use caliburn::{Manager, Pool};
/// fn metrics<M: Manager>(songs: &Pool<M>, users: &Pool<M>) -> String {
///     caliburn::Prometheus::new().with("songs", songs).with("users", users).to_string()
/// }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Prometheus {
    pools: Vec<(String, Stats, Settings)>,
}

impl Prometheus {
    /// Returns an empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the figures of `pool` at this moment, under a unique `name`.
    pub fn with<M: Manager>(mut self, name: &str, pool: &Pool<M>) -> Self {
        self.pools.push((escaped(name), pool.stats(), pool.settings()));
        self
    }
}

/// As the value of a label.
fn escaped(name: &str) -> String {
    name.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

const POOL: &str = "db_client_connection_pool_name";

/// A figure that is one number for each pool.
struct Figure {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Stats, &Settings) -> u64,
}

/// A histogram for each pool, in seconds.
struct Times {
    name: &'static str,
    help: &'static str,
    of: fn(&Stats) -> &Histogram,
}

macro_rules! figures {
    ($($kind:ident $name:literal $help:literal $value:expr;)+) => {
        [$(Figure { name: $name, kind: stringify!($kind), help: $help, value: $value }),+]
    };
}

const FIGURES: &[Figure] = &figures! {
    gauge "db_client_connection_idle_max" "The most connections that may lie idle."
        |_, settings| settings.max_size as u64;
    gauge "db_client_connection_idle_min" "The fewest connections that should lie idle."
        |_, settings| settings.min_idle as u64;
    gauge "db_client_connection_max" "The most connections that may be open."
        |stats, _| stats.max_size as u64;
    gauge "db_client_connection_pending_requests" "Borrowers that wait in line."
        |stats, _| stats.waiting as u64;
    counter "db_client_connection_timeouts_total" "Checkouts that timed out."
        |stats, _| stats.timeouts;
    gauge "caliburn_opening" "Connections being opened."
        |stats, _| stats.opening as u64;
    gauge "caliburn_quarantined" "Slots whose call into the driver has outlived its limit."
        |stats, _| stats.quarantined as u64;
    counter "caliburn_checkouts_total" "Connections lent."
        |stats, _| stats.checkouts;
    counter "caliburn_waits_total" "Borrowers that had to stand in line."
        |stats, _| stats.waits;
    counter "caliburn_cancellations_total" "Waiters whose future was dropped."
        |stats, _| stats.cancellations;
    counter "caliburn_refusals_total" "Borrowers refused because too many waited."
        |stats, _| stats.refusals;
    counter "caliburn_connect_failures_total" "Attempts to connect that failed."
        |stats, _| stats.connect_failures;
    counter "caliburn_outages_total" "Times that connecting began to fail."
        |stats, _| stats.outages;
    counter "caliburn_pings_total" "Pings."
        |stats, _| stats.pings;
    counter "caliburn_ping_failures_total" "Pings that failed."
        |stats, _| stats.ping_failures;
    counter "caliburn_resets_total" "Resets."
        |stats, _| stats.resets;
    counter "caliburn_leaks_total" "Loans that lasted too long."
        |stats, _| stats.leaks;
};

const TIMES: [Times; 3] = [
    Times {
        name: "db_client_connection_create_time_seconds",
        help: "How long it took to open connections.",
        of: |stats| &stats.connect_time,
    },
    Times {
        name: "db_client_connection_wait_time_seconds",
        help: "How long borrowers stood in line.",
        of: |stats| &stats.wait_time,
    },
    Times {
        name: "db_client_connection_use_time_seconds",
        help: "How long measured loans lasted.",
        of: |stats| &stats.use_time,
    },
];

fn head(f: &mut fmt::Formatter<'_>, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(f, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

impl fmt::Display for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = "db_client_connection_count";
        head(f, name, "gauge", "Open connections, by state.")?;
        for (pool, stats, _) in &self.pools {
            for (state, count) in [("idle", stats.idle), ("used", stats.size - stats.idle)] {
                let label = format!("db_client_connection_state=\"{state}\"");
                writeln!(f, "{name}{{{POOL}=\"{pool}\",{label}}} {count}")?;
            }
        }
        for Figure { name, kind, help, value } in FIGURES {
            head(f, name, kind, help)?;
            for (pool, stats, settings) in &self.pools {
                writeln!(f, "{name}{{{POOL}=\"{pool}\"}} {}", value(stats, settings))?;
            }
        }
        let name = "caliburn_evictions_total";
        head(f, name, "counter", "Connections evicted, by cause.")?;
        for (pool, stats, _) in &self.pools {
            for (cause, count) in stats.evictions.iter() {
                writeln!(f, "{name}{{{POOL}=\"{pool}\",cause=\"{cause}\"}} {count}")?;
            }
        }
        for Times { name, help, of } in TIMES {
            head(f, name, "histogram", help)?;
            for (pool, stats, _) in &self.pools {
                write_times(f, name, pool, of(stats))?;
            }
        }
        Ok(())
    }
}

fn write_times(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    pool: &str,
    times: &Histogram,
) -> fmt::Result {
    for bound in BOUNDS_MS.map(Duration::from_millis) {
        let (le, count) = (bound.as_secs_f64(), times.count_up_to(bound));
        writeln!(f, "{name}_bucket{{{POOL}=\"{pool}\",le=\"{le}\"}} {count}")?;
    }
    let (count, sum) = (times.count(), times.sum().as_secs_f64());
    writeln!(f, "{name}_bucket{{{POOL}=\"{pool}\",le=\"+Inf\"}} {count}")?;
    writeln!(f, "{name}_sum{{{POOL}=\"{pool}\"}} {sum}")?;
    writeln!(f, "{name}_count{{{POOL}=\"{pool}\"}} {count}")
}
