//! Faults of counting: futures that are polled too often, gauges at the moment of a hand-over, a
//! pool that is closed and says that it is ready, waits that are counted twice.

use crate::common::*;
use caliburn::error::{Counts, Phase};
use caliburn::health::{ConnectionInfo, EvictionCause, HealthStrategy, Occasions, Verdict};
use caliburn::{Clock, GetError, Manager, MockClock, Pool, PooledConnection, Stats};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;
use std::time::Duration;

// A future that is polled again after it was ready.

type Got = Result<PooledConnection<Fake>, GetError<FakeError>>;
type Checkout<'a> = Pin<Box<dyn Future<Output = Got> + Send + 'a>>;

/// What a further poll brings, if it brings anything but a panic.
fn poll_again(future: &mut Checkout<'_>) -> Option<Got> {
    expect_panics();
    match catch_unwind(AssertUnwindSafe(|| poll_once(future))) {
        Ok(Poll::Ready(got)) => Some(got),
        Ok(Poll::Pending) | Err(_) => None,
    }
}

#[test]
fn a_checkout_that_is_polled_again_after_it_was_ready_borrows_no_second_connection() {
    let (pool, _hand) = full_manual(&Fake::new(), 3, |builder| builder);
    // From the second loan on there is nothing to be asked, and a checkout is done in one step.
    drop([(); 3].map(|()| pool.try_get().unwrap()));
    let checkouts: [(&str, Checkout<'_>); 2] = [
        ("get_async", Box::pin(pool.get_async())),
        ("get_timeout_async", Box::pin(pool.get_timeout_async(ENOUGH))),
    ];
    for (name, mut checkout) in checkouts {
        let before = pool.stats().checkouts;
        let Poll::Ready(Ok(first)) = poll_once(&mut checkout) else {
            panic!("{name}: one is idle")
        };
        let second = poll_again(&mut checkout);
        assert!(second.is_none(), "{name}: a second connection beside that of slot {}", first.id);
        drop(first);
        assert!(poll_again(&mut checkout).is_none(), "{name}: nor after the first is back");
        assert_eq!(pool.stats().checkouts, before + 1, "{name}");
        assert_eq!((pool.stats().lent, pool.stats().waiting), (0, 0), "{name}");
    }
}

#[test]
fn a_checkout_that_had_to_wait_or_failed_and_is_polled_again_changes_nothing() {
    let (pool, hand) = full_manual(&Fake::new(), 1, |builder| builder);
    let held = pool.try_get().unwrap();
    let checkout = || -> Checkout<'_> { Box::pin(pool.get_timeout_async(ENOUGH)) };
    let mut served = checkout();
    assert!(poll_once(&mut served).is_pending());
    drop(held);
    let Poll::Ready(Ok(held)) = poll_once(&mut served) else { panic!("it was its turn") };
    assert!(poll_again(&mut served).is_none());

    let mut late = checkout();
    assert!(poll_once(&mut late).is_pending());
    hand.advance(2 * ENOUGH);
    pool.maintain();
    let Poll::Ready(Err(GetError::TimedOut { .. })) = poll_once(&mut late) else {
        panic!("its time was up")
    };
    drop(held);
    assert!(poll_again(&mut late).is_none(), "borrows after it has failed");

    pool.close();
    let mut closed = checkout();
    assert!(matches!(poll_once(&mut closed), Poll::Ready(Err(GetError::Closed))));
    assert!(poll_again(&mut closed).is_none());
    let stats = pool.stats();
    assert_eq!((stats.checkouts, stats.waiting, stats.lent), (2, 0, 0), "{stats}");
}

#[test]
fn futures_of_ready_and_close_that_are_polled_again_do_not_begin_anew() {
    let (pool, _hand) = full_manual(&Fake::new(), 1, |builder| builder);
    expect_panics();
    let mut ready = Box::pin(pool.ready_async(ENOUGH));
    assert!(matches!(poll_once(&mut ready), Poll::Ready(Ok(()))));
    let again = catch_unwind(AssertUnwindSafe(|| poll_once(&mut ready)));
    assert!(!matches!(again, Ok(Poll::Ready(_))));
    let mut close = Box::pin(pool.close_within_async(ENOUGH));
    assert!(poll_once(&mut close).is_ready());
    let again = catch_unwind(AssertUnwindSafe(|| poll_once(&mut close)));
    assert!(!matches!(again, Ok(Poll::Ready(_))));
}

// What is counted while a connection changes hands.

/// What a pool says of itself at one moment.
#[derive(Debug)]
struct Glance {
    stats: Stats,
    holders: usize,
    error: Option<(Phase, Counts)>,
    text: String,
}

impl Glance {
    fn at<M: Manager>(pool: &Pool<M>) -> Self {
        let refused = pool.get_timeout(Duration::ZERO).map(drop);
        let text = refused.as_ref().map_or_else(ToString::to_string, |()| "served".into());
        let error = match refused {
            Err(GetError::TimedOut { phase, counts, .. }) => Some((phase, counts)),
            _ => None,
        };
        Self { stats: pool.stats(), holders: pool.holders().len(), error, text }
    }

    /// All there is, is lent, and everything says so.
    #[track_caller]
    fn assert_all_lent(&self, lent: usize) {
        let Self { stats, holders, error, text } = self;
        assert_eq!((*holders, stats.lent), (lent, lent), "holders, lent; {stats}");
        assert_eq!((stats.opening, stats.size), (0, lent), "opening, size; {stats}");
        let (phase, counts) = error.expect("nothing is left");
        assert_eq!((phase, counts.lent, counts.opening), (Phase::Wait, lent, 0), "{text}");
        assert!(text.contains("all are lent"), "{text}");
    }
}

/// Borrows on whatever thread hands the connection over, and has a look round there and then.
fn borrow_and_look<M: Manager>(pool: &Pool<M>, glances: Sender<(Glance, PooledConnection<M>)>) {
    let pool = pool.clone();
    on_the_spot(async move {
        let got = pool.get_timeout_async(ENOUGH).await;
        let connection = got.unwrap_or_else(|error| panic!("{error}"));
        let _ = glances.send((Glance::at(&pool), connection));
    });
}

fn glances_of_borrowers<M: Manager>(pool: Pool<M>, maintain: fn(&Pool<M>)) {
    let (send, glances) = channel();
    let mut held = Vec::new();
    for lent in 1..=pool.capacity() {
        borrow_and_look(&pool, send.clone());
        maintain(&pool);
        let (glance, connection) = glances.recv_timeout(ENOUGH).expect("it is served");
        held.push(connection);
        if lent == pool.capacity() {
            glance.assert_all_lent(lent);
        } else {
            assert_eq!((glance.holders, glance.stats.lent), (lent, lent), "{}", glance.stats);
        }
    }
}

#[test]
fn a_connection_counts_as_lent_from_the_moment_that_it_is_handed_over_fresh() {
    glances_of_borrowers(Pool::builder(Fake::new()).max_size(1).build().unwrap(), |_| ());
    glances_of_borrowers(
        Pool::builder_async(AsyncFake::default()).max_size(1).build().unwrap(),
        |_| (),
    );
    let (builder, _hand) = manual_maintenance(&Fake::new());
    glances_of_borrowers(builder.max_size(1).build().unwrap(), Pool::maintain);
}

#[test]
fn each_of_several_connections_counts_as_lent_from_the_moment_that_it_is_handed_over() {
    glances_of_borrowers(Pool::builder(Fake::new()).max_size(5).build().unwrap(), |_| ());
}

/// The blocking face: the thread is woken before the connector has gone on.
#[test]
fn a_thread_that_a_fresh_connection_serves_finds_it_counted_as_lent() {
    for _ in 0..20 {
        let pool = Pool::builder(Fake::new()).max_size(64).build().unwrap();
        let mut held = Vec::new();
        for lent in 1..=64 {
            held.push(pool.get_timeout(ENOUGH).unwrap());
            let (stats, holders) = (pool.stats(), pool.holders().len());
            assert_eq!((holders, stats.lent), (lent, lent), "{stats}");
        }
        Glance::at(&pool).assert_all_lent(64);
    }
}

/// The same when it comes back from a borrower, a reset or a ping.
#[test]
fn a_connection_counts_as_lent_from_the_moment_that_it_is_handed_on() {
    type Spoil = fn(&mut PooledConnection<Fake>);
    let ways: [(&str, Spoil); 3] = [
        ("as it was", |_| ()),
        ("after a reset", |connection| connection.dirty = true),
        ("after a ping", PooledConnection::suspect),
    ];
    for (way, spoil) in ways {
        let (pool, _hand) = full_manual(&Fake::new(), 1, |builder| builder);
        let (send, glances) = channel();
        let mut held = pool.try_get().unwrap();
        borrow_and_look(&pool, send);
        spoil(&mut held);
        drop(held);
        pool.maintain();
        let (glance, _connection) = glances.recv_timeout(ENOUGH).expect(way);
        println!("{way}");
        glance.assert_all_lent(1);
    }
}

/// Looks round when it is asked.
#[derive(Clone, Default)]
struct LooksRound(Arc<OnceLock<Pool<Fake>>>, Arc<Mutex<Vec<(&'static str, Glance)>>>);

impl LooksRound {
    fn look(&self, when: &'static str) -> Verdict {
        if let Some(pool) = self.0.get() {
            self.1.lock().unwrap().push((when, Glance::at(pool)));
        }
        Verdict::Keep
    }
}

impl HealthStrategy for LooksRound {
    fn on_return(&self, _: &ConnectionInfo) -> Verdict {
        self.look("on_return")
    }

    fn on_sweep(&self, _: &ConnectionInfo) -> Verdict {
        self.look("on_sweep")
    }

    fn occasions(&self) -> Occasions {
        Occasions::RETURN | Occasions::SWEEP
    }
}

/// Nobody has it then: it must not pass for lent to somebody whom `holders` does not name.
#[test]
fn counts_and_holders_agree_while_a_connection_is_judged() {
    let strategy = LooksRound::default();
    let (pool, _hand) = full_manual(&Fake::new(), 1, |builder| builder.health(strategy.clone()));
    assert!(strategy.0.set(pool.clone()).is_ok());
    drop(pool.try_get().unwrap());
    pool.try_get().unwrap().dirty = true;
    pool.maintain();
    pool.sweep();
    let glances = std::mem::take(&mut *strategy.1.lock().unwrap());
    let seen: Vec<_> = glances.iter().map(|(when, _)| *when).collect();
    assert_eq!(seen, ["on_return", "on_return", "on_sweep"]);
    for (when, Glance { stats, holders, error, text }) in glances {
        assert_eq!(stats.lent, holders, "{when}: lent, holders; {stats}");
        let counts = error.expect("it is not to be had").1;
        assert_eq!(counts.lent, holders, "{when}: {text}");
        assert!(!text.contains("all are lent"), "{when}: {text}");
    }
}

// A closed pool is not ready.

#[test]
fn a_closed_pool_is_not_ready_and_says_that_it_is_closed() {
    for (min_size, by_hand) in [(0, false), (2, false), (0, true), (2, true)] {
        let is_of = format!("min_size {min_size}, by hand: {by_hand}");
        let builder = Pool::builder(Fake::new()).max_size(2).min_size(min_size);
        let builder = if by_hand { builder.manual_maintenance() } else { builder };
        let pool = builder.wait_ready(ENOUGH).build().unwrap();
        assert!(pool.ready(ENOUGH).is_ok(), "{is_of}");
        let guard = (min_size > 0).then(|| pool.try_get().unwrap());
        pool.close();
        let ready = [
            ("ready", pool.ready(ENOUGH)),
            ("ready at once", pool.ready(Duration::ZERO)),
            ("ready_async", drive(ENOUGH, pool.ready_async(ENOUGH)).expect("it ends")),
        ];
        for (name, ready) in ready {
            let error = ready.expect_err(&format!("{name} of a closed pool, {is_of}"));
            assert!(error.to_string().contains("closed"), "{name}, {is_of}: {error}");
        }
        drop(guard);
        assert!(pool.close_within(ENOUGH).is_complete());
        assert!(pool.ready(ENOUGH).is_err(), "{is_of}: all gone");
    }
}

#[test]
fn who_waits_for_a_pool_to_be_ready_hears_of_its_closing() {
    let fake = Fake::new();
    fake.on_connect(Mode::Hang);
    let pool = Pool::builder(fake.clone()).max_size(1).min_size(1).build().unwrap();
    let mut ready = Box::pin(pool.ready_async(PLENTY));
    assert!(poll_once(&mut ready).is_pending());
    pool.close();
    let error = drive(ENOUGH, ready).expect("it hears of it").unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
    fake.open_gate();
}

// Waits are counted once for each borrower.

/// Refuses so many connections, each when it is about to be lent.
struct Refuses(AtomicUsize);

impl HealthStrategy for Refuses {
    fn on_borrow(&self, _: &ConnectionInfo) -> Verdict {
        let is_left = self.0.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        if is_left { Verdict::Evict(EvictionCause::Strategy) } else { Verdict::Keep }
    }
}

const TICK: Duration = Duration::from_millis(10);

/// Turns the clock and the pool until the borrower is served, which is found in so many rounds.
fn rounds_until_served(pool: &Pool<Fake>, hand: &MockClock, each: impl Fn(usize)) -> usize {
    let mut get = Box::pin(pool.get_timeout_async(PLENTY));
    for round in 0..1_000 {
        each(round);
        match poll_once(&mut get) {
            Poll::Ready(got) => {
                drop(got.unwrap());
                return round;
            }
            Poll::Pending => hand.advance(TICK),
        }
        pool.maintain();
    }
    panic!("never served: {}", pool.stats());
}

/// One borrower has waited, from the beginning to the end.
#[track_caller]
fn assert_one_wait(pool: &Pool<Fake>, rounds: usize) {
    let stats = pool.stats();
    assert!(rounds >= 3, "several connections were no good: {rounds}");
    assert_eq!((stats.waits, stats.wait_time.count()), (1, 1), "waits, times of waits: {stats}");
    let waited = stats.wait_time.max();
    assert!(waited >= TICK * (rounds as u32 - 2), "{waited:?} of {rounds} rounds");
}

#[test]
fn a_borrower_that_meets_several_dead_connections_has_waited_once() {
    let fake = Fake::new();
    let (pool, hand) = full_manual(&fake, 3, |builder| builder);
    let held = Mutex::new([(); 3].map(|()| pool.try_get().unwrap()).map(Some));
    // The server restarts. One after the other comes back, is handed over and found dead; then
    // there are fresh ones.
    fake.kill_all();
    fake.on_connect(Mode::Fail);
    let rounds = rounds_until_served(&pool, &hand, |round| {
        match round.checked_sub(1).and_then(|n| held.lock().unwrap().get_mut(n)?.take()) {
            Some(mut dead) => PooledConnection::suspect(&mut dead),
            None if round > 3 => fake.on_connect(Mode::Ok),
            None => {}
        }
    });
    assert_eq!(pool.stats().ping_failures, 3, "three were found dead");
    assert_one_wait(&pool, rounds);
}

#[test]
fn a_borrower_whose_connections_are_evicted_one_after_the_other_has_waited_once() {
    let (builder, hand) = manual_maintenance(&Fake::new());
    let builder = builder.max_size(4).health(Refuses(AtomicUsize::new(3)));
    let pool = builder.build().unwrap();
    let rounds = rounds_until_served(&pool, &hand, |_| ());
    assert_one_wait(&pool, rounds);
}

/// A thread's, which is counted where it parks.
#[test]
fn a_thread_whose_connections_are_evicted_one_after_the_other_has_waited_once() {
    let pool = Pool::builder(Fake::new()).max_size(4).health(Refuses(AtomicUsize::new(3)));
    let pool = pool.build().unwrap();
    drop(pool.get_timeout(ENOUGH).unwrap());
    let stats = pool.stats();
    assert_eq!(stats.evictions.by(EvictionCause::Strategy), 3);
    assert_eq!((stats.waits, stats.wait_time.count()), (1, 1), "waits, times of waits: {stats}");
}

/// However a borrower ends, it has waited once; that it got nothing is another figure.
#[test]
fn borrowers_that_get_nothing_have_waited_once_each_and_are_told_apart() {
    let (clock, hand) = Clock::mock();
    let pool = Pool::builder(Fake::new()).max_size(1).min_size(1).manual_maintenance();
    let pool = pool.clock(clock).wait_ready(ENOUGH).build().unwrap();
    let held = pool.try_get().unwrap();
    let mut gets: Vec<_> = (0..4).map(|_| Box::pin(pool.get_timeout_async(TICK))).collect();
    gets.iter_mut().for_each(|get| assert!(poll_once(get).is_pending()));
    // One is cancelled, two run out of time, and the last is served in time.
    let mut served = Box::pin(pool.get_timeout_async(PLENTY));
    assert!(poll_once(&mut served).is_pending());
    drop(gets.pop());
    hand.advance(2 * TICK);
    pool.maintain();
    for mut get in gets {
        assert!(matches!(poll_once(&mut get), Poll::Ready(Err(GetError::TimedOut { .. }))));
    }
    drop(held);
    assert!(matches!(poll_once(&mut served), Poll::Ready(Ok(_))));
    drop(served);
    let stats = pool.stats();
    assert_eq!((stats.waits, stats.timeouts), (5, 3), "{stats}");
    assert_eq!(stats.wait_time.count(), 5, "{stats}");
}
