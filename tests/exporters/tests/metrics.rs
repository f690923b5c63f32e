//! What a recorder of the crate metrics gets.

use caliburn::Pool;
use caliburn::export::Metrics;
use caliburn_exporters::{ODD_NAMES, borrow_for, counters, pool, pool_with_reserve, time_out};
use caliburn_testing::{Ends, Fake};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use opentelemetry_semantic_conventions::{attribute, metric};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);

/// By name, then pool, then what else it is told apart by.
type Values = BTreeMap<(String, String, String), (Option<Unit>, DebugValue)>;

/// What is published, and what is recorded of it since the last time.
fn published(recorder: &DebuggingRecorder, metrics: &Metrics) -> Values {
    metrics::with_local_recorder(recorder, || metrics.publish());
    let mut values = Values::new();
    for (key, unit, description, value) in recorder.snapshotter().snapshot().into_vec() {
        assert!(description.is_some_and(|description| !description.is_empty()));
        let (_, key) = key.into_parts();
        let (mut pool, mut others) = (None, String::new());
        for label in key.labels() {
            match label.key() {
                attribute::DB_CLIENT_CONNECTION_POOL_NAME => pool = Some(label.value().into()),
                attribute::DB_CLIENT_CONNECTION_STATE | "cause" => others += label.value(),
                key => panic!("{key}"),
            }
        }
        values.insert((key.name().into(), pool.unwrap(), others), (unit, value));
    }
    values
}

fn value<'a>(values: &'a Values, name: &str, pool: &str, other: &str) -> &'a DebugValue {
    &values[&(name.into(), pool.into(), other.into())].1
}

fn gauge(value: f64) -> DebugValue {
    DebugValue::Gauge(value.into())
}

#[test]
fn gauges_are_set_counters_rise_and_each_duration_is_recorded_once() {
    let (recorder, metrics) = (DebuggingRecorder::new(), Metrics::new());
    let (pool, clock) = pool();
    metrics.add("songs", &pool).unwrap();
    let mut before = None;
    for _ in 0..3 {
        for millis in [2, 30, 700] {
            borrow_for(&pool, &clock, millis * MILLI);
        }
        time_out(&pool);
        let _held = pool.get().unwrap();
        let values = published(&recorder, &metrics);
        let of = |name, other| value(&values, name, "songs", other);
        assert_eq!(*of(metric::DB_CLIENT_CONNECTION_COUNT, "idle"), gauge(1.0));
        assert_eq!(*of(metric::DB_CLIENT_CONNECTION_COUNT, "used"), gauge(1.0));
        assert_eq!(*of(metric::DB_CLIENT_CONNECTION_MAX, ""), gauge(2.0));
        assert_eq!(*of(metric::DB_CLIENT_CONNECTION_IDLE_MAX, ""), gauge(2.0));
        assert_eq!(*of(metric::DB_CLIENT_CONNECTION_IDLE_MIN, ""), gauge(1.0));
        assert_eq!(*of(metric::DB_CLIENT_CONNECTION_PENDING_REQUESTS, ""), gauge(0.0));
        let now = pool.stats();
        // Its snapshots take counters to zero.
        let interval = before.as_ref().map_or(now.clone(), |before| now.since(before));
        let timeouts = of(metric::DB_CLIENT_CONNECTION_TIMEOUTS, "");
        assert_eq!(*timeouts, DebugValue::Counter(interval.timeouts));
        for (name, count) in counters(&interval) {
            assert_eq!(*of(name, ""), DebugValue::Counter(count), "{name}");
        }
        let DebugValue::Histogram(times) = of(metric::DB_CLIENT_CONNECTION_USE_TIME, "") else {
            panic!("no histogram")
        };
        let sum: f64 = times.iter().map(|seconds| seconds.into_inner()).sum();
        assert_eq!(times.len() as u64, interval.use_time.count());
        assert!((sum - interval.use_time.sum().as_secs_f64()).abs() < 1e-6, "{sum}");
        before = Some(now);
        let unit = |name: &str| values[&(name.into(), "songs".into(), String::new())].0;
        assert_eq!(unit(metric::DB_CLIENT_CONNECTION_CREATE_TIME), Some(Unit::Seconds));
        assert_eq!(unit(metric::DB_CLIENT_CONNECTION_MAX), Some(Unit::Count));
    }
}

#[test]
fn pools_lie_side_by_side_under_any_names() {
    let (recorder, metrics) = (DebuggingRecorder::new(), Metrics::new());
    let pools = ODD_NAMES.map(|name| (name, pool()));
    for (loans, (name, (pool, clock))) in pools.iter().enumerate() {
        metrics.add(*name, pool).unwrap();
        (0..loans).for_each(|_| borrow_for(pool, clock, MILLI));
        assert_eq!(metrics.add(*name, pool).unwrap_err().name(), *name);
    }
    let values = published(&recorder, &metrics);
    for (loans, name) in ODD_NAMES.iter().enumerate() {
        let checkouts = value(&values, "caliburn.checkouts", name, "");
        assert_eq!(*checkouts, DebugValue::Counter(loans as u64));
    }
}

#[test]
fn a_dropped_pool_is_not_kept_alive_and_its_gauges_go_to_zero() {
    let (recorder, metrics) = (DebuggingRecorder::new(), Metrics::new());
    let (songs, clock) = pool();
    metrics.add("songs", &songs).unwrap();
    borrow_for(&songs, &clock, MILLI);
    let values = published(&recorder, &metrics);
    assert_eq!(*value(&values, metric::DB_CLIENT_CONNECTION_MAX, "songs", ""), gauge(2.0));
    drop(songs);
    let values = published(&recorder, &metrics);
    assert_eq!(*value(&values, metric::DB_CLIENT_CONNECTION_MAX, "songs", ""), gauge(0.0));
    assert_eq!(*value(&values, metric::DB_CLIENT_CONNECTION_COUNT, "songs", "idle"), gauge(0.0));
    // A successor of the same name goes on.
    let (songs, clock) = pool();
    metrics.add("songs", &songs).unwrap();
    borrow_for(&songs, &clock, MILLI);
    let values = published(&recorder, &metrics);
    assert_eq!(*value(&values, metric::DB_CLIENT_CONNECTION_MAX, "songs", ""), gauge(2.0));
    assert_eq!(*value(&values, "caliburn.checkouts", "songs", ""), DebugValue::Counter(1));
}

#[test]
fn a_reserve_is_published_beside_its_pool_and_goes_with_it() {
    let (recorder, metrics) = (DebuggingRecorder::new(), Metrics::new());
    let (songs, _) = pool_with_reserve();
    // Neither is added if one of the names is taken.
    let (other, _) = pool();
    metrics.add("songs-reserved", &other).unwrap();
    assert_eq!(metrics.add("songs", &songs).unwrap_err().name(), "songs-reserved");
    metrics.add("songs", &other).unwrap();
    drop(other);
    metrics.add("songs", &songs).unwrap();
    drop(songs.reserved().unwrap().get().unwrap());
    let values = published(&recorder, &metrics);
    let max = metric::DB_CLIENT_CONNECTION_MAX;
    assert_eq!(*value(&values, max, "songs", ""), gauge(2.0));
    assert_eq!(*value(&values, max, "songs-reserved", ""), gauge(3.0));
    let checkouts = |pool| value(&values, "caliburn.checkouts", pool, "");
    assert_eq!(*checkouts("songs"), DebugValue::Counter(0));
    assert_eq!(*checkouts("songs-reserved"), DebugValue::Counter(1));
    drop(songs);
    let values = published(&recorder, &metrics);
    assert_eq!(*value(&values, max, "songs-reserved", ""), gauge(0.0));
}

#[test]
fn without_a_recorder_nothing_happens() {
    let metrics = Metrics::new();
    let (pool, _) = pool();
    metrics.add("songs", &pool).unwrap();
    metrics.publish();
}

#[test]
fn a_name_is_taken_while_any_pool_has_it_and_free_once_none_has() {
    let metrics = Metrics::new();
    let ((first, _), (second, _), (third, _)) = (pool(), pool(), pool());
    metrics.add("songs", &first).unwrap();
    // Reported, so that it is remembered until the next time.
    published(&DebuggingRecorder::new(), &metrics);
    drop(first);
    metrics.add("songs", &second).unwrap();
    assert_eq!(metrics.add("songs", &third).unwrap_err().name(), "songs");
    drop(second);
    metrics.add("songs", &third).unwrap();
}

#[test]
fn a_handle_of_a_reserve_does_not_keep_its_name() {
    let metrics = Metrics::new();
    let ((first, _), (second, _)) = (pool_with_reserve(), pool_with_reserve());
    metrics.add("songs", &first).unwrap();
    let reserve = first.reserved().unwrap().clone();
    drop(first);
    metrics.add("songs", &second).unwrap();
    drop(reserve);
}

#[test]
fn pools_that_have_gone_are_not_remembered_if_nobody_publishes() {
    let metrics = Metrics::new();
    for number in 0..20 {
        metrics.add(format!("songs {number}"), &pool().0).unwrap();
    }
    let names = format!("{metrics:?}");
    assert!(!names.contains("songs 18"), "{names}");
}

/// Two threads that publish while another borrows.
#[test]
fn each_event_counts_once_however_many_publish_at_once() {
    const LOANS: u64 = 2_000;
    let (recorder, metrics) = (DebuggingRecorder::new(), Metrics::new());
    let (pool, clock) = pool();
    metrics.add("songs", &pool).unwrap();
    let publish = || metrics::with_local_recorder(&recorder, || metrics.publish());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = Ends(&is_over);
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(SeqCst) {
                    publish()
                }
            });
        }
        (0..LOANS).for_each(|_| borrow_for(&pool, &clock, MILLI));
        is_over.store(true, SeqCst);
    });
    let values = published(&recorder, &metrics);
    assert_eq!(*value(&values, "caliburn.checkouts", "songs", ""), DebugValue::Counter(LOANS));
    let times = value(&values, metric::DB_CLIENT_CONNECTION_USE_TIME, "songs", "");
    assert!(matches!(times, DebugValue::Histogram(times) if times.len() as u64 == LOANS));
}

/// Adds a pool as soon as it is told of another.
struct Adds {
    metrics: Arc<Metrics>,
    pool: Pool<Fake>,
}

impl Recorder for Adds {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        let _ = self.metrics.add("users", &self.pool);
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn a_recorder_may_use_the_exporter() {
    let metrics = Arc::new(Metrics::new());
    let ((songs, _), (users, _)) = (pool(), pool());
    metrics.add("songs", &songs).unwrap();
    let recorder = Adds { metrics: metrics.clone(), pool: users.clone() };
    let (tell, told) = channel();
    std::thread::spawn(move || {
        metrics::with_local_recorder(&recorder, || recorder.metrics.publish());
        tell.send(())
    });
    told.recv_timeout(Duration::from_secs(20)).expect("it hangs");
    assert!(metrics.add("users", &users).is_err());
}
