//! Connections that use does not need: how many are in use at once decides how many stay open.

use crate::common::harness::Harness;
use crate::common::*;
use caliburn::error::Problem;
use caliburn::observe::{Event, EventKind};
use caliburn::{BuildError, Builder, EvictionCause, MockClock, Pool, PooledConnection};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(60);
/// A twentieth of the window passes between two samples, a half of it more or less.
const STEP: Duration = Duration::from_millis(500);

/// A pool whose connections are used as the test says.
struct Used {
    fake: Fake,
    pool: Pool<Fake>,
    hand: MockClock,
    held: Vec<PooledConnection<Fake>>,
}

impl Used {
    fn new(more: impl FnOnce(Builder<Fake>) -> Builder<Fake>) -> Self {
        let fake = Fake::new();
        let (builder, hand) = manual_maintenance(&fake);
        let builder = builder.max_size(40).idle_timeout(None).shrink_window(Some(WINDOW));
        let pool = more(builder).build().unwrap();
        Self { fake, pool, hand, held: Vec::new() }
    }

    /// So many are in use from now on.
    fn hold(&mut self, many: usize) {
        self.held.truncate(many);
        while self.held.len() < many {
            let mut get = Box::pin(self.pool.get_async());
            loop {
                if let Poll::Ready(conn) = poll_once(&mut get) {
                    break self.held.push(conn.unwrap());
                }
                self.pool.maintain();
            }
        }
        self.pool.maintain();
    }

    /// So many are in use for so long.
    fn hold_for(&mut self, many: usize, time: Duration) {
        self.hold(many);
        for _ in 0..time.as_millis() / STEP.as_millis() {
            self.hand.advance(STEP);
            self.pool.maintain();
        }
    }

    fn size(&self) -> usize {
        self.pool.stats().size
    }

    fn connects(&self) -> u64 {
        self.pool.stats().connects
    }

    fn closed(&self) -> u64 {
        self.pool.stats().evictions.by(EvictionCause::Unneeded)
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_settled(&self.pool, self.fake.books());
        }
    }
}

#[test]
fn within_two_windows_after_a_spike_of_a_second_what_it_has_opened_is_closed() {
    let mut used = Used::new(|b| b);
    used.hold_for(32, SECOND);
    assert_eq!((used.size(), used.connects()), (32, 32));
    used.hold(4);
    let busy: BTreeSet<_> = used.held.iter().map(|conn| conn.id).collect();
    used.hold_for(4, 2 * WINDOW);
    let stats = used.pool.stats();
    assert_eq!((stats.size, stats.lent, used.closed()), (4, 4, 28), "{stats}");
    assert_eq!((stats.evictions.total(), stats.connects), (28, 32), "and nothing else: {stats}");
    // What is busy stays, and nothing more happens.
    used.hold(0);
    used.hold_for(4, 10 * WINDOW);
    assert_eq!(used.held.iter().map(|conn| conn.id).collect::<BTreeSet<_>>(), busy);
    assert_eq!((used.size(), used.connects()), (4, 32));
}

#[test]
fn without_a_window_a_spike_stays_open_for_the_idle_timeout() {
    let mut used = Used::new(|b| b.shrink_window(None).idle_timeout(Some(10 * WINDOW)));
    used.hold_for(32, SECOND);
    used.hold_for(4, 9 * WINDOW);
    assert_eq!(used.size(), 32);
    used.hold_for(4, 2 * WINDOW);
    assert_eq!((used.size(), used.closed()), (4, 0));
}

/// How many connects are made while 4 and 32 are in use by turns, each for half a window, and how
/// many connections are open on average.
fn by_turns(more: impl FnOnce(Builder<Fake>) -> Builder<Fake>) -> (u64, f64) {
    let mut used = Used::new(more);
    let (mut area, mut looks) = (0, 0);
    for _ in 0..20 {
        for many in [32, 4] {
            for _ in 0..WINDOW.as_secs() / 2 {
                used.hold_for(many, SECOND);
                area += used.size();
                looks += 1;
            }
        }
    }
    (used.connects(), area as f64 / f64::from(looks))
}

#[test]
fn what_a_load_that_comes_and_goes_needs_is_not_closed_and_opened_again() {
    assert_eq!(by_turns(|b| b), (32, 32.0), "by use");
    let alone = |b: Builder<Fake>| b.idle_timeout(Some(10 * WINDOW)).shrink_window(None);
    assert_eq!(by_turns(alone), (32, 32.0), "by the idle timeout alone");
    let fast = |b: Builder<Fake>| b.idle_timeout(Some(WINDOW / 4)).sweep_interval(Some(SECOND));
    let (connects, _) = by_turns(|b| fast(b).shrink_window(None));
    assert_eq!(connects, 32 + 19 * 28, "a short idle timeout makes a sawtooth");
}

#[test]
fn a_peak_that_only_one_sample_meets_keeps_nothing_open_and_one_of_a_seventh_of_the_time_does() {
    let mut used = Used::new(|b| b);
    for _ in 0..2 {
        used.hold_for(4, WINDOW - SECOND);
        used.hold_for(32, SECOND);
    }
    used.hold_for(4, 5 * SECOND);
    assert!(used.closed() >= 28, "{}", used.pool.stats());
    let mut used = Used::new(|b| b);
    for _ in 0..20 {
        used.hold_for(32, WINDOW / 6);
        used.hold_for(4, WINDOW - WINDOW / 6);
    }
    // A window may be a little shorter than the time between two peaks.
    let connects = used.connects();
    assert!(connects <= 32 + 28 * 2, "{connects} connects");
}

/// Loans that begin by chance, so that 16 connections are in use on average.
#[test]
fn under_a_load_that_fluctuates_use_closes_few_and_what_it_closes_is_seldom_missed() {
    let run = |window| {
        let mut used = Used::new(|b| b.shrink_window(window).idle_timeout(Some(10 * WINDOW)));
        let mut seed = 0x9e37_79b9_u64;
        let mut draw = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % 1000
        };
        let (mut area, steps) = (0, 7_200);
        for _ in 0..steps {
            // Each loan ends with a chance of a quarter, and four begin on average.
            let stay = used.held.iter().filter(|_| draw() >= 250).count();
            let come = (0..8).filter(|_| draw() < 500).count();
            used.hold(stay);
            used.hold_for(stay + come, STEP);
            area += used.size();
        }
        (used.connects(), area as f64 / f64::from(steps))
    };
    let (without, with) = (run(None), run(Some(WINDOW)));
    println!("connects and mean size in an hour: {without:.1?} without, {with:.1?} with");
    assert!(with.1 < without.1, "{without:?} {with:?}");
    assert!(with.0 < 600, "{with:?}");
}

fn what_the_start_still_opens_stays(more: impl FnOnce(Builder<Fake>) -> Builder<Fake>) {
    let fake = Fake::new();
    let (other, _) = full_manual(&fake, 5, |b| b);
    let moved: Vec<_> = (0..5).map(|_| PooledConnection::detach(other.get().unwrap())).collect();
    let down = Fake::new();
    down.on_connect(Mode::Fail);
    let (clock, hand) = caliburn::Clock::mock();
    let builder = Pool::builder(down.clone()).manual_maintenance().clock(clock);
    let builder = builder.max_size(10).min_size(1).initial_size(8).idle_timeout(None);
    let pool = more(builder).build().unwrap();
    moved.into_iter().for_each(|conn| pool.add(conn).unwrap());
    let pass = |windows: u32| {
        for _ in 0..windows * 120 {
            hand.advance(STEP);
            pool.maintain();
        }
    };
    pass(5);
    assert_eq!(pool.stats().size, 5, "the start is not over: {}", pool.stats());
    down.on_connect(Mode::Ok);
    pass(1);
    assert_eq!(pool.stats().connects, 3, "{}", pool.stats());
    pass(2);
    assert_eq!(pool.stats().size, 1, "now the minimum is enough");
    assert_eq!(pool.stats().connects, 3);
}

#[test]
fn what_the_start_still_opens_is_not_closed() {
    what_the_start_still_opens_stays(|b| b.shrink_window(Some(WINDOW)));
    what_the_start_still_opens_stays(|b| {
        b.idle_timeout(Some(2 * WINDOW)).sweep_interval(Some(SECOND))
    });
}

#[test]
fn the_minimum_stays_whatever_is_in_use() {
    let mut used = Used::new(|b| b.min_size(6));
    used.hold_for(32, SECOND);
    used.hold_for(4, 2 * WINDOW);
    assert_eq!(used.size(), 6);
    used.hold_for(0, 2 * WINDOW);
    assert_eq!((used.size(), used.connects()), (6, 32));
}

#[test]
fn the_idle_minimum_stays_beside_what_is_in_use() {
    let mut used = Used::new(|b| b.min_idle(3));
    used.hold_for(32, SECOND);
    used.hold_for(4, 2 * WINDOW);
    assert_eq!((used.size(), used.pool.stats().idle), (7, 3), "{}", used.pool.stats());
    used.hold_for(0, 2 * WINDOW);
    assert_eq!((used.size(), used.pool.stats().idle), (3, 3), "{}", used.pool.stats());
}

#[test]
fn the_idle_minimum_of_a_load_that_comes_and_goes_is_not_closed_and_opened_again() {
    let (connects, mean) = by_turns(|b| b.min_idle(3));
    assert_eq!((connects, mean), (35, 35.0));
}

#[test]
fn a_window_of_zero_is_a_typed_error() {
    let zero = Some(Duration::ZERO);
    let error = Pool::builder(Fake::new()).shrink_window(zero).build().unwrap_err();
    let BuildError::Config(error) = error else { panic!("{error}") };
    assert_eq!(error.problems(), [Problem::Zero("shrink_window")]);
    let used = Used::new(|b| b);
    let error = used.pool.change(|settings| settings.shrink_window = zero).unwrap_err();
    assert_eq!(error.problems(), [Problem::Zero("shrink_window")]);
    assert_eq!(used.pool.settings().shrink_window, Some(WINDOW));
}

#[test]
fn a_window_below_half_a_second_counts_as_half_a_second() {
    for window in [Duration::from_nanos(1), Duration::from_millis(15), 30 * SECOND / 100] {
        let mut used = Used::new(|b| b.shrink_window(Some(window)));
        used.hold(32);
        used.hold(0);
        let pass = |millis| {
            for _ in 0..millis {
                used.hand.advance(SECOND / 1000);
                used.pool.maintain();
            }
        };
        pass(240);
        assert_eq!(used.size(), 32, "{window:?}: twenty samples take longer");
        pass(600);
        assert_eq!(used.size(), 0, "{window:?}");
    }
}

#[test]
fn the_longest_window_is_never_over() {
    let mut used = Used::new(|b| b.shrink_window(Some(Duration::MAX)));
    used.hold(32);
    used.hold(0);
    for _ in 0..100 {
        used.hand.advance(100_000_000 * SECOND);
        used.pool.maintain();
    }
    assert_eq!((used.size(), used.closed()), (32, 0));
}

#[test]
fn a_pause_of_any_length_says_nothing_about_use() {
    let mut used = Used::new(|b| b);
    used.hold_for(32, WINDOW / 2);
    used.pool.pause();
    used.hold_for(0, 5 * WINDOW);
    assert_eq!((used.size(), used.closed()), (32, 0), "while it is paused");
    used.pool.resume();
    used.hold_for(32, WINDOW);
    assert_eq!((used.closed(), used.connects()), (0, 32));
}

#[test]
fn the_moment_at_which_a_pause_ends_is_no_sample() {
    let mut used = Used::new(|b| b);
    used.hold(32);
    for _ in 0..100 {
        used.hold(0);
        used.pool.pause();
        used.hand.advance(WINDOW);
        used.pool.resume();
        used.pool.maintain();
        used.hold_for(32, STEP);
    }
    assert_eq!((used.closed(), used.connects()), (0, 32));
}

#[test]
fn a_clock_that_leaps_gives_one_sample_and_not_a_window() {
    let mut used = Used::new(|b| b);
    used.hold(32);
    for busy in [0, 0, 0, 12, 12] {
        used.hold_for(32, busy * SECOND);
        used.hold(0);
        used.hand.advance(10 * 3_600 * SECOND);
        used.pool.maintain();
        assert_eq!((used.size(), used.closed()), (32, 0));
    }
    used.hold_for(32, WINDOW);
    assert_eq!((used.closed(), used.connects()), (0, 32));
}

#[test]
fn each_connection_closed_for_lack_of_use_is_counted_and_told_with_that_cause() {
    let (told, events) = mpsc::channel();
    let mut used = Used::new(|b| {
        b.observer(move |event: &Event| {
            if let EventKind::Evicted { cause } = event.kind {
                let _ = told.send((cause, event.to_string()));
            }
        })
    });
    used.hold(12);
    used.hold_for(2, 2 * WINDOW);
    let events: Vec<_> = events.try_iter().collect();
    assert!(events.iter().all(|(cause, _)| *cause == EvictionCause::Unneeded), "{events:?}");
    assert!(events[0].1.contains("unneeded"), "{events:?}");
    assert_eq!((events.len(), used.closed()), (10, 10));
    let stats = used.pool.stats();
    assert_eq!((stats.closes, stats.evictions.total()), (10, 10), "{stats}");
    assert!(stats.to_string().contains("10 unneeded"), "{stats}");
}

#[test]
fn a_window_that_is_turned_on_off_or_changed_begins_anew() {
    let almost = WINDOW / 3;
    let mut used = Used::new(|b| b.shrink_window(None));
    used.hold(32);
    used.hold_for(0, 10 * WINDOW);
    assert_eq!(used.size(), 32, "it is off");
    let set = |used: &Used, window| {
        used.pool.change(|settings| settings.shrink_window = window).unwrap();
        used.pool.maintain();
    };
    for _ in 0..10 {
        set(&used, Some(WINDOW));
        used.hold_for(0, almost);
        set(&used, None);
    }
    for seconds in 61..71 {
        set(&used, Some(seconds * SECOND));
        used.hold_for(0, almost);
    }
    assert_eq!((used.size(), used.closed()), (32, 0));
    // Other changes leave it alone.
    set(&used, Some(WINDOW));
    for fail_fast in [true, false, true, false] {
        used.hold_for(0, almost);
        used.pool.change(|settings| settings.fail_fast = fail_fast).unwrap();
    }
    used.hold_for(0, almost);
    assert_eq!((used.size(), used.closed()), (0, 32));
}

// How it is done.

/// 16 connections open, 12 of them unneeded, whose closes hang.
fn hanging_closes(concurrency: usize) -> Harness {
    let harness = Harness::new(16, |b| {
        let b = b.initial_size(16).idle_timeout(None).maintenance_concurrency(concurrency);
        b.min_size(4).shrink_window(Some(WINDOW)).close_timeout(3_600 * SECOND)
    });
    harness.until("all are open", || harness.pool.stats().idle == 16);
    harness.fake.on_close(Mode::Hang);
    for _ in 0..40 {
        harness.advance(3 * SECOND);
    }
    harness.until("closes hang", || harness.pool.stats().maintenance >= concurrency);
    harness
}

fn unneeded(harness: &Harness) -> u64 {
    harness.pool.stats().evictions.by(EvictionCause::Unneeded)
}

#[test]
fn no_more_are_closed_at_once_than_maintenance_may_take_out_of_service() {
    let harness = hanging_closes(3);
    let stats = harness.pool.stats();
    assert_eq!((stats.maintenance, stats.idle), (3, 13), "{stats}");
    assert_eq!(unneeded(&harness), 3);
}

#[test]
fn a_load_that_rises_meanwhile_ends_the_closing() {
    let harness = hanging_closes(1);
    assert_eq!(unneeded(&harness), 1);
    let held: Vec<_> = (0..6).map(|_| harness.lent()).collect();
    harness.fake.on_close(Mode::Ok);
    // The close that hangs is given up, and there is room again.
    harness.advance(2 * 3_600 * SECOND);
    assert_eq!(unneeded(&harness), 1, "{}", harness.pool.stats());
    drop(held);
}

#[test]
fn in_the_background_a_pool_shrinks_to_its_minimum_and_no_further() {
    let (fake, told) = (Fake::new(), Arc::<AtomicUsize>::default());
    let count = told.clone();
    let pool = Pool::builder(fake.clone()).max_size(16).min_size(2).initial_size(16);
    let pool = pool.idle_timeout(None).shrink_window(Some(SECOND / 2)).wait_ready(PLENTY);
    let pool = pool.observer(move |event: &Event| {
        if matches!(event.kind, EventKind::Evicted { cause: EvictionCause::Unneeded }) {
            count.fetch_add(1, SeqCst);
        }
    });
    let pool = pool.build().unwrap();
    eventually("it shrinks", || pool.stats().size == 2);
    eventually("it is told", || told.load(SeqCst) == 14);
    // What it opens later is noticed, too.
    use_each(&pool, 10);
    eventually("it shrinks again", || pool.stats().size == 2 && told.load(SeqCst) >= 22);
    assert_settled(&pool, fake.books());
}
