//! What an SDK of OpenTelemetry collects.

use caliburn::export::OpenTelemetry;
use caliburn_exporters::{ODD_NAMES, borrow_for, counters, pool, pool_with_reserve, time_out};
use opentelemetry::Value;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, InMemoryMetricExporterBuilder, PeriodicReader, SdkMeterProvider,
    Temporality,
};
use opentelemetry_semantic_conventions::{attribute, metric};
use std::collections::BTreeMap;
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);

/// A point of a metric, whatever its kind.
#[derive(Clone, Debug, Default, PartialEq)]
struct Point {
    number: i64,
    count: u64,
    sum: f64,
    bounds: Vec<f64>,
    buckets: Vec<u64>,
}

/// By name of the metric, then of the pool, then of what else it is told apart by.
type Points = BTreeMap<(String, String, String), Point>;

struct Sdk {
    provider: SdkMeterProvider,
    memory: InMemoryMetricExporter,
}

impl Sdk {
    fn new(temporality: Temporality) -> Self {
        let memory = InMemoryMetricExporterBuilder::new().with_temporality(temporality).build();
        let reader = PeriodicReader::builder(memory.clone()).with_interval(3_600_000 * MILLI);
        let provider = SdkMeterProvider::builder().with_reader(reader.build()).build();
        Self { provider, memory }
    }

    fn exporter(&self) -> OpenTelemetry {
        OpenTelemetry::new(&self.provider.meter("caliburn"))
    }

    fn collected(&self) -> Vec<ResourceMetrics> {
        self.memory.reset();
        self.provider.force_flush().unwrap();
        self.memory.get_finished_metrics().unwrap()
    }

    fn points(&self) -> Points {
        let mut points = Points::new();
        for metric in self.collected().iter().flat_map(ResourceMetrics::scope_metrics) {
            metric.metrics().for_each(|metric| read(metric, &mut points));
        }
        points
    }
}

/// The pool's name, and the values of all other attributes.
fn names<'a>(attributes: impl Iterator<Item = &'a opentelemetry::KeyValue>) -> (String, String) {
    let (mut pool, mut others) = (None, String::new());
    for opentelemetry::KeyValue { key, value, .. } in attributes {
        let Value::String(value) = value else { panic!("{value:?}") };
        match key.as_str() {
            attribute::DB_CLIENT_CONNECTION_POOL_NAME => pool = Some(value.to_string()),
            attribute::DB_CLIENT_CONNECTION_STATE | "cause" => others += value.as_str(),
            key => panic!("{key}"),
        }
    }
    (pool.unwrap(), others)
}

fn read(metric: &Metric, points: &mut Points) {
    let mut put = |(pool, others), point| {
        let before = points.insert((metric.name().into(), pool, others), point);
        assert_eq!(before, None);
    };
    let number = |number| Point { number, ..Point::default() };
    match metric.data() {
        AggregatedMetrics::I64(MetricData::Sum(sum)) => {
            assert!(!sum.is_monotonic());
            sum.data_points().for_each(|at| put(names(at.attributes()), number(at.value())));
        }
        AggregatedMetrics::U64(MetricData::Sum(sum)) => {
            assert!(sum.is_monotonic());
            let value = |value: u64| number(value as i64);
            sum.data_points().for_each(|at| put(names(at.attributes()), value(at.value())));
        }
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
            for at in histogram.data_points() {
                let point = Point {
                    count: at.count(),
                    sum: at.sum(),
                    bounds: at.bounds().collect(),
                    buckets: at.bucket_counts().collect(),
                    ..Point::default()
                };
                put(names(at.attributes()), point);
            }
        }
        data => panic!("{data:?}"),
    }
}

fn key(metric: &str, pool: &str, other: &str) -> (String, String, String) {
    (metric.into(), pool.into(), other.into())
}

/// What version 1.42.0 of the conventions says, all of it: name, kind, unit.
const CONVENTIONS: [(&str, &str, &str); 9] = [
    (metric::DB_CLIENT_CONNECTION_COUNT, "updowncounter", "{connection}"),
    (metric::DB_CLIENT_CONNECTION_CREATE_TIME, "histogram", "s"),
    (metric::DB_CLIENT_CONNECTION_IDLE_MAX, "updowncounter", "{connection}"),
    (metric::DB_CLIENT_CONNECTION_IDLE_MIN, "updowncounter", "{connection}"),
    (metric::DB_CLIENT_CONNECTION_MAX, "updowncounter", "{connection}"),
    (metric::DB_CLIENT_CONNECTION_PENDING_REQUESTS, "updowncounter", "{request}"),
    (metric::DB_CLIENT_CONNECTION_TIMEOUTS, "counter", "{timeout}"),
    (metric::DB_CLIENT_CONNECTION_USE_TIME, "histogram", "s"),
    (metric::DB_CLIENT_CONNECTION_WAIT_TIME, "histogram", "s"),
];

#[test]
fn names_kinds_and_units_are_those_of_the_conventions() {
    let sdk = Sdk::new(Temporality::Cumulative);
    let (pool, clock) = pool();
    sdk.exporter().add("songs", &pool).unwrap();
    borrow_for(&pool, &clock, MILLI);
    time_out(&pool);
    // So that there is a wait, and its histogram.
    let all = [pool.get().unwrap(), pool.get().unwrap()];
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| drop(pool.get().unwrap()));
        caliburn_testing::eventually("it waits", || pool.stats().waiting == 1);
        drop(all);
        waiter.join().unwrap();
    });
    let mut found = BTreeMap::new();
    for scope in sdk.collected().iter().flat_map(ResourceMetrics::scope_metrics) {
        for metric in scope.metrics() {
            let kind = match metric.data() {
                AggregatedMetrics::I64(MetricData::Sum(_)) => "updowncounter",
                AggregatedMetrics::U64(MetricData::Sum(_)) => "counter",
                AggregatedMetrics::F64(MetricData::Histogram(_)) => "histogram",
                data => panic!("{data:?}"),
            };
            assert!(!metric.description().is_empty());
            found.insert(metric.name().to_owned(), (kind, metric.unit().to_owned()));
        }
    }
    for (name, kind, unit) in CONVENTIONS {
        assert_eq!(found.remove(name), Some((kind, unit.to_owned())), "{name}");
    }
    let other = found.keys().find(|name| !name.starts_with("caliburn."));
    assert_eq!(other, None, "not in the conventions");
}

#[test]
fn figures_are_those_of_the_pool_at_each_collection() {
    let sdk = Sdk::new(Temporality::Cumulative);
    let (pool, clock) = pool();
    let exporter = sdk.exporter();
    exporter.add("songs", &pool).unwrap();
    for round in 1..=3 {
        borrow_for(&pool, &clock, 30 * MILLI);
        time_out(&pool);
        let _held = pool.get().unwrap();
        let points = sdk.points();
        let number = |name, other| points[&key(name, "songs", other)].number;
        assert_eq!(number(metric::DB_CLIENT_CONNECTION_COUNT, "idle"), 1);
        assert_eq!(number(metric::DB_CLIENT_CONNECTION_COUNT, "used"), 1);
        assert_eq!(number(metric::DB_CLIENT_CONNECTION_MAX, ""), 2);
        assert_eq!(number(metric::DB_CLIENT_CONNECTION_IDLE_MAX, ""), 2);
        assert_eq!(number(metric::DB_CLIENT_CONNECTION_IDLE_MIN, ""), 1);
        assert_eq!(number(metric::DB_CLIENT_CONNECTION_PENDING_REQUESTS, ""), 0);
        assert_eq!(number(metric::DB_CLIENT_CONNECTION_TIMEOUTS, ""), round);
        let stats = pool.stats();
        for (name, count) in counters(&stats) {
            assert_eq!(number(name, ""), count as i64, "{name}");
        }
        for (cause, count) in stats.evictions.iter() {
            assert_eq!(number("caliburn.evictions", cause.as_str()), count as i64);
        }
    }
}

#[test]
fn histograms_have_each_duration_once_and_the_true_sum() {
    let sdk = Sdk::new(Temporality::Cumulative);
    let (pool, clock) = pool();
    sdk.exporter().add("songs", &pool).unwrap();
    let use_time = key(metric::DB_CLIENT_CONNECTION_USE_TIME, "songs", "");
    for round in 1..=4_u64 {
        for millis in [2, 30, 30, 700] {
            borrow_for(&pool, &clock, millis * MILLI);
        }
        let Point { count, sum, bounds, buckets, .. } = sdk.points()[&use_time].clone();
        let truth = pool.stats().use_time;
        assert_eq!((count, truth.count()), (4 * round, 4 * round));
        assert!((sum - truth.sum().as_secs_f64()).abs() < 1e-6, "{sum} for {:?}", truth.sum());
        assert_eq!(bounds, [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0]);
        assert_eq!(buckets, [0, round, 0, 2 * round, 0, 0, round, 0, 0, 0]);
        // A collection without loans changes nothing.
        assert_eq!(sdk.points()[&use_time].count, 4 * round);
    }
}

#[test]
fn two_readers_each_get_all() {
    let memories = [InMemoryMetricExporter::default(), InMemoryMetricExporter::default()];
    let mut builder = SdkMeterProvider::builder();
    for memory in &memories {
        let reader = PeriodicReader::builder(memory.clone()).with_interval(3_600_000 * MILLI);
        builder = builder.with_reader(reader.build());
    }
    let provider = builder.build();
    let (pool, clock) = pool();
    OpenTelemetry::new(&provider.meter("caliburn")).add("songs", &pool).unwrap();
    for round in 1..=3 {
        borrow_for(&pool, &clock, 30 * MILLI);
        memories.iter().for_each(InMemoryMetricExporter::reset);
        provider.force_flush().unwrap();
        for memory in &memories {
            let mut points = Points::new();
            let collected = memory.get_finished_metrics().unwrap();
            for scope in collected.iter().flat_map(ResourceMetrics::scope_metrics) {
                scope.metrics().for_each(|metric| read(metric, &mut points));
            }
            let use_time = key(metric::DB_CLIENT_CONNECTION_USE_TIME, "songs", "");
            assert_eq!(points[&use_time].count, round);
            assert_eq!(points[&key("caliburn.checkouts", "songs", "")].number, round as i64);
        }
    }
}

#[test]
fn pools_lie_side_by_side_under_any_names() {
    let sdk = Sdk::new(Temporality::Cumulative);
    let exporter = sdk.exporter();
    let pools = ODD_NAMES.map(|name| (name, pool()));
    for (loans, (name, (pool, clock))) in pools.iter().enumerate() {
        exporter.add(*name, pool).unwrap();
        (0..loans).for_each(|_| borrow_for(pool, clock, MILLI));
        let taken = exporter.add(*name, pool).unwrap_err();
        assert_eq!(taken.name(), *name);
        assert!(taken.to_string().contains("already"), "{taken}");
    }
    let points = sdk.points();
    for (loans, name) in ODD_NAMES.iter().enumerate() {
        assert_eq!(points[&key("caliburn.checkouts", name, "")].number, loans as i64);
    }
}

#[test]
fn a_dropped_pool_is_not_kept_alive_and_only_what_is_cumulative_stays() {
    let sdk = Sdk::new(Temporality::Cumulative);
    let exporter = sdk.exporter();
    let ((songs, _), (users, _)) = (pool(), pool());
    exporter.add("songs", &songs).unwrap();
    exporter.add("users", &users).unwrap();
    let of_songs = |points: &Points| points.keys().filter(|key| key.1 == "songs").count();
    assert!(of_songs(&sdk.points()) > 10);
    let held = songs.get().unwrap();
    let again = songs.clone();
    drop(songs);
    assert!(of_songs(&sdk.points()) > 10);
    drop(again);
    let left = sdk.points();
    let left: Vec<_> = left.keys().filter(|key| key.1 == "songs").map(|key| &*key.0).collect();
    assert!(left.contains(&metric::DB_CLIENT_CONNECTION_CREATE_TIME));
    assert!(left.contains(&"caliburn.checkouts"));
    let gauges = [metric::DB_CLIENT_CONNECTION_COUNT, metric::DB_CLIENT_CONNECTION_MAX];
    assert!(!gauges.iter().any(|gauge| left.contains(gauge)), "{left:?}");
    assert!(sdk.points().contains_key(&key("caliburn.checkouts", "users", "")));
    drop(held);
    // The name is free, and the exporter may be gone.
    let (songs, _) = pool();
    exporter.add("songs", &songs).unwrap();
    drop(exporter);
    assert!(of_songs(&sdk.points()) > 10);
}

#[test]
fn a_reserve_is_reported_beside_its_pool() {
    let sdk = Sdk::new(Temporality::Cumulative);
    let (songs, _) = pool_with_reserve();
    sdk.exporter().add("songs", &songs).unwrap();
    drop(songs.reserved().unwrap().get().unwrap());
    let points = sdk.points();
    let number = |metric, pool| points[&key(metric, pool, "")].number;
    for (pool, max, checkouts) in [("songs", 2, 0), ("songs-reserved", 3, 1)] {
        assert_eq!(number(metric::DB_CLIENT_CONNECTION_MAX, pool), max);
        assert_eq!(number("caliburn.checkouts", pool), checkouts);
    }
}

#[test]
fn a_name_is_taken_while_any_pool_has_it() {
    let exporter = Sdk::new(Temporality::Cumulative).exporter();
    let ((first, _), (second, _), (third, _)) = (pool(), pool(), pool());
    exporter.add("songs", &first).unwrap();
    drop(first);
    exporter.add("songs", &second).unwrap();
    assert!(exporter.add("songs", &third).is_err());
}

/// At once, and after a collection in which there is none by that name.
#[test]
fn a_pool_that_replaces_another_goes_on_from_its_counts() {
    let name = key("caliburn.checkouts", "songs", "");
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        let sdk = Sdk::new(temporality);
        let exporter = sdk.exporter();
        let mut before = 0;
        for (loans, has_gap) in [(10, false), (3, true), (2, false)] {
            let (songs, clock) = pool();
            exporter.add("songs", &songs).unwrap();
            for _ in 0..2 {
                (0..loans).for_each(|_| borrow_for(&songs, &clock, MILLI));
                let is_cumulative = temporality == Temporality::Cumulative;
                before = if is_cumulative { before + loans } else { loans };
                assert_eq!(sdk.points()[&name].number, before, "{temporality:?}");
            }
            drop(songs);
            if has_gap {
                sdk.collected();
            }
        }
    }
}
