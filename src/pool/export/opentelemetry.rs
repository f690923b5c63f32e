//! Figures for the SDK of OpenTelemetry, by its API.

use super::instruments::{ALL, Attribute, Instrument, Kind, POOL, Reading, Times, bounds};
use super::watched::{self, Look, NameTaken, Watched};
use crate::manager::Manager;
use crate::pool::handle::Pool;
use crate::sync::{Arc, Mutex, PoisonError};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{self, Meter};

/// Reports the figures of pools to OpenTelemetry.
///
/// Names, units and kinds of instruments are [those of the conventions][otel], with the pool's name
/// as `db.client.connection.pool.name`; the [module](super)'s page has more on them. Counters and
/// up-down counters are observable: the SDK asks for them at each collection. Histograms get the
/// durations recorded since the last collection just before it. One meter should have one exporter,
/// to which pools can be [added](Self::add) at any time.
///
/// The meter's provider keeps what it asks, so the exporter itself need not be kept. Pools are not
/// kept alive: once the last handle of a pool is dropped, it is not reported any more, except that
/// histograms which are cumulative stay as they were.
///
/// [otel]: https://opentelemetry.io/docs/specs/semconv/db/database-metrics/
///
/// ```
/// # use caliburn::{Manager, Pool};
/// use caliburn::export::{NameTaken, OpenTelemetry};
///
/// fn watch<M: Manager>(songs: &Pool<M>, users: &Pool<M>) -> Result<(), NameTaken> {
///     let exporter = OpenTelemetry::new(&opentelemetry::global::meter("caliburn"));
///     exporter.add("songs", songs)?;
///     exporter.add("users", users)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct OpenTelemetry {
    shared: Arc<Shared>,
}

impl OpenTelemetry {
    /// Creates the instruments of `meter`. They live as long as its provider: do not call this
    /// again for the same meter.
    pub fn new(meter: &Meter) -> Self {
        let histograms = ALL.iter().filter_map(|instrument| match instrument.kind {
            Kind::Histogram(of) => Some((of, histogram(meter, instrument))),
            Kind::UpDownCounter(_) | Kind::Counter(_) => None,
        });
        let shared = Arc::new(Shared {
            histograms: histograms.collect(),
            collected: Mutex::new(Collected { pools: Vec::new(), looks: Vec::new(), readers: !0 }),
        });
        for (number, instrument) in ALL.iter().enumerate() {
            let shared = Arc::clone(&shared);
            match instrument.kind {
                Kind::UpDownCounter(reading) => {
                    let builder = meter.i64_observable_up_down_counter(instrument.name);
                    let builder = builder.with_callback(move |observer| {
                        let observe = |value, of: &[_]| observer.observe(value as i64, of);
                        shared.tell(number, reading, observe);
                    });
                    let builder = builder.with_unit(instrument.unit);
                    builder.with_description(instrument.description).build();
                }
                Kind::Counter(reading) => {
                    let builder = meter.u64_observable_counter(instrument.name);
                    let builder = builder.with_callback(move |observer| {
                        shared.tell(number, reading, |value, of| observer.observe(value, of));
                    });
                    let builder = builder.with_unit(instrument.unit);
                    builder.with_description(instrument.description).build();
                }
                Kind::Histogram(_) => {}
            }
        }
        Self { shared }
    }

    /// From now on reports the figures of `pool` too, counted from when it was built. Report a pool
    /// under one name only, or its events count twice.
    ///
    /// # Errors
    ///
    /// Returns [`NameTaken`] if another pool has that name.
    pub fn add<M: Manager>(
        &self,
        name: impl Into<String>,
        pool: &Pool<M>,
    ) -> Result<(), NameTaken> {
        let mut collected = self.shared.lock();
        collected.readers = !0;
        watched::add(&mut collected.pools, name.into(), pool)
    }
}

fn histogram(meter: &Meter, instrument: &Instrument) -> metrics::Histogram<f64> {
    let bounds = bounds().map(|bound| bound.as_secs_f64());
    let builder = meter.f64_histogram(instrument.name).with_unit(instrument.unit);
    builder.with_description(instrument.description).with_boundaries(bounds.into()).build()
}

/// What the callbacks share.
#[derive(Debug)]
struct Shared {
    histograms: Vec<(Times, metrics::Histogram<f64>)>,
    collected: Mutex<Collected>,
}

/// What was collected last. The SDK asks each instrument by itself; all of one collection report
/// the same look.
#[derive(Debug)]
struct Collected {
    pools: Vec<Watched>,
    looks: Vec<(Arc<str>, Look)>,
    /// The instruments that have reported it, a bit for each: one that comes again begins the next
    /// collection.
    readers: u64,
}

// A bit for each.
const _: () = assert!(ALL.len() <= 64);

impl Shared {
    fn lock(&self) -> crate::sync::MutexGuard<'_, Collected> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the SDK what an instrument reads.
    fn tell(&self, number: usize, reading: Reading, observe: impl Fn(u64, &[KeyValue])) {
        let mut collected = self.lock();
        if collected.readers & 1 << number != 0 {
            collected.look();
            self.record(&collected.looks);
        }
        collected.readers |= 1 << number;
        for (pool, look) in &collected.looks {
            for (attribute, value) in reading.read(&look.now) {
                observe(value, &attributes(pool, attribute));
            }
        }
    }

    /// Records the durations that are new. The SDK asks its callbacks before it looks at its
    /// histograms, so they are part of the same collection.
    fn record(&self, looks: &[(Arc<str>, Look)]) {
        for (pool, look) in looks {
            let attributes = attributes(pool, None);
            for (of, histogram) in &self.histograms {
                for (duration, count) in of(&look.since.stats).stand_ins() {
                    let seconds = duration.as_secs_f64();
                    (0..count).for_each(|_| histogram.record(seconds, &attributes));
                }
            }
        }
    }
}

impl Collected {
    /// Looks at all pools, and forgets those that are gone.
    fn look(&mut self) {
        let looks = &mut self.looks;
        looks.clear();
        self.pools.retain_mut(|pool| {
            let look = pool.look();
            let is_there = look.is_some();
            looks.extend(look.map(|look| (Arc::clone(&pool.name), look)));
            is_there
        });
        self.readers = 0;
    }
}

fn attributes(pool: &Arc<str>, attribute: Option<Attribute>) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new(POOL, Arc::clone(pool))];
    attributes.extend(attribute.map(|(key, value)| KeyValue::new(key, value)));
    attributes
}
