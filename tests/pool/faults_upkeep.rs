//! Upkeep that makes work for itself, or leaves undone what it should do: all under a clock that
//! the test turns.

use crate::common::harness::{Harness, STEP};
use crate::common::*;
use caliburn::health::{
    AgeEviction, ConnectionInfo, EvictionCause, HealthStrategy, PeriodicSweep, PingAfterFailure,
    PingOnBorrow, Verdict,
};
use caliburn::{Builder, MockClock, Pool, PooledConnection};
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// One line for each input that was not treated as it should be.
#[derive(Default)]
struct Complaints(String);

impl Complaints {
    fn unless(&mut self, is_right: bool, complaint: impl FnOnce() -> String) {
        if !is_right {
            let _ = write!(self.0, "\n  {}", complaint());
        }
    }
}

impl Drop for Complaints {
    fn drop(&mut self) {
        assert!(self.0.is_empty() || std::thread::panicking(), "{}", self.0);
    }
}

// A connection that is out for a moment is not missing (A11)

/// The minimum: four connections, four free ones, both.
const MINIMA: [(usize, usize); 3] = [(4, 0), (0, 4), (4, 4)];

/// Sixty sweeps, a second apart, and before each of them what `meanwhile` does; it says how many
/// connections it broke. Those, and no others, may be closed and replaced.
fn sixty_sweeps<S: HealthStrategy>(
    what: &str,
    strategy: impl Fn() -> S,
    mut meanwhile: impl FnMut(&Pool<Fake>, &Fake, usize) -> usize,
) {
    let mut complaints = Complaints::default();
    for (min_size, min_idle) in MINIMA {
        for idle_timeout in [None, Some(10 * SECOND)] {
            let fake = Fake::new();
            let (builder, hand) = manual_maintenance(&fake);
            let builder = builder.max_size(16).min_size(min_size).min_idle(min_idle);
            let builder = builder.idle_timeout(idle_timeout).sweep_interval(Some(SECOND));
            let pool = builder.health(strategy()).build().unwrap();
            assert_eq!(pool.stats().size, 4);
            let (mut broken, mut most) = (0, 0);
            for sweep in 0..60 {
                hand.advance(SECOND);
                broken += meanwhile(&pool, &fake, sweep);
                pool.maintain();
                most = most.max(pool.stats().size);
            }
            let stats = pool.stats();
            assert_eq!(stats.sweeps, 60);
            let moved = (stats.connects as usize - 4, stats.closes as usize);
            complaints.unless(moved == (broken, broken) && most == 4, || {
                format!(
                    "{what}, min_size {min_size}, min_idle {min_idle}, idle_timeout \
                     {idle_timeout:?}: in sixty sweeps {} connects and {} closes for {broken} \
                     broken; {most} were open of 4",
                    moved.0, moved.1
                )
            });
            assert_settled(&pool, fake.books());
        }
    }
}

/// None of four is near its end within a minute, however lifetimes are spread.
fn aged() -> AgeEviction {
    AgeEviction::default().max_lifetime(10_000 * HALF_HOUR)
}

fn nothing(_: &Pool<Fake>, _: &Fake, _: usize) -> usize {
    0
}

#[test]
fn connections_out_for_the_ping_of_a_sweep_are_not_missing() {
    sixty_sweeps("PeriodicSweep", || PeriodicSweep::every(SECOND), nothing);
}

#[test]
fn connections_that_no_sweep_takes_out_are_not_missing_either() {
    sixty_sweeps("no strategy", || (), nothing);
    sixty_sweeps("AgeEviction", aged, nothing);
    let both = || (aged(), PingAfterFailure);
    sixty_sweeps("AgeEviction and PingAfterFailure", both, nothing);
}

#[test]
fn connections_out_for_a_ping_among_several_strategies_are_not_missing() {
    let all = || {
        let sweep = PeriodicSweep::every(SECOND);
        (aged(), PingAfterFailure, PingOnBorrow::default(), sweep)
    };
    sixty_sweeps("all of them", all, nothing);
    let boxed = || Box::new(PeriodicSweep::every(SECOND)) as Box<dyn HealthStrategy>;
    sixty_sweeps("a boxed PeriodicSweep", boxed, nothing);
}

#[test]
fn connections_pinged_because_another_was_found_dead_are_not_missing() {
    // Every tenth sweep has the three others pinged.
    sixty_sweeps(
        "PingAfterFailure",
        || PingAfterFailure,
        |pool, _, sweep| {
            let is_due = sweep % 10 == 0;
            if is_due {
                pool.try_get().unwrap().broken = true;
            }
            usize::from(is_due)
        },
    );
}

#[test]
fn connections_out_for_the_ping_of_a_borrower_are_not_missing() {
    // An attempt that meets one that must be pinged has it pinged and goes away; three others lie
    // idle.
    sixty_sweeps(
        "PingOnBorrow",
        || PingOnBorrow::skip_if_used_within(SECOND / 2),
        |pool, _, _| {
            assert!(pool.try_get().is_err(), "it has been silent for a second");
            0
        },
    );
}

#[test]
fn connections_out_for_a_ping_that_their_borrower_asked_for_are_not_missing() {
    // Each is lent and suspected, and a sweep finds them so.
    sixty_sweeps(
        "suspected by their borrowers",
        || (PeriodicSweep::every(SECOND), PingAfterFailure),
        |pool, _, _| {
            if let Ok(mut conn) = pool.try_get() {
                PooledConnection::suspect(&mut conn);
            }
            0
        },
    );
}

fn return_all_dirty(pool: &Pool<Fake>, fake: &Fake, _: usize) -> usize {
    // No more than there are: an attempt in vain would ask for another.
    let mut lent: Vec<_> = (0..4).map(|_| pool.try_get().unwrap()).collect();
    lent.iter_mut().for_each(|conn| conn.dirty = true);
    let before = fake.books().resets.load(SeqCst);
    drop(lent);
    assert_eq!(fake.books().resets.load(SeqCst), before, "nobody has reset them yet");
    0
}

#[test]
fn connections_out_for_a_reset_are_not_missing() {
    sixty_sweeps("no strategy, resets", || (), return_all_dirty);
    sixty_sweeps("AgeEviction, resets", aged, return_all_dirty);
    sixty_sweeps("PingAfterFailure, resets", || PingAfterFailure, return_all_dirty);
    sixty_sweeps("PeriodicSweep, resets", || PeriodicSweep::every(SECOND), return_all_dirty);
}

/// The same where they are out for longer than a moment: what the pool does meanwhile is seen.
#[test]
fn connections_out_for_a_ping_that_takes_a_second_are_not_missing() {
    let sweep = PeriodicSweep::every(60 * SECOND);
    let harness = Harness::new(16, |b| b.min_idle(4).idle_timeout(None).health(sweep));
    harness.until("four are open", || harness.pool.stats().idle == 4);
    harness.fake.on_ping(Mode::Hang);
    harness.pool.sweep();
    for _ in 0..40 {
        harness.step();
        let stats = harness.pool.stats();
        let seen = (stats.maintenance, harness.attempts());
        assert_eq!(seen, (4, 4), "out of service, and ever connected: {stats}");
    }
}

// Past its limit a connection goes, whether its replacement is there or not (A12)

/// How many a borrower could have now, by what the gauges say and by trying.
fn shown_and_lendable(pool: &Pool<Fake>) -> (usize, usize) {
    let shown = pool.stats().idle;
    (shown, std::iter::from_fn(|| pool.try_get().ok()).map(std::mem::forget).count())
}

/// The input: connecting fails, and 3.6 s pass by the sweep's steps.
fn after_an_outage(what: &str, more: impl Fn(Builder<Fake>) -> Builder<Fake>) {
    let mut complaints = Complaints::default();
    for (min_size, min_idle) in [(0, 8), (8, 0), (8, 8)] {
        for mode in [Mode::Fail, Mode::FailForGood, Mode::Panic] {
            let fake = Fake::new();
            let (builder, hand) = manual_maintenance(&fake);
            let builder = builder.max_size(16).min_size(min_size).min_idle(min_idle);
            let builder = builder.idle_timeout(None).sweep_interval(Some(4 * STEP));
            let pool = more(builder).build().unwrap();
            assert_eq!(pool.stats().idle, 8);
            fake.on_connect(mode);
            for _ in 0..144 {
                hand.advance(STEP);
                pool.maintain();
            }
            let stats = pool.stats();
            let (shown, lendable) = shown_and_lendable(&pool);
            complaints.unless((shown, lendable, stats.size) == (0, 0, 0), || {
                format!(
                    "{what}, min_size {min_size}, min_idle {min_idle}, connects {mode:?}: 3.6 s \
                     later {} are open, {shown} are shown idle, {lendable} can be lent",
                    stats.size
                )
            });
        }
    }
}

const LIFETIME: Duration = Duration::from_millis(400);

#[test]
fn what_is_past_its_lifetime_is_closed_though_its_replacement_cannot_be_opened() {
    expect_panics();
    let age = AgeEviction::unlimited().max_lifetime(LIFETIME);
    after_an_outage("max_lifetime", |b| b.health(age));
    after_an_outage("max_lifetime and a sweep", |b| b.health((age, PeriodicSweep::every(STEP))));
    after_an_outage("max_lifetime without a lead", |b| b.health(age.lead(Duration::ZERO)));
}

#[test]
fn what_has_lain_idle_for_too_long_is_closed_though_its_replacement_cannot_be_opened() {
    expect_panics();
    let idle = AgeEviction::unlimited().idle_timeout(LIFETIME);
    after_an_outage("idle_timeout of the strategy", |b| b.health(idle));
}

#[test]
fn what_a_strategy_of_ones_own_refuses_is_closed_though_its_replacement_cannot_be_opened() {
    expect_panics();
    struct Own;
    impl Own {
        fn judge(info: &ConnectionInfo) -> Verdict {
            let is_old = info.age() >= LIFETIME;
            if is_old { Verdict::Evict(EvictionCause::Strategy) } else { Verdict::Keep }
        }
    }
    impl HealthStrategy for Own {
        fn on_borrow(&self, info: &ConnectionInfo) -> Verdict {
            Self::judge(info)
        }
        fn on_sweep(&self, info: &ConnectionInfo) -> Verdict {
            Self::judge(info)
        }
    }
    after_an_outage("a strategy of one's own", |b| b.health(Own));
}

/// The same if connects hang, which keeps their slots.
#[test]
fn what_is_past_its_lifetime_is_closed_though_the_connects_for_its_replacement_hang() {
    let age = AgeEviction::unlimited().max_lifetime(LIFETIME);
    let harness = Harness::new(16, |b| {
        b.min_idle(8).idle_timeout(None).sweep_interval(Some(4 * STEP)).health(age)
    });
    harness.until("eight are open", || harness.pool.stats().idle == 8);
    harness.fake.on_connect(Mode::Hang);
    (0..144).for_each(|_| harness.step());
    let shown = harness.pool.stats().idle;
    let lendable = std::iter::from_fn(|| harness.pool.try_get().ok()).count();
    assert_eq!((shown, lendable), (0, 0), "shown idle, and lendable, 3.6 s later");
}

/// What comes before the limit may wait for its replacement, and does.
#[test]
fn before_its_limit_a_connection_stays_until_its_replacement_is_there() {
    let fake = Fake::new();
    let age = AgeEviction::unlimited().max_lifetime(100 * SECOND).jitter(0.0).lead(10 * SECOND);
    let (builder, hand) = manual_maintenance(&fake);
    let builder = builder.max_size(16).min_idle(8).idle_timeout(None).sweep_interval(Some(SECOND));
    let pool = builder.health(age).build().unwrap();
    fake.on_connect(Mode::Fail);
    for second in 1..100 {
        hand.advance(SECOND);
        pool.maintain();
        assert_eq!(pool.stats().idle, 8, "after {second} s");
    }
    fake.on_connect(Mode::Ok);
}

// A cohort born at once is not replaced at once (A29)

const HALF_HOUR: Duration = Duration::from_secs(30 * 60);

/// When how many were closed for their age.
struct Replacements {
    seen: u64,
    /// The times, in seconds, of those in the last tenth of a lifetime.
    window: VecDeque<u64>,
    most: usize,
}

impl Replacements {
    fn new() -> Self {
        Self { seen: 0, window: VecDeque::new(), most: 0 }
    }

    fn look(&mut self, pool: &Pool<Fake>, second: u64) {
        let aged = pool.stats().evictions.by(EvictionCause::MaxLifetime);
        self.window.extend((self.seen..aged).map(|_| second));
        self.seen = aged;
        let tenth = HALF_HOUR.as_secs() / 10;
        self.window.retain(|at| at + tenth > second);
        self.most = self.most.max(self.window.len());
    }

    /// In no tenth of a lifetime more than twice as many as on average over three lifetimes.
    fn judge(&self, what: &str, complaints: &mut Complaints) {
        let mean = self.seen as f64 / 30.0;
        assert!(mean >= 6.0, "{what}: {} replaced in three lifetimes", self.seen);
        complaints.unless(self.most as f64 <= 2.0 * mean, || {
            format!("{what}: {} replaced in a tenth of a lifetime, {mean:.1} on average", self.most)
        });
    }
}

fn cohort(max_size: usize) -> (Fake, Pool<Fake>, MockClock) {
    let fake = Fake::new();
    let (builder, hand) = manual_maintenance(&fake);
    let builder = builder.max_size(max_size).min_size(100).idle_timeout(None);
    let pool = builder.health(AgeEviction::default()).build().unwrap();
    assert_eq!(pool.stats().idle, 100);
    (fake, pool, hand)
}

#[test]
fn a_hundred_born_at_once_and_idle_are_replaced_evenly_from_the_first_generation_on() {
    let mut complaints = Complaints::default();
    for max_size in [104, 200, 100] {
        let (fake, pool, hand) = cohort(max_size);
        let mut replacements = Replacements::new();
        for second in (5..=3 * HALF_HOUR.as_secs()).step_by(5) {
            hand.advance(5 * SECOND);
            pool.maintain();
            replacements.look(&pool, second);
        }
        replacements.judge(&format!("idle, of {max_size}"), &mut complaints);
        assert_settled(&pool, fake.books());
    }
}

#[test]
fn a_hundred_born_at_once_and_always_lent_are_replaced_evenly_and_ninety_five_serve() {
    let mut complaints = Complaints::default();
    for max_size in [100, 104] {
        let (fake, pool, hand) = cohort(max_size);
        let mut replacements = Replacements::new();
        let mut lent = Vec::new();
        let mut fewest = usize::MAX;
        for second in (20..=3 * HALF_HOUR.as_secs()).step_by(20) {
            hand.advance(20 * SECOND);
            pool.maintain();
            // All loans end at once, and all borrowers come again.
            lent.clear();
            let stats = pool.stats();
            fewest = fewest.min(stats.idle + stats.lent);
            let mut gets: Vec<_> = (0..100).map(|_| Box::pin(pool.get_async())).collect();
            for _ in 0..100 {
                gets.retain_mut(|get| match poll_once(get) {
                    Poll::Ready(conn) => {
                        lent.push(conn.unwrap());
                        false
                    }
                    Poll::Pending => true,
                });
                pool.maintain();
            }
            assert!(gets.is_empty(), "{}", pool.stats());
            replacements.look(&pool, second);
        }
        let what = format!("always lent, of {max_size}");
        replacements.judge(&what, &mut complaints);
        complaints.unless(fewest >= 95, || format!("{what}: only {fewest} of 100 in service"));
        drop(lent);
        pool.maintain();
        assert_settled(&pool, fake.books());
    }
}
