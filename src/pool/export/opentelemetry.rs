//! Figures for the SDK of OpenTelemetry, by its API.

use super::instruments::{ALL, Attribute, Instrument, Kind, POOL, Reading, Times, bounds};
use super::watched::{Look, NameTaken, Pools};
use crate::fork::{Own, PerProcess};
use crate::manager::Manager;
use crate::pool::handle::Pool;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{self, Meter};
use std::collections::BTreeMap;

/// Reports the figures of pools to OpenTelemetry.
///
/// Names, units and kinds of instruments are [those of the conventions][otel], with the pool's name
/// as `db.client.connection.pool.name`; the [module](super)'s page has more on them. Counters and
/// up-down counters are observable: the SDK asks for them at each collection. One meter should have
/// one exporter, to which pools can be [added](Self::add) at any time.
///
/// Histograms cannot be observed in OpenTelemetry. They get the durations recorded since the last
/// collection when the first observable instrument is asked for its figures. So views that drop all
/// observable instruments leave the histograms empty: keep one of them, such as
/// `db.client.connection.max`.
///
/// The meter's provider keeps what it asks, so the exporter itself need not be kept. Pools are not
/// kept alive: once the last handle of a pool is dropped, its up-down counters are not reported any
/// more. Counters, and histograms which are cumulative, stay as they were, and a pool that is added
/// under the same name goes on from there. A forked child begins without pools.
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
            pools: Pools::new(),
            collected: PerProcess::new(),
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
                Kind::Counter(_) => {
                    let builder = meter.u64_observable_counter(instrument.name);
                    let builder = builder.with_callback(move |observer| {
                        shared.tell_total(number, |value, of| observer.observe(value, of));
                    });
                    let builder = builder.with_unit(instrument.unit);
                    builder.with_description(instrument.description).build();
                }
                Kind::Histogram(_) => {}
            }
        }
        Self { shared }
    }

    /// From now on reports the figures of `pool` too, and of its [reserve](Pool::reserved), counted
    /// from when they were built. Report a pool under one name only, or its events count twice.
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
        self.shared.pools.add(&name.into(), pool)?;
        lock(&self.shared.collected.get()).readers = !0;
        Ok(())
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
    pools: Pools,
    collected: PerProcess<Mutex<Collected>>,
}

/// What was collected last. The SDK asks each instrument by itself; all of one collection report
/// the same.
#[derive(Debug)]
struct Collected {
    collection: Arc<Collection>,
    /// The instruments that have reported it, a bit for each: one that comes again begins the next
    /// collection.
    readers: u64,
}

// A bit for each.
const _: () = assert!(ALL.len() <= 64);

impl Default for Collected {
    fn default() -> Self {
        Self { collection: Arc::default(), readers: !0 }
    }
}

#[derive(Debug, Default)]
struct Collection {
    looks: Vec<(Arc<str>, Look)>,
    /// What the counters have come to by now, for each name that was ever reported.
    totals: BTreeMap<Arc<str>, Totals>,
}

/// For each instrument; none for those that are not counters.
type Totals = Vec<Vec<(Option<Attribute>, u64)>>;

impl Shared {
    /// Tells the SDK what an up-down counter reads.
    fn tell(&self, number: usize, reading: Reading, observe: impl Fn(u64, &[KeyValue])) {
        for (pool, look) in &self.collect(number).looks {
            for (attribute, value) in reading.read(&look.now) {
                observe(value, &attributes(pool, attribute));
            }
        }
    }

    /// Tells the SDK what a counter has come to.
    fn tell_total(&self, number: usize, observe: impl Fn(u64, &[KeyValue])) {
        for (pool, totals) in &self.collect(number).totals {
            for &(attribute, value) in totals.get(number).into_iter().flatten() {
                observe(value, &attributes(pool, attribute));
            }
        }
    }

    /// The collection that the instrument is to report. The SDK is told while no lock is held.
    fn collect(&self, number: usize) -> Arc<Collection> {
        let own = self.collected.get();
        let mut collected = lock(&own);
        let is_next = collected.readers & 1 << number != 0;
        if is_next {
            let next = collected.collection.next(&self.pools);
            *collected = Collected { collection: Arc::new(next), readers: 0 };
        }
        collected.readers |= 1 << number;
        let collection = Arc::clone(&collected.collection);
        drop(collected);
        if is_next {
            self.record(&collection.looks);
        }
        collection
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

fn lock(own: &Own<Mutex<Collected>>) -> MutexGuard<'_, Collected> {
    own.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Collection {
    /// Looks at all pools, and forgets those that are gone.
    fn next(&self, pools: &Pools) -> Self {
        let (mut looks, mut totals, mut gone) = (Vec::new(), self.totals.clone(), Vec::new());
        for pool in pools.all() {
            match pool.look() {
                Some(look) => {
                    add(totals.entry(Arc::clone(&pool.name)).or_default(), &look);
                    looks.push((Arc::clone(&pool.name), look));
                }
                None => gone.push(pool),
            }
        }
        pools.forget(&gone);
        Self { looks, totals }
    }
}

/// Adds what has happened since the last collection.
fn add(totals: &mut Totals, look: &Look) {
    totals.resize_with(ALL.len(), Vec::new);
    for (instrument, total) in ALL.iter().zip(totals) {
        let Kind::Counter(reading) = instrument.kind else { continue };
        let since = reading.read(&look.since);
        if total.is_empty() {
            *total = since;
        } else {
            // The same attributes, in the same order.
            total.iter_mut().zip(since).for_each(|((_, total), (_, more))| *total += more);
        }
    }
}

fn attributes(pool: &Arc<str>, attribute: Option<Attribute>) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new(POOL, Arc::clone(pool))];
    attributes.extend(attribute.map(|(key, value)| KeyValue::new(key, value)));
    attributes
}
