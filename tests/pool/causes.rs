//! What a pool's health and errors say of a cause: the driver's error and its sources, once each.

use crate::common::*;
use caliburn::{ManagerError, Pool, PooledConnection};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// As drivers have them: an error, and another one that caused it.
#[derive(Debug)]
struct Failure {
    text: &'static str,
    source: Option<Box<Self>>,
}

impl Failure {
    fn of(text: &'static str, source: &'static str) -> Self {
        Self { text, source: Some(Box::new(Self { text: source, source: None })) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// A pool of `size`, all open, and a switch that makes connects fail from then on.
fn breakable(size: usize) -> (Pool<Fake>, caliburn::MockClock, Arc<AtomicBool>) {
    let (builder, clock) = manual_maintenance(&Fake::new());
    let fails = Arc::new(AtomicBool::new(false));
    let hook = fails.clone();
    let builder = builder.max_size(size).min_size(size).after_connect(move |_, _| {
        let is_well = !hook.load(SeqCst);
        is_well.then_some(()).ok_or_else(|| Failure::of("db error", "too many sessions").into())
    });
    (builder.build().unwrap(), clock, fails)
}

#[test]
fn a_health_that_is_degraded_gives_each_problem_with_its_causes() {
    let (pool, clock, fails) = breakable(2);
    let kept = pool.get().unwrap();
    fails.store(true, SeqCst);
    PooledConnection::discard(pool.get().unwrap());
    pool.maintain();
    clock.advance(SECOND);
    let health = pool.health().to_string();
    let (_, text) = health.split_once("connecting has failed for ").expect(&health);
    let (_, text) = text.split_once(": ").expect(&health);
    let causes = "a hook failed: db error: too many sessions";
    assert_eq!(text, format!("{causes}; 1 connection fewer than the settings require"));
    drop(kept);
}

#[test]
fn a_health_that_is_down_gives_all_causes() {
    let (pool, clock, fails) = breakable(1);
    fails.store(true, SeqCst);
    PooledConnection::discard(pool.get().unwrap());
    pool.maintain();
    clock.advance(SECOND);
    let health = pool.health().to_string();
    assert!(health.starts_with("down for "), "{health}");
    assert!(health.ends_with(": a hook failed: db error: too many sessions"), "{health}");
}

#[test]
fn a_driver_that_repeats_its_source_in_its_own_text_is_not_quoted_twice() {
    let error = ManagerError::Failed(Failure::of("cannot connect: refused", "refused"));
    assert_eq!(format!("{error:#}"), "cannot connect: refused");
    let error = ManagerError::Failed(Failure::of("cannot connect", "refused"));
    assert_eq!(format!("{error:#}"), "cannot connect: refused");
    assert_eq!(error.to_string(), "cannot connect");
}
