//! What observers are told, what the flight recorder keeps, and how a pool says that it is.

use crate::common::harness::Harness;
use crate::common::*;
use caliburn::health::{PeriodicSweep, PingOnBorrow};
use caliburn::observe::{Event, EventKind, Observer, WaitOutcome};
use caliburn::stats::{Defect, PoolHealth};
use caliburn::{Builder, EvictionCause, ManagerError, Pool, PooledConnection, Prometheus};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, Weak};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// Notes the kinds of all events, as they are written without their fields.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<EventKind>>>);

impl Observer for Log {
    fn on_event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.kind.clone());
    }
}

impl Log {
    fn taken(&self) -> Vec<EventKind> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn names(&self) -> Vec<String> {
        self.taken().iter().map(name).collect()
    }
}

fn name(kind: &EventKind) -> String {
    let shown = format!("{kind:?}");
    shown.split([' ', '{', '(']).next().unwrap().to_owned()
}

fn watched(fake: &Fake, log: &Log) -> (Builder<Fake>, caliburn::MockClock) {
    let (builder, clock) = manual_maintenance(fake);
    (builder.max_size(1).observer(log.clone()), clock)
}

#[test]
fn each_thing_that_happens_is_told_once_and_in_order() {
    let (fake, log) = (Fake::new(), Log::default());
    let (builder, clock) = watched(&fake, &log);
    let builder = builder.min_size(1).health(PingOnBorrow::always());
    let pool = builder.sweep_interval(Some(3600 * SECOND)).build().unwrap();
    pool.ready(PLENTY).unwrap();
    assert_eq!(log.names(), ["Connected"]);

    clock.advance(SECOND);
    let conn = pool.get().unwrap();
    {
        let mut second = pin!(pool.get_timeout_async(SECOND));
        assert!(poll_once(&mut second).is_pending());
        pool.maintain();
        assert_eq!(log.names(), ["PingBegan", "Pinged", "WaitBegan"]);
    }
    pool.maintain();
    let [EventKind::WaitEnded { outcome: WaitOutcome::Cancelled, location, .. }] = *log.taken()
    else {
        panic!()
    };
    assert!(location.file().ends_with("observe.rs"));

    pool.get_timeout(Duration::ZERO).unwrap_err();
    pool.change(|settings| settings.max_waiters = 0).unwrap();
    pool.get_timeout(SECOND).unwrap_err();
    pool.maintain();
    assert_eq!(log.names(), ["TimedOut", "Refused"]);

    PooledConnection::discard(conn);
    pool.maintain();
    assert_eq!(log.names(), ["Evicted", "Closed", "Connected"]);
    clock.advance(SECOND);
    drop(PooledConnection::detach(pool.get().unwrap()));
    pool.maintain();
    assert_eq!(log.names(), ["PingBegan", "Pinged", "Detached", "Connected"]);

    fake.always_needs_reset();
    clock.advance(SECOND);
    drop(pool.get().unwrap());
    pool.maintain();
    assert_eq!(log.names(), ["PingBegan", "Pinged", "Reset"]);
    fake.on_reset(Mode::Fail);
    clock.advance(SECOND);
    drop(pool.get().unwrap());
    pool.maintain();
    let failed = ["PingBegan", "Pinged", "ResetFailed", "Evicted", "Closed", "Connected"];
    // Bad news calls for a look at the others.
    assert_eq!(log.names(), [&failed[..], &["SweepBegan"]].concat());
    pool.close();
    drop(pool);
    // What is left when a pool ends is told by a thread of the crate's own.
    let mut last = Vec::new();
    eventually("all is told", || {
        last.extend(log.names());
        last == ["PoolClosed", "Evicted", "Closed"]
    });
}

#[test]
fn what_is_counted_is_what_is_told() {
    let (fake, log) = (Fake::new(), Log::default());
    let builder = Pool::builder(fake.clone()).max_size(2).observer(log.clone());
    let builder = builder.health((PingOnBorrow::always(), PeriodicSweep::every(SECOND / 100)));
    let pool = builder.checkout_timeout(SECOND / 50).build().unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for n in 0..200 {
                    let got = pool.get();
                    if n % 50 == 49 {
                        let _ = got.map(PooledConnection::discard);
                    }
                }
            });
        }
    });
    fake.on_connect(Mode::Fail);
    fake.kill_all();
    pool.get().unwrap_err();
    pool.close_within(PLENTY);
    let stats = pool.stats();
    drop(pool);
    let mut told = Vec::new();
    eventually("all is told", || {
        told.extend(log.names());
        let closes = told.iter().filter(|name| *name == "Closed").count() as u64;
        closes == stats.closes && told.iter().any(|name| name == "PoolClosed")
    });
    let told = |name: &str| told.iter().filter(|told| *told == name).count() as u64;
    for (name, counted) in [
        ("WaitBegan", stats.waits),
        ("WaitEnded", stats.waits),
        ("TimedOut", stats.timeouts),
        ("Connected", stats.connects),
        ("ConnectFailed", stats.connect_failures),
        ("ConnectSkipped", stats.connects_skipped),
        ("GrowthDecided", stats.growth_decisions),
        ("ConnectHeld", stats.connects_held),
        ("PingBegan", stats.pings),
        ("Pinged", stats.ping_time.count()),
        ("PingFailed", stats.ping_failures),
        ("Evicted", stats.evictions.total()),
        ("SweepBegan", stats.sweeps),
        ("OutageBegan", stats.outages),
        ("PoolClosed", 1),
    ] {
        assert_eq!(told(name), counted, "{name}");
    }
    assert_eq!(stats.wait_time.count(), stats.waits);
    assert_eq!(stats.connect_time.count(), stats.connects);
    assert!(stats.outages >= 1 && stats.connect_failures >= 1);
}

#[test]
fn an_outage_begins_and_ends_once_and_health_says_so() {
    let (fake, log) = (Fake::new(), Log::default());
    let (builder, clock) = watched(&fake, &log);
    let pool = builder.min_size(1).build().unwrap();
    pool.ready(PLENTY).unwrap();
    assert!(pool.health().is_ok());
    let lent = pool.get().unwrap();
    assert!(pool.health().is_ok(), "a full pool is well");

    fake.on_connect(Mode::Fail);
    fake.kill_all();
    PooledConnection::discard(lent);
    for _ in 0..20 {
        clock.advance(SECOND);
        pool.maintain();
    }
    let health = pool.health();
    assert!(matches!(&health, PoolHealth::Down { cause: Some(_), .. }), "{health}");
    assert!(!health.is_serving());
    let text = health.to_string();
    assert!(text.starts_with("down for ") && text.contains("refused"), "{text}");

    fake.on_connect(Mode::Ok);
    clock.advance(2 * SECOND);
    pool.maintain();
    assert!(pool.health().is_ok(), "{}", pool.health());
    let told = log.taken();
    let told: Vec<_> = told.iter().filter(|kind| name(kind).starts_with("Outage")).collect();
    let [EventKind::OutageBegan { cause: Some(_) }, EventKind::OutageEnded { lasted }] = &*told
    else {
        panic!("{told:?}")
    };
    assert!((19 * SECOND..23 * SECOND).contains(lasted), "{lasted:?}");
    assert_eq!(pool.stats().outages, 1);
    pool.close();
    assert!(matches!(pool.health(), PoolHealth::Closed));
}

#[test]
fn a_failure_that_nothing_has_confirmed_lately_is_not_held_against_the_server() {
    let fake = Fake::new();
    let (builder, clock) = manual_maintenance(&fake);
    let pool = builder.max_size(1).fail_fast(true).build().unwrap();
    fake.on_connect(Mode::Fail);
    let mut get = pin!(pool.get_timeout_async(SECOND));
    assert!(poll_once(&mut get).is_pending());
    pool.maintain();
    assert!(matches!(poll_once(&mut get), Poll::Ready(Err(_))));
    assert!(!pool.health().is_serving(), "{}", pool.health());
    // It is back, and nobody asks.
    clock.advance(3600 * SECOND);
    pool.maintain();
    assert!(pool.health().is_ok(), "{}", pool.health());
}

#[test]
fn a_pool_whose_connects_hang_stays_down_while_they_do() {
    let harness = Harness::new(1, |builder| builder.connect_timeout(30 * SECOND));
    harness.fake.on_connect(Mode::Fail);
    let mut get = harness.get();
    for _ in 0..4 {
        let _ = poll_once(&mut get);
        harness.step();
    }
    harness.fake.on_connect(Mode::Hang);
    for seconds in 1..20 {
        harness.advance(SECOND);
        let health = harness.pool.health();
        assert!(!health.is_serving(), "after {seconds} s: {health}");
    }
}

#[test]
fn a_pool_whose_slots_are_all_with_calls_that_hang_is_down() {
    let fake = Fake::new();
    fake.on_connect(Mode::Hang);
    let builder = Pool::builder(fake.clone()).max_size(2).min_size(2);
    let pool = builder.connect_timeout(SECOND / 50).build().unwrap();
    eventually("both are late", || pool.stats().quarantined == 2);
    let health = pool.health();
    assert!(matches!(health, PoolHealth::Down { .. }) && !health.is_serving(), "{health}");
    fake.on_connect(Mode::Ok);
    fake.open_gate();
    eventually("all is well", || pool.health().is_ok());
}

#[test]
fn a_pool_that_serves_though_it_cannot_connect_is_degraded() {
    let fake = Fake::new();
    let (builder, clock) = manual_maintenance(&fake);
    let pool = builder.max_size(2).min_size(2).build().unwrap();
    pool.ready(PLENTY).unwrap();
    let kept = pool.get().unwrap();
    fake.on_connect(Mode::Fail);
    PooledConnection::discard(pool.get().unwrap());
    pool.maintain();
    clock.advance(SECOND);
    pool.maintain();
    let PoolHealth::Degraded(defects) = pool.health() else { panic!("{}", pool.health()) };
    let [Defect::CannotConnect { .. }, Defect::BelowMinimum { missing: 1 }] = &*defects else {
        panic!("{defects:?}")
    };
    drop(kept);
}

#[test]
fn a_loan_that_lasts_for_too_long_is_told_of_once_with_its_line() {
    let (fake, log) = (Fake::new(), Log::default());
    let (builder, clock) = watched(&fake, &log);
    let builder = builder.max_size(2).min_size(2);
    let pool = builder.leak_threshold(Some(10 * SECOND)).build().unwrap();
    pool.ready(PLENTY).unwrap();
    let leaked = pool.get().unwrap();
    let line = line!() - 1;
    let look = |seconds| {
        for _ in 0..seconds {
            clock.advance(SECOND);
            pool.maintain();
        }
        let told = log.taken().into_iter();
        let leaks = told.filter_map(|kind| match kind {
            EventKind::HeldTooLong { holder } => Some(holder),
            _ => None,
        });
        leaks.collect::<Vec<_>>()
    };
    assert_eq!(look(9), []);
    // Lent for less than the threshold at any time.
    for _ in 0..3 {
        let short = pool.get().unwrap();
        clock.advance(SECOND / 10);
        drop(short);
    }
    let told = look(12);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].location.line(), told[0].since >= 10 * SECOND), (line, true));
    pool.change(|settings| settings.leak_threshold = Some(100 * SECOND)).unwrap();
    assert_eq!(look(200), [], "told again since the threshold was raised");
    pool.change(|settings| settings.leak_threshold = Some(10 * SECOND)).unwrap();
    assert_eq!(look(60), []);
    drop(leaked);
    let again = pool.get().unwrap();
    assert_eq!(look(25).len(), 1, "another loan of the same slot");
    drop(again);
    assert_eq!(pool.stats().leaks, 2);
}

#[test]
fn the_flight_recorder_keeps_the_latest_events() {
    let fake = Fake::new();
    let (builder, clock) = manual_maintenance(&fake);
    let pool = builder.max_size(1).min_size(1).record_events(4).build().unwrap();
    pool.ready(PLENTY).unwrap();
    for _ in 0..5 {
        clock.advance(SECOND);
        PooledConnection::discard(pool.get().unwrap());
        pool.maintain();
    }
    for _ in 0..2 {
        let events = pool.recent_events();
        let names: Vec<_> = events.iter().map(|event| name(&event.kind)).collect();
        assert_eq!(names, ["Connected", "Evicted", "Closed", "Connected"]);
        assert!(events.is_sorted_by_key(|event| event.at));
        assert_eq!(events[3].at, 5 * SECOND);
        let text = events[1].to_string();
        assert_eq!(text, "[    5.0000 s] a connection was evicted: discarded");
    }
    let unwatched = Pool::builder(fake.clone()).max_size(1).build().unwrap();
    drop(unwatched.get().unwrap());
    assert!(unwatched.recent_events().is_empty());
}

#[test]
fn readers_of_the_flight_recorder_take_nothing_from_each_other() {
    let fake = Fake::new();
    let (builder, _clock) = manual_maintenance(&fake);
    let pool = builder.max_size(1).min_size(1).record_events(4).build().unwrap();
    for _ in 0..4 {
        PooledConnection::discard(pool.get().unwrap());
        pool.maintain();
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    assert_eq!(pool.recent_events().len(), 4);
                }
            });
        }
    });
    let absurd = Pool::builder(fake).record_events(usize::MAX).build().unwrap();
    assert!(absurd.recent_events().is_empty());
}

#[test]
fn the_last_events_of_each_pool_are_told() {
    let (closed, pools) = (Arc::new(AtomicU64::new(0)), 500);
    for _ in 0..pools {
        let counted = closed.clone();
        let observer = move |event: &Event| {
            counted.fetch_add(matches!(event.kind, EventKind::PoolClosed).into(), SeqCst);
        };
        let pool = Pool::builder(Fake::new()).max_size(1).observer(observer).build().unwrap();
        drop(pool.get().unwrap());
    }
    eventually("all are told", || closed.load(SeqCst) == pools);
}

/// Blocks until it may go on.
struct Blocked(Mutex<Receiver<()>>, Arc<AtomicU64>, Arc<AtomicU64>);

impl Observer for Blocked {
    fn on_event(&self, _: &Event) {
        let _ = self.0.lock().unwrap().recv_timeout(PLENTY);
        self.1.fetch_add(1, SeqCst);
    }

    fn on_lost(&self, count: u64) {
        self.2.fetch_add(count, SeqCst);
    }
}

#[test]
fn an_observer_that_blocks_holds_up_nobody_and_hears_what_it_missed() {
    let fake = Fake::new();
    let (go_on, gate) = channel();
    let (told, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let blocked = Blocked(Mutex::new(gate), told.clone(), lost.clone());
    let builder = Pool::builder(fake.clone()).max_size(1).observer(blocked);
    let pool = builder.build().unwrap();
    for _ in 0..3_000 {
        PooledConnection::discard(pool.get().unwrap());
    }
    // A task's limit is kept by the housekeeper.
    let _lent = pool.get().unwrap();
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(pool.get_timeout_async(SECOND / 10)).unwrap_err();
    assert!(begun.elapsed() < PLENTY / 2);
    assert!(told.load(SeqCst) <= 1);
    // Nobody sends any more: it does not block.
    drop(go_on);
    let counted = || {
        let stats = pool.stats();
        let waits = 2 * stats.waits + stats.timeouts;
        let made = stats.connects + stats.connects_skipped + stats.evictions.total();
        let made = made + stats.growth_decisions;
        made + stats.closes + stats.sweeps + waits
    };
    eventually("all is told or lost", || {
        // It is told of a loss with the next event.
        pool.sweep();
        lost.load(SeqCst) > 0 && told.load(SeqCst) + lost.load(SeqCst) == counted()
    });
}

#[test]
fn one_loan_in_so_many_is_measured() {
    let fake = Fake::new();
    let (builder, clock) = manual_maintenance(&fake);
    let pool = builder.max_size(1).min_size(1).sample_use_time(60).build().unwrap();
    for n in 0..640_u32 {
        let conn = pool.get().unwrap();
        clock.advance(SECOND * (1 + n / 64));
        drop(conn);
    }
    let times = pool.stats().use_time;
    assert_eq!((times.count(), times.sum()), (10, 55 * SECOND));
    let unmeasured = Pool::builder(fake).max_size(1).build().unwrap();
    drop(unmeasured.get().unwrap());
    assert_eq!(unmeasured.stats().use_time.count(), 0);
}

#[test]
fn figures_are_written_by_the_names_of_the_conventions() {
    let fake = Fake::new();
    let (builder, clock) = manual_maintenance(&fake);
    let builder = builder.max_size(3).min_size(2).min_idle(1);
    let pool = builder.sample_use_time(1).build().unwrap();
    let lent = pool.get().unwrap();
    clock.advance(SECOND / 4);
    drop(pool.get().unwrap());
    pool.get_timeout(Duration::ZERO).map(drop).unwrap();
    drop(lent);
    let _held = [pool.get().unwrap(), pool.get().unwrap()];
    pool.get_timeout(Duration::ZERO).unwrap_err();
    let text = Prometheus::new().with("so\"ngs", &pool).with("users", &pool).to_string();
    let of = |name: &str, labels: &str| {
        let start = format!("{name}{{db_client_connection_pool_name=\"so\\\"ngs\"{labels}}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("no {start} in {text}")).parse::<f64>().unwrap()
    };
    // https://opentelemetry.io/docs/specs/semconv/database/database-metrics/
    let state = |state| format!(",db_client_connection_state=\"{state}\"");
    assert_eq!(of("db_client_connection_count", &state("idle")), 0.0);
    assert_eq!(of("db_client_connection_count", &state("used")), 2.0);
    for (name, value) in [
        ("db_client_connection_idle_max", 3.0),
        ("db_client_connection_idle_min", 1.0),
        ("db_client_connection_max", 3.0),
        ("db_client_connection_pending_requests", 0.0),
        ("db_client_connection_timeouts_total", 1.0),
        ("db_client_connection_create_time_seconds_count", 2.0),
        ("db_client_connection_wait_time_seconds_count", 0.0),
        ("db_client_connection_use_time_seconds_count", 3.0),
        ("db_client_connection_use_time_seconds_sum", 0.25),
        ("caliburn_checkouts_total", 5.0),
    ] {
        assert_eq!(of(name, ""), value, "{name}");
    }
    let use_time = |le| of("db_client_connection_use_time_seconds_bucket", le);
    assert_eq!((use_time(",le=\"0.1\""), use_time(",le=\"+Inf\"")), (2.0, 3.0));
    // Each family is headed once, and each line belongs to the one above it.
    let mut family = "";
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# TYPE ") {
            family = head.split(' ').next().unwrap();
            assert_eq!(text.matches(&format!("# TYPE {family} ")).count(), 1);
        } else if !line.starts_with('#') {
            assert!(line.starts_with(family), "{line}");
        }
    }
}

#[test]
fn an_observer_that_panics_costs_nothing_and_the_others_are_told() {
    expect_panics();
    let (fake, log) = (Fake::new(), Log::default());
    let (builder, _clock) = manual_maintenance(&fake);
    let builder = builder.observer(|_: &Event| panic!("{ON_PURPOSE}")).observer(log.clone());
    let pool = builder.max_size(1).min_size(1).build().unwrap();
    pool.ready(PLENTY).unwrap();
    assert_eq!(log.names(), ["Connected"]);
    drop(pool.get().unwrap());
}

#[test]
fn an_observer_may_use_the_pool_and_drop_the_last_of_it() {
    let fake = Fake::new();
    let last: Arc<Mutex<Option<Pool<Fake>>>> = Arc::default();
    let (held, used) = (Arc::downgrade(&last), Arc::new(AtomicU64::new(0)));
    let uses = used.clone();
    let observer = move |event: &Event| {
        let last = held.upgrade();
        let Some(last) = last else { return };
        let Some(pool) = last.lock().unwrap().take() else { return };
        drop(pool.get().unwrap());
        pool.change(|settings| settings.min_idle = 1).unwrap();
        uses.fetch_add(1, SeqCst);
        if !matches!(event.kind, EventKind::SweepBegan) {
            *last.lock().unwrap() = Some(pool);
        }
    };
    let pool = Pool::builder(fake.clone()).max_size(2).observer(observer).build().unwrap();
    let _gone: Weak<_> = Arc::downgrade(&last);
    *last.lock().unwrap() = Some(pool);
    eventually("the observer has used the pool and dropped it", || {
        // While the observer has it, there is none.
        last.lock().unwrap().as_ref().map(Pool::sweep);
        used.load(SeqCst) > 0 && fake.is_alone()
    });
}

#[test]
fn each_eviction_is_told_with_its_cause() {
    let (fake, log) = (Fake::new(), Log::default());
    let (builder, clock) = watched(&fake, &log);
    let pool = builder.min_size(1).health(PingOnBorrow::always()).build().unwrap();
    pool.ready(PLENTY).unwrap();
    clock.advance(SECOND);
    fake.on_ping(Mode::Fail);
    assert!(pool.try_get().is_err());
    pool.maintain();
    let causes: Vec<_> = log
        .taken()
        .into_iter()
        .filter_map(|kind| match kind {
            EventKind::Evicted { cause } => Some(cause),
            _ => None,
        })
        .collect();
    assert!(causes.iter().all(|cause| *cause == EvictionCause::PingFailed), "{causes:?}");
    assert!(!causes.is_empty());
}

#[cfg(feature = "tracing")]
mod tracing {
    use super::*;
    use ::tracing::field::{Field, Visit};
    use ::tracing::span::{Attributes, Id, Record};
    use ::tracing::{Event, Level, Metadata, Subscriber};
    use std::fmt;

    /// Notes levels and fields.
    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<(Level, String)>>>);

    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0.push_str(&format!("{field}={value:?} "));
        }
    }

    impl Subscriber for Notes {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "caliburn"
        }

        fn event(&self, event: &Event<'_>) {
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            self.0.lock().unwrap().push((*event.metadata().level(), fields.0));
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn events_go_on_to_the_subscribers_of_tracing() {
        let notes = Notes::default();
        ::tracing::subscriber::set_global_default(notes.clone()).unwrap();
        let fake = Fake::new();
        let (builder, clock) = manual_maintenance(&fake);
        let builder = builder.observer(caliburn::observe::Tracing::new("songs"));
        let pool = builder.max_size(1).min_size(1).reserved(1).build().unwrap();
        fake.on_connect(Mode::Fail);
        PooledConnection::discard(pool.get().unwrap());
        pool.maintain();
        clock.advance(SECOND);
        pool.close();
        drop(pool);
        let is_of = |said: &str, pool: &str, event: &str| {
            said.contains(&format!("pool=\"{pool}\"")) && said.contains(&format!("\"{event}\""))
        };
        let is_last = |(_, said): &(Level, String)| is_of(said, "songs", "pool_closed");
        eventually("all is told", || notes.0.lock().unwrap().iter().any(is_last));
        let notes = notes.0.lock().unwrap();
        let has = |level, pool, event| {
            let is_it = |(at, said): &(Level, String)| *at == level && is_of(said, pool, event);
            assert!(notes.iter().any(is_it), "{event} of {pool}: {notes:?}");
        };
        has(Level::DEBUG, "songs", "connected");
        has(Level::WARN, "songs", "connect_failed");
        has(Level::ERROR, "songs", "outage_began");
        has(Level::INFO, "songs", "pool_closed");
        has(Level::DEBUG, "songs-reserved", "connected");
        has(Level::INFO, "songs-reserved", "pool_closed");
    }
}

#[test]
fn the_words_about_the_health_of_a_pool_tell_the_causes_of_the_cause() {
    #[derive(Debug)]
    struct Outer(FakeError);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("db error")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let cause = || Some(Arc::new(ManagerError::Failed(Outer(FakeError::WrongPassword))));
    let since = Duration::from_secs(2);
    let down = PoolHealth::Down { since, cause: cause() };
    assert_eq!(down.to_string(), "down for 2.0s: db error: wrong password");
    let degraded = PoolHealth::Degraded(vec![Defect::CannotConnect { since, cause: cause() }]);
    assert!(degraded.to_string().ends_with(": db error: wrong password"), "{degraded}");
}
