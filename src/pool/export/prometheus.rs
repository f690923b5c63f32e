//! The text that Prometheus reads.

use super::instruments::{ALL, Figures, Instrument, Kind, POOL, Reading, bounds};
use super::named::by_name;
use crate::manager::Manager;
use crate::pool::handle::Pool;
use crate::stats::Histogram;
use std::fmt;

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
    pools: Vec<(String, Figures)>,
}

impl Prometheus {
    /// Returns an empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the figures of `pool` at this moment, under its `name`, and those of its
    /// [reserve](Pool::reserved), under the name with `-reserved` after it.
    ///
    /// Prometheus refuses a whole text in which a name stands for two pools. So one that is taken
    /// is numbered: the second pool called `songs` is reported as `songs-2`.
    pub fn with<M: Manager>(mut self, name: &str, pool: &Pool<M>) -> Self {
        for (name, pool) in by_name(name, pool) {
            let name = self.free_name(escaped(&name));
            self.pools.push((name, Figures { stats: pool.stats(), settings: pool.settings() }));
        }
        self
    }

    fn free_name(&self, name: String) -> String {
        let is_free = |name: &String| self.pools.iter().all(|(taken, _)| taken != name);
        let numbered = (2u32..).map(|number| format!("{name}-{number}"));
        std::iter::once(name.clone()).chain(numbered).find(is_free).unwrap_or(name)
    }
}

/// As the value of a label.
fn escaped(name: &str) -> String {
    name.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

/// A name as Prometheus has it.
fn plain(name: &str) -> String {
    name.replace('.', "_")
}

impl Instrument {
    /// By the rules of OpenTelemetry: with the unit, unless that is what is counted, and `total` if
    /// it only rises.
    fn prometheus_name(&self) -> String {
        plain(self.name)
            + if self.unit == "s" { "_seconds" } else { "" }
            + if matches!(self.kind, Kind::Counter(_)) { "_total" } else { "" }
    }

    fn prometheus_type(&self) -> &'static str {
        match self.kind {
            Kind::UpDownCounter(_) => "gauge",
            Kind::Counter(_) => "counter",
            Kind::Histogram(_) => "histogram",
        }
    }
}

impl fmt::Display for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for instrument in ALL {
            let (name, kind) = (instrument.prometheus_name(), instrument.prometheus_type());
            writeln!(f, "# HELP {name} {}\n# TYPE {name} {kind}", instrument.description)?;
            for (pool, figures) in &self.pools {
                let pool = format!("{}=\"{pool}\"", plain(POOL));
                match instrument.kind {
                    Kind::UpDownCounter(reading) | Kind::Counter(reading) => {
                        write_numbers(f, &name, &pool, reading, figures)?;
                    }
                    Kind::Histogram(of) => write_times(f, &name, &pool, of(&figures.stats))?,
                }
            }
        }
        Ok(())
    }
}

fn write_numbers(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    pool: &str,
    reading: Reading,
    figures: &Figures,
) -> fmt::Result {
    for (attribute, number) in reading.read(figures) {
        match attribute {
            None => writeln!(f, "{name}{{{pool}}} {number}")?,
            Some((key, value)) => {
                writeln!(f, "{name}{{{pool},{}=\"{value}\"}} {number}", plain(key))?;
            }
        }
    }
    Ok(())
}

fn write_times(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    pool: &str,
    times: &Histogram,
) -> fmt::Result {
    for bound in bounds() {
        let (le, count) = (bound.as_secs_f64(), times.count_up_to(bound));
        writeln!(f, "{name}_bucket{{{pool},le=\"{le}\"}} {count}")?;
    }
    let (count, sum) = (times.count(), times.sum().as_secs_f64());
    writeln!(f, "{name}_bucket{{{pool},le=\"+Inf\"}} {count}")?;
    writeln!(f, "{name}_sum{{{pool}}} {sum}")?;
    writeln!(f, "{name}_count{{{pool}}} {count}")
}
