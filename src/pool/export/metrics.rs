//! Figures for the recorders of the crate [metrics](https://docs.rs/metrics).

use super::instruments::{ALL, Attribute, Figures, Instrument, Kind, POOL};
use super::watched::{Look, NameTaken, Pools};
use crate::manager::Manager;
use crate::pool::handle::Pool;
use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit};

/// Publishes the figures of pools to the recorder of the crate `metrics`, each time that
/// [`publish`](Self::publish) is called.
///
/// The names are OpenTelemetry's, with dots ([more on them](super)); the pool's name is the label
/// `db.client.connection.pool.name`. Gauges are set. Counters are raised by what
/// has happened since the last call, so they go on when a pool is replaced by another of the same
/// name, and start anew with a recorder that is installed later. Histograms get the durations
/// recorded since the last call.
///
/// Once the last handle of a pool is dropped, the next call sets its gauges to zero and forgets it.
/// Threads may publish at the same time: each event counts once. A forked child begins without
/// pools.
///
/// ```
/// # use caliburn::{Manager, Pool};
/// use caliburn::export::{Metrics, NameTaken};
/// use std::thread;
/// use std::time::Duration;
///
/// fn watch<M: Manager>(songs: &Pool<M>) -> Result<(), NameTaken> {
///     let metrics = Metrics::new();
///     metrics.add("songs", songs)?;
///     thread::spawn(move || {
///         loop {
///             metrics.publish();
///             thread::sleep(Duration::from_secs(10));
///         }
///     });
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Metrics {
    pools: Pools,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { pools: Pools::new() }
    }
}

const METADATA: Metadata<'static> =
    Metadata::new("caliburn", Level::INFO, Some("caliburn::export"));

impl Metrics {
    /// Returns an exporter without pools.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on publishes the figures of `pool` too, and of its [reserve](Pool::reserved). The
    /// first time counts from when the pool was built. Add a pool to one exporter only, or its
    /// events count twice.
    ///
    /// # Errors
    ///
    /// Returns [`NameTaken`] if another pool has that name, or that of its
    /// [reserve](Pool::reserved): then neither is added.
    pub fn add<M: Manager>(
        &self,
        name: impl Into<String>,
        pool: &Pool<M>,
    ) -> Result<(), NameTaken> {
        self.pools.add(&name.into(), pool)
    }

    /// Publishes the figures of all pools to the recorder: the thread's own or the global one.
    /// Without a recorder they are lost.
    pub fn publish(&self) {
        let mut gone = Vec::new();
        metrics::with_recorder(|recorder| {
            ALL.iter().for_each(|instrument| describe(recorder, instrument));
            for pool in self.pools.all() {
                // One at a time: if the recorder panics, the others lose nothing.
                match pool.look() {
                    Some(look) => {
                        ALL.iter().for_each(|each| publish(recorder, each, &pool.name, &look));
                    }
                    None => {
                        let last = pool.last().into_iter();
                        last.for_each(|last| clear(recorder, &pool.name, &last));
                        gone.push(pool);
                    }
                }
            }
        });
        self.pools.forget(&gone);
    }
}

fn describe(recorder: &dyn Recorder, instrument: &Instrument) {
    let name = KeyName::from_const_str(instrument.name);
    let description = SharedString::const_str(instrument.description);
    let unit = Some(if instrument.unit == "s" { Unit::Seconds } else { Unit::Count });
    match instrument.kind {
        Kind::UpDownCounter(_) => recorder.describe_gauge(name, unit, description),
        Kind::Counter(_) => recorder.describe_counter(name, unit, description),
        Kind::Histogram(_) => recorder.describe_histogram(name, unit, description),
    }
}

fn publish(recorder: &dyn Recorder, instrument: &Instrument, pool: &str, look: &Look) {
    match instrument.kind {
        Kind::UpDownCounter(reading) => {
            for (attribute, number) in reading.read(&look.now) {
                let key = key(instrument, pool, attribute);
                recorder.register_gauge(&key, &METADATA).set(number as f64);
            }
        }
        Kind::Counter(reading) => {
            for (attribute, number) in reading.read(&look.since) {
                let key = key(instrument, pool, attribute);
                recorder.register_counter(&key, &METADATA).increment(number);
            }
        }
        Kind::Histogram(of) => {
            let key = key(instrument, pool, None);
            let histogram = recorder.register_histogram(&key, &METADATA);
            for (duration, count) in of(&look.since.stats).stand_ins() {
                histogram.record_many(duration.as_secs_f64(), count as usize);
            }
        }
    }
}

/// Sets the gauges of a pool that is gone to zero. A recorder forgets none.
fn clear(recorder: &dyn Recorder, pool: &str, last: &Figures) {
    for instrument in ALL {
        let Kind::UpDownCounter(reading) = instrument.kind else { continue };
        for (attribute, _) in reading.read(last) {
            recorder.register_gauge(&key(instrument, pool, attribute), &METADATA).set(0.0);
        }
    }
}

fn key(instrument: &Instrument, pool: &str, attribute: Option<Attribute>) -> Key {
    let mut labels = vec![Label::new(POOL, pool.to_owned())];
    labels.extend(attribute.map(|(key, value)| Label::from_static_parts(key, value)));
    Key::from_parts(instrument.name, labels)
}
