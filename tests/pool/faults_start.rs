//! The start with `fail_fast`: a passing failure is told at once, not when the limit is over.

use crate::common::harness::{Harness, STEP};
use crate::common::*;
use caliburn::{BuildError, Builder, ManagerError, NotReady, Pool};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// A limit that nobody who fails fast comes near.
const LIMIT: Duration = Duration::from_secs(3);

type Readiness<'a> = Pin<Box<dyn Future<Output = Result<(), NotReady<FakeError>>> + 'a>>;

/// A pool of four whose connects do as they are told from the first on.
fn started(mode: Mode, more: impl FnOnce(Builder<AsyncFake>) -> Builder<AsyncFake>) -> Harness {
    let fake = Fake::new();
    fake.on_connect(mode);
    Harness::of(fake, 4, |b| more(b.min_size(4)))
}

fn ready(harness: &Harness) -> Readiness<'_> {
    Box::pin(harness.pool.ready_async(60 * SECOND))
}

/// What `readiness` comes to while hardly any time passes.
#[track_caller]
fn at_once(harness: &Harness, mut readiness: Readiness<'_>) -> Result<(), NotReady<FakeError>> {
    if let Poll::Ready(end) = poll_once(&mut readiness) {
        return end;
    }
    harness.until("it has been tried", || harness.attempts() > 0);
    for _ in 0..4 {
        if let Poll::Ready(end) = poll_once(&mut readiness) {
            return end;
        }
        harness.step();
    }
    panic!("it waits on after {:?}, though connecting has failed", 4 * STEP);
}

fn is_refusal(error: &NotReady<FakeError>) -> bool {
    matches!(error.cause.as_deref(), Some(ManagerError::Failed(FakeError::Refused)))
}

#[test]
fn a_task_that_waits_for_the_start_and_is_to_fail_fast_does_so_at_once_with_the_cause() {
    let harness = started(Mode::Fail, |b| b.fail_fast(true));
    let error = at_once(&harness, ready(&harness)).unwrap_err();
    assert!(is_refusal(&error) && (error.open, error.wanted) == (0, 4), "{error}");
}

/// The same for one that comes when the first attempt has already failed.
#[test]
fn a_task_that_comes_after_the_first_failure_fails_fast_too() {
    let harness = started(Mode::Fail, |b| b.fail_fast(true));
    harness.until("it has failed", || harness.pool.stats().connect_failures > 0);
    let mut late = ready(&harness);
    let Poll::Ready(Err(error)) = poll_once(&mut late) else { panic!("it waits") };
    assert!(is_refusal(&error), "{error}");
}

#[test]
fn a_connect_that_panics_or_takes_too_long_ends_a_start_that_is_to_fail_fast() {
    for mode in [Mode::Panic, Mode::Hang] {
        let harness = started(mode, |b| b.fail_fast(true).connect_timeout(2 * STEP));
        harness.until("it has been begun", || harness.attempts() > 0);
        harness.advance(2 * STEP);
        let error = at_once(&harness, ready(&harness)).unwrap_err();
        match (mode, error.cause.as_deref()) {
            (Mode::Panic, Some(ManagerError::Panicked(_))) => {}
            (Mode::Hang, Some(ManagerError::TimedOut)) => {}
            _ => panic!("{mode:?}: {error}"),
        }
    }
}

/// `fail_fast` may be set while somebody waits.
#[test]
fn who_waits_for_the_start_is_told_when_the_pool_is_set_to_fail_fast() {
    let harness = started(Mode::Fail, |b| b);
    let mut waiting = ready(&harness);
    for _ in 0..8 {
        assert!(poll_once(&mut waiting).is_pending(), "it may pass");
        harness.step();
    }
    // A change of settings ends what was to be opened at the start; the minimum stays.
    harness.pool.change(|settings| settings.fail_fast = true).unwrap();
    // The next attempt comes within a second.
    for _ in 0..48 {
        harness.step();
    }
    let Poll::Ready(Err(error)) = poll_once(&mut waiting) else { panic!("it waits") };
    assert!(is_refusal(&error), "{error}");
}

#[test]
fn without_fail_fast_the_start_waits_for_better_times() {
    let harness = started(Mode::Fail, |b| b);
    let mut waiting = ready(&harness);
    for _ in 0..80 {
        assert!(poll_once(&mut waiting).is_pending(), "it may pass");
        harness.step();
    }
    harness.fake.on_connect(Mode::Ok);
    let mut end = None;
    for _ in 0..80 {
        harness.step();
        if let Poll::Ready(ended) = poll_once(&mut waiting) {
            end = Some(ended);
            break;
        }
    }
    end.expect("the server is back").unwrap();
}

#[test]
fn with_fail_fast_a_start_without_failures_succeeds() {
    let harness = started(Mode::Ok, |b| b.fail_fast(true));
    let mut waiting = ready(&harness);
    let mut end = None;
    harness.until("it is ready", || {
        if let Poll::Ready(ended) = poll_once(&mut waiting) {
            end = Some(ended);
        }
        end.is_some()
    });
    end.unwrap().unwrap();
}

/// The failing input itself: a builder that waits, by the real clock, for threads.
fn assert_refused_quickly(begun: Instant, end: Result<(), NotReady<FakeError>>) {
    let took = begun.elapsed();
    let error = end.unwrap_err();
    assert!(is_refusal(&error), "{error}");
    assert!(took < LIMIT / 2, "the whole limit is waited out: {took:?}, {error}");
}

#[test]
fn a_builder_that_waits_and_is_to_fail_fast_does_so_at_once_with_the_cause() {
    for min_idle in [0, 2] {
        let fake = Fake::new();
        fake.on_connect(Mode::Fail);
        let builder = Pool::builder(fake.clone()).min_size(4 - min_idle).min_idle(min_idle);
        let begun = Instant::now();
        let built = builder.fail_fast(true).wait_ready(LIMIT).build();
        let error = match built {
            Err(BuildError::NotReady(error)) => error,
            other => panic!("{other:?}"),
        };
        assert_refused_quickly(begun, Err(error));
        eventually("nothing is left", || fake.books().alive() == 0);
    }
}

#[test]
fn a_thread_that_waits_for_the_start_and_is_to_fail_fast_does_so_at_once_with_the_cause() {
    let fake = Fake::new();
    fake.on_connect(Mode::Fail);
    let pool = Pool::builder(fake.clone()).initial_size(3).fail_fast(true).build().unwrap();
    let begun = Instant::now();
    assert_refused_quickly(begun, pool.ready(LIMIT));
    assert!(fake.books().attempts.load(SeqCst) <= 8, "{}", pool.stats());
}
