//! How long connections live: by age, by idleness, by accident, and to the end of their pool.

use crate::common::*;
use caliburn::health::{AgeEviction, EvictionCause, PeriodicSweep, PingOnBorrow};
use caliburn::{
    AsyncManager, BlockingManager, Builder, Deadline, Manager, MockClock, Pool, PooledConnection,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A pool without a background, under a mocked clock.
fn manual_maintenance(
    fake: &Fake,
    size: usize,
    more: impl FnOnce(Builder<Fake>) -> Builder<Fake>,
) -> (Pool<Fake>, MockClock) {
    let (builder, hand) = crate::common::manual_maintenance(fake);
    (more(builder.max_size(size)).build().unwrap(), hand)
}

/// Whatever is idle, all at once.
fn all_idle(pool: &Pool<Fake>) -> Vec<PooledConnection<Fake>> {
    // No attempt beyond them: it would be demand.
    (0..pool.stats().idle).filter_map(|_| pool.try_get().ok()).collect()
}

fn ids(connections: &[PooledConnection<Fake>]) -> BTreeSet<u64> {
    connections.iter().map(|conn| conn.id).collect()
}

// To the end of the pool

/// A driver whose connections have a file to themselves, and are slow to let go of it.
struct Locker(PathBuf);

struct Locked {
    _file: File,
}

impl Drop for Locked {
    fn drop(&mut self) {
        // The file is closed, and so unlocked, after this.
        std::thread::sleep(Duration::from_millis(3));
    }
}

impl Manager for Locker {
    type Connection = Locked;
    type Error = std::io::Error;
}

impl Locker {
    fn lock(&self) -> std::io::Result<Locked> {
        let file = File::options().append(true).create(true).open(&self.0)?;
        file.try_lock()?;
        Ok(Locked { _file: file })
    }
}

impl BlockingManager for Locker {
    fn connect(&self, _: &Deadline) -> std::io::Result<Locked> {
        self.lock()
    }

    fn ping(&self, _: &mut Locked, _: &Deadline) -> std::io::Result<()> {
        Ok(())
    }
}

impl AsyncManager for Locker {
    async fn connect(&self, _: &Deadline) -> std::io::Result<Locked> {
        self.lock()
    }

    async fn ping(&self, _: &mut Locked, _: &Deadline) -> std::io::Result<()> {
        Ok(())
    }
}

/// deadpool #325, #330: a file is still locked after the pool is gone, as connections are dropped
/// by a task that nobody waits for. Here a close that says it is complete comes after every
/// destructor.
#[test]
fn row_43_when_a_close_is_complete_every_connection_has_let_go_of_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("exclusive");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for round in 0..24 {
        let builder = if round % 2 == 0 {
            Pool::builder(Locker(path.clone()))
        } else {
            Pool::builder_async(Locker(path.clone()))
        };
        let pool = builder.max_size(1).build().unwrap();
        let guard = pool.get_timeout(PLENTY).unwrap();
        // Idle, on its way out, or still lent when the pool is closed.
        let mut returner = None;
        match round / 4 % 3 {
            0 => drop(guard),
            1 => PooledConnection::discard(guard),
            _ => returner = Some(std::thread::spawn(move || drop(guard))),
        }
        let report = if round % 4 < 2 {
            pool.close_within(PLENTY)
        } else {
            runtime.block_on(pool.close_within_async(PLENTY))
        };
        assert!(report.is_complete(), "{report}");
        Locker(path.clone()).lock().expect("nobody has it any more");
        if let Some(returner) = returner {
            returner.join().unwrap();
        }
    }
}

// By accident

/// r2d2 #31, diesel #2104: a panic in the middle of a transaction puts the connection back as
/// healthy, and the next borrower goes on with that transaction.
#[test]
fn row_45_nothing_of_what_a_panic_interrupted_is_left_in_the_next_loan() {
    expect_panics();
    for keep in [false, true] {
        let fake = Fake::new();
        let (pool, _hand) = manual_maintenance(&fake, 1, |b| {
            let builder = b.min_size(1);
            if keep { builder.keep_on_unwind() } else { builder }
        });
        for round in 1..=20 {
            let mut conn = pool.get().unwrap();
            let before = conn.id;
            let mut next = Box::pin(pool.get_async());
            assert!(poll_once(&mut next).is_pending());
            let panic = catch_unwind(AssertUnwindSafe(|| {
                conn.dirty = true;
                let _conn = conn;
                panic!("on purpose");
            }));
            assert!(panic.is_err());
            assert!(poll_once(&mut next).is_pending(), "handed over as it was left");
            pool.maintain();
            let Poll::Ready(Ok(conn)) = poll_once(&mut next) else { panic!("{pool:?}") };
            assert!(!conn.dirty);
            assert_eq!(conn.id == before, keep, "closed by default, reset if it is to be kept");
            let stats = pool.stats();
            let (closed, resets) = (stats.evictions.by(EvictionCause::Panicked), stats.resets);
            assert_eq!((closed, resets), if keep { (0, round) } else { (round, 0) });
            drop(conn);
        }
        assert_settled(&pool, fake.books());
    }
}

// By age

/// A hundred connections born at once, and room for four more, all of a lifetime of 1,000 s less up
/// to a half.
fn a_hundred_born_at_once(fake: &Fake) -> (Pool<Fake>, MockClock) {
    let age = AgeEviction::unlimited().max_lifetime(1000 * SECOND).jitter(0.5);
    manual_maintenance(fake, 104, |b| b.min_size(100).idle_timeout(None).health(age))
}

fn aged(pool: &Pool<Fake>) -> u64 {
    pool.stats().evictions.by(EvictionCause::MaxLifetime)
}

/// sqlx #3051: what was opened together expires together, and callers wait for the replacements.
/// Here deaths are spread, and no borrower waits.
#[test]
fn row_48_a_hundred_born_at_once_do_not_die_at_once_and_no_borrower_waits() {
    let fake = Fake::new();
    let (pool, hand) = a_hundred_born_at_once(&fake);
    let mut windows = [0; 6];
    for second in 0..1000 {
        let before = aged(&pool);
        hand.advance(SECOND);
        let borrowed: Vec<_> =
            (0..10).map(|_| poll_once(&mut Box::pin(pool.get_async()))).collect();
        assert!(borrowed.iter().all(Poll::is_ready), "a borrower waits: {}", pool.stats());
        drop(borrowed);
        pool.maintain();
        // The sweep is ahead by 50 s.
        windows[((second + 50) / 100usize).saturating_sub(5)] += aged(&pool) - before;
    }
    // Twenty each on average.
    assert!(windows.iter().all(|died| *died <= 40), "{windows:?}");
    assert!(windows.iter().sum::<u64>() > 50, "{windows:?}");
    assert_eq!(pool.stats().waits, 0);
    assert_settled(&pool, fake.books());
}

/// The same with a lifetime of 10 s, as its default spread has it, and sweeps more often than every
/// half a second, by which they are ahead. In no second are more than twice as many replaced as on
/// average, and no borrower meets a connection that is too old.
#[test]
fn row_48_of_a_hundred_born_at_once_at_most_twice_the_mean_are_replaced_in_any_second() {
    const STEPS: usize = 10;
    let fake = Fake::new();
    let age = AgeEviction::unlimited().max_lifetime(10 * SECOND);
    let (pool, hand) = manual_maintenance(&fake, 110, |b| {
        b.min_size(100).idle_timeout(None).sweep_interval(Some(SECOND / 4)).health(age)
    });
    let mut replaced = Vec::new();
    for _ in 0..60 * STEPS {
        let before = aged(&pool);
        hand.advance(SECOND / STEPS as u32);
        let borrowed: Vec<_> = (0..10).map(|_| pool.try_get().unwrap()).collect();
        assert_eq!(aged(&pool), before, "a borrower met one that was too old");
        drop(borrowed);
        pool.maintain();
        replaced.push(aged(&pool) - before);
    }
    // From the first that is due on.
    let first = replaced.iter().position(|died| *died > 0).unwrap();
    let counted = &replaced[first..];
    let mean = counted.iter().sum::<u64>() as f64 * STEPS as f64 / counted.len() as f64;
    let most = replaced.windows(STEPS).map(|second| second.iter().sum::<u64>()).max().unwrap();
    println!("{mean:.1} a second on average, at most {most}");
    assert!(mean > 10.0 && most as f64 <= 2.0 * mean, "{most} in a second, {mean:.1} on average");
    let stats = pool.stats();
    assert_eq!((stats.waits, stats.direct_checkouts), (0, stats.checkouts));
    assert_settled(&pool, fake.books());
}

/// The same without borrowers: it is for the sweep to replace them, each by the pass that follows
/// its limit.
#[test]
fn row_48_no_idle_connection_outlives_its_limit_by_more_than_one_pass() {
    let fake = Fake::new();
    let (pool, hand) = a_hundred_born_at_once(&fake);
    for _ in 0..1030 {
        hand.advance(SECOND);
        pool.maintain();
        assert_eq!(pool.stats().size, 100);
    }
    assert!(all_idle(&pool).iter().all(|conn| conn.id >= 100), "some are older than they may be");
    assert!(fake.books().most_open.load(SeqCst) > 100, "the new one comes before the old one goes");
    assert_settled(&pool, fake.books());
}

/// The same if it is a borrower who comes across an aged connection: there is room to replace it
/// first.
#[test]
fn row_48_the_minimum_stays_open_while_borrowers_come_across_aged_connections() {
    let fake = Fake::new();
    let (pool, hand) = a_hundred_born_at_once(&fake);
    for second in 0..1000 {
        hand.advance(SECOND);
        drop((pool.get().unwrap(), pool.get().unwrap()));
        let stats = pool.stats();
        assert!(stats.idle + stats.lent >= 100, "after {second} s: {stats}");
        pool.maintain();
    }
}

/// pgx #1437: drawn anew at each return, the least draw wins, and there is no spread.
#[test]
fn row_49_a_lifetime_is_drawn_once_evenly_and_kept_through_every_return() {
    const MANY: usize = 1000;
    let fake = Fake::new();
    let (pool, hand) = manual_maintenance(&fake, MANY, |b| {
        let age = AgeEviction::unlimited().max_lifetime(1000 * SECOND).jitter(0.5);
        let age = age.lead(Duration::ZERO);
        b.initial_size(MANY)
            .idle_timeout(None)
            .connect_concurrency(MANY)
            .maintenance_concurrency(MANY)
            .health(age)
    });
    let jitters = |pool| -> BTreeMap<u64, f64> {
        let held = all_idle(pool);
        held.iter().map(|conn| (conn.id, PooledConnection::info(conn).jitter())).collect()
    };
    let drawn = jitters(&pool);
    assert_eq!(drawn.len(), MANY);
    let mut sorted: Vec<f64> = drawn.values().copied().collect();
    sorted.sort_by(f64::total_cmp);
    // Kolmogorov and Smirnov: of a hundred million even draws, one is further off than this.
    let off = |(n, share): (usize, &f64)| (share - (n as f64 + 0.5) / MANY as f64).abs();
    let furthest = sorted.iter().enumerate().map(off).fold(0.0, f64::max);
    assert!(furthest < 0.1, "not drawn evenly: {furthest}");
    for second in (10..=1010).step_by(10) {
        hand.advance(10 * SECOND);
        pool.sweep();
        let alive = jitters(&pool);
        for (id, jitter) in &drawn {
            let left = 1000.0 - 500.0 * jitter - f64::from(second);
            match alive.get(id) {
                Some(now) => assert!(now == jitter && left > -0.1, "{left} s left for {id}"),
                None => assert!(left < 0.1, "closed {left} s too early: {id}"),
            }
        }
    }
    assert_eq!(pool.stats().size, 0);
    assert_settled(&pool, fake.books());
}

/// pgx #2560: a connection that is never idle lives for ever, as only idle ones are looked at.
#[test]
fn row_50_in_a_pool_that_is_always_busy_nothing_outlives_its_limit_by_more_than_one_loan() {
    let fake = Fake::new();
    let (pool, hand) = manual_maintenance(&fake, 4, |b| {
        let age = AgeEviction::unlimited().max_lifetime(100 * SECOND).jitter(0.0);
        b.min_size(4).checkout_timeout(HOUR).health(age)
    });
    let mut lent: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    let mut line: Vec<_> = (0..4).map(|_| Box::pin(pool.get_async())).collect();
    assert!(line.iter_mut().all(|task| poll_once(task).is_pending()));
    let (mut oldest, mut oldest_lent) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..400 {
        // Four loans of 28 s each, one after the other, and always four more in line.
        hand.advance(7 * SECOND);
        let conn = lent.remove(0);
        oldest = oldest.max(PooledConnection::info(&conn).age());
        drop(conn);
        pool.maintain();
        let Poll::Ready(Ok(conn)) = poll_once(&mut line[0]) else { panic!("{pool:?}") };
        oldest_lent = oldest_lent.max(PooledConnection::info(&conn).age());
        lent.push(conn);
        drop(line.remove(0));
        line.push(Box::pin(pool.get_async()));
        assert!(poll_once(&mut line[3]).is_pending());
    }
    assert!(oldest_lent < 100 * SECOND, "lent at an age of {oldest_lent:?}");
    assert!(oldest <= 128 * SECOND, "{oldest:?}");
    assert!(pool.stats().evictions.by(EvictionCause::MaxLifetime) >= 80);
    drop((lent, line));
    pool.maintain();
    assert_settled(&pool, fake.books());
}

// By idleness

/// bb8 #123, pgx #1164, sqlx #1472: the idle ones that should be kept are closed at each pass and
/// opened again after the next.
#[test]
fn row_51_the_idle_minimum_is_kept_and_nothing_is_closed_for_it_to_be_opened_again() {
    let fake = Fake::new();
    let (pool, hand) = manual_maintenance(&fake, 10, |b| {
        b.min_idle(3).idle_timeout(Some(MINUTE)).sweep_interval(Some(10 * SECOND))
    });
    for second in 0..600 {
        hand.advance(SECOND);
        pool.maintain();
        assert!(pool.stats().idle >= 3, "after {second} s: {}", pool.stats());
    }
    let stats = pool.stats();
    assert_eq!((stats.connects, stats.closes), (3, 0), "{stats}");
    // Two are lent now and then: the minimum stays free beside them.
    for second in 0..600 {
        let held = (second % 20 < 10).then(|| (pool.get().unwrap(), pool.get().unwrap()));
        pool.maintain();
        assert!(pool.stats().idle >= 3, "after {second} s: {}", pool.stats());
        hand.advance(SECOND);
        drop(held);
    }
    assert_settled(&pool, fake.books());
}

/// syncstorage #803: a surge to 300 leaves 300 idle for ever.
#[test]
fn row_52_after_a_spike_the_idle_go_within_their_time_and_one_pass_and_the_busy_stay() {
    let fake = Fake::new();
    let (pool, hand) = manual_maintenance(&fake, 40, |b| {
        b.min_size(5).idle_timeout(Some(MINUTE)).sweep_interval(Some(10 * SECOND))
    });
    let mut spike: Vec<_> = (0..40).map(|_| Box::pin(pool.get_async())).collect();
    let mut held = Vec::new();
    while !spike.is_empty() {
        spike.retain_mut(|task| match poll_once(task) {
            Poll::Ready(conn) => {
                held.push(conn.unwrap());
                false
            }
            Poll::Pending => true,
        });
        pool.maintain();
    }
    assert_eq!(pool.stats().lent, 40);
    drop(held);
    let mut busy = BTreeSet::new();
    for second in 1..=70 {
        hand.advance(SECOND);
        let held = [pool.get().unwrap(), pool.get().unwrap()];
        let used = ids(&held);
        assert!(second == 1 || used == busy, "{used:?} after {second} s, {busy:?} before");
        busy = used;
        drop(held);
        pool.maintain();
        if second <= 60 {
            assert_eq!(pool.stats().size, 40, "closed too early, after {second} s");
        }
    }
    assert_eq!(pool.stats().size, 5);
    assert_eq!(pool.stats().evictions.by(EvictionCause::IdleTimeout), 35);
    assert_eq!(fake.books().opened.load(SeqCst), 40);
    assert_settled(&pool, fake.books());
}

// When time itself is odd

/// HikariCP #354, #559: after a leap of the clock evictions never end.
#[test]
fn row_54_after_an_hour_in_one_leap_everything_is_replaced_once_and_then_all_is_quiet() {
    let fake = Fake::new();
    let (pool, hand) = manual_maintenance(&fake, 22, |b| {
        let sweep = PeriodicSweep::every(30 * SECOND);
        let age = AgeEviction::default().jitter(0.1);
        b.min_size(20).health((age, PingOnBorrow::default(), sweep))
    });
    let serve = || {
        let mut future = Box::pin(pool.get_async());
        let is_served = (0..5).any(|_| {
            let served = poll_once(&mut future).map(|outcome| drop(outcome.unwrap()));
            pool.maintain();
            served.is_ready()
        });
        assert!(is_served, "{}", pool.stats());
    };
    serve();
    hand.advance(HOUR);
    // All are replaced within ten minutes, and live for another twenty at least.
    for second in 0..1200 {
        serve();
        assert!(second < 600 || aged(&pool) == 20, "after {second} s: {}", pool.stats());
        hand.advance(SECOND);
    }
    let stats = pool.stats();
    assert_eq!(stats.evictions.total(), 20, "one wave: {stats}");
    assert_eq!(fake.books().attempts.load(SeqCst), 40, "no storm: {stats}");
    assert!(fake.books().most_open.load(SeqCst) <= 22);
    assert_settled(&pool, fake.books());
}

/// HikariCP #746: the same for a clock that stands still. Nothing ages, and the pool serves.
#[test]
fn row_54_while_time_stands_still_nothing_is_evicted_pinged_or_swept() {
    let fake = Fake::new();
    let age = AgeEviction::unlimited()
        .max_lifetime(SECOND)
        .jitter(0.9)
        .idle_timeout(Duration::from_millis(1));
    let (pool, _hand) = manual_maintenance(&fake, 5, |b| {
        b.initial_size(5).idle_timeout(Some(Duration::ZERO)).health((age, PingOnBorrow::default()))
    });
    for _ in 0..1000 {
        drop((pool.get().unwrap(), pool.try_get().unwrap()));
        pool.maintain();
    }
    assert_eq!(pool.stats().sweeps, 0);
    for _ in 0..100 {
        pool.sweep();
    }
    let stats = pool.stats();
    assert_eq!((stats.evictions.total(), stats.connects, stats.pings), (0, 5, 0), "{stats}");
    assert_settled(&pool, fake.books());
}
