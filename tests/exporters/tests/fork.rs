//! A fork while figures are published or collected.
#![cfg(unix)]

use caliburn::export::{Metrics, OpenTelemetry};
use caliburn_exporters::pool;
use caliburn_testing::fork::{in_a_child, require};
use metrics_util::debugging::DebuggingRecorder;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

const FORKS: usize = 30;

/// The child has exporters that work, without the pools of its parent.
#[test]
fn a_child_forked_while_another_thread_publishes_goes_on() {
    let metrics = Metrics::new();
    let reader = PeriodicReader::builder(InMemoryMetricExporter::default());
    let reader = reader.with_interval(Duration::from_secs(3_600)).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    let opentelemetry = OpenTelemetry::new(&provider.meter("caliburn"));
    let (pool, _) = pool();
    metrics.add("songs", &pool).unwrap();
    opentelemetry.add("songs", &pool).unwrap();
    let is_over = AtomicBool::new(false);
    let all_day = |work: &dyn Fn()| {
        while !is_over.load(SeqCst) {
            work()
        }
    };
    let recorder = DebuggingRecorder::new();
    let publish = || metrics::with_local_recorder(&recorder, || metrics.publish());
    let child = || {
        let (own, _) = caliburn_exporters::pool();
        require(metrics.add("songs", &own).is_ok(), "the parent's pool has the name")?;
        require(opentelemetry.add("songs", &own).is_ok(), "the parent's pool has the name")?;
        let recorder = DebuggingRecorder::new();
        metrics::with_local_recorder(&recorder, || metrics.publish());
        let published = recorder.snapshotter().snapshot().into_vec();
        require(!published.is_empty(), "nothing is published")
    };
    thread::scope(|scope| {
        scope.spawn(|| all_day(&publish));
        scope.spawn(|| all_day(&|| provider.force_flush().unwrap()));
        let findings: Vec<_> =
            (0..FORKS).map(|_| in_a_child(child)).take_while(Result::is_ok).collect();
        is_over.store(true, SeqCst);
        assert_eq!(findings.len(), FORKS, "a child hangs");
    });
}
