//! Calls into a blocking driver that do not come back: they keep their slots and nobody else, they
//! are counted and named, and what they come to in the end is made use of.

use crate::common::*;
use caliburn::health::{EvictionCause, PeriodicSweep, PingOnBorrow};
use caliburn::{
    BlockingManager, Builder, Clock, Deadline, GetError, Manager, ManagerError, MockClock, PingOn,
    Pool, PooledConnection, error::Phase, stats::Call, stats::SlotInfo, stats::SlotState,
};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// The limit of the call that hangs.
const LIMIT: Duration = Duration::from_secs(10);

/// A server that hangs in one sort of call, when it is told to. What hangs does so until all is let
/// go.
#[derive(Clone, Default)]
struct Stubborn {
    fake: Fake,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    hangs_in: Option<Call>,
    hanging: usize,
    is_let_go: bool,
}

impl Stubborn {
    /// From now on.
    fn hang_in(&self, call: impl Into<Option<Call>>) {
        self.state.0.lock().unwrap().hangs_in = call.into();
    }

    /// How many calls have begun to hang.
    fn hanging(&self) -> usize {
        self.state.0.lock().unwrap().hanging
    }

    fn let_go(&self) {
        self.state.0.lock().unwrap().is_let_go = true;
        self.state.1.notify_all();
    }

    fn pass(&self, call: Call) {
        let mut state = self.state.0.lock().unwrap();
        if state.hangs_in == Some(call) {
            state.hanging += 1;
            drop(self.state.1.wait_while(state, |state| !state.is_let_go).unwrap());
        }
    }
}

impl Manager for Stubborn {
    type Connection = Conn;
    type Error = FakeError;

    fn needs_reset(&self, conn: &mut Conn) -> bool {
        self.fake.needs_reset(conn)
    }
}

impl BlockingManager for Stubborn {
    fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        self.pass(Call::Connect);
        BlockingManager::connect(&self.fake, deadline)
    }

    fn ping(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        self.pass(Call::Ping);
        BlockingManager::ping(&self.fake, conn, deadline)
    }

    fn reset(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        self.pass(Call::Reset);
        BlockingManager::reset(&self.fake, conn, deadline)
    }

    fn close(&self, conn: Conn, _: &Deadline) {
        self.pass(Call::Close);
        drop(conn);
    }
}

/// A pool of four with a background, under a clock that the test turns, in which no more than one
/// call of each sort may run at once.
fn pool(
    server: &Stubborn,
    more: impl FnOnce(Builder<Stubborn>) -> Builder<Stubborn>,
) -> (Pool<Stubborn>, MockClock) {
    let (clock, hand) = Clock::mock();
    let builder = Pool::builder(server.clone())
        .max_size(4)
        .connect_concurrency(1)
        .maintenance_concurrency(1)
        .connect_timeout(LIMIT)
        .ping_timeout(LIMIT)
        .reset_timeout(LIMIT)
        .close_timeout(LIMIT)
        .checkout_timeout(2 * SECOND)
        .idle_timeout(None)
        .clock(clock);
    (more(builder).build().unwrap(), hand)
}

fn open_all(pool: &Pool<Stubborn>) {
    let held = [(); 4].map(|()| pool.get().unwrap());
    drop(held);
    eventually("all are open", || pool.stats().idle == 4);
}

/// A borrower that comes now, and leaves in vain at its limit and not before. It is under way when
/// `has_begun` says so.
fn get_in_vain(
    pool: &Pool<Stubborn>,
    hand: &MockClock,
    has_begun: impl Fn() -> bool,
) -> GetError<FakeError> {
    std::thread::scope(|scope| {
        let borrower = scope.spawn(|| pool.get().map(drop).unwrap_err());
        eventually("it waits", has_begun);
        let limit = pool.settings().checkout_timeout;
        hand.advance(limit - limit / 100);
        pool.maintain();
        assert!(!borrower.is_finished());
        hand.advance(limit / 100);
        let since = Instant::now();
        while !borrower.is_finished() {
            if since.elapsed() > PLENTY {
                // Or this would hang as well.
                pool.manager().let_go();
                panic!("it stays beyond its limit");
            }
            std::thread::yield_now();
        }
        borrower.join().unwrap()
    })
}

/// One `call` has outlived its limit, and it is this that occupies its slot.
#[track_caller]
fn assert_quarantined(pool: &Pool<Stubborn>, call: Call, count: usize) {
    // What else was under way may end a moment after its effect is seen.
    eventually("the gauges agree", || {
        let stats = pool.stats();
        let slots = stats.idle + stats.lent + stats.quarantined + stats.vacant + stats.retired;
        let others = stats.opening + stats.maintenance;
        (stats.quarantined, others, slots) == (count, 0, stats.capacity)
    });
    let is_it = |slot: &SlotInfo| slot.state == SlotState::Quarantined(call);
    assert_eq!(pool.slots().into_iter().filter(is_it).count(), count);
    let overruns = pool.overruns();
    assert_eq!(overruns.len(), count);
    assert!(overruns.iter().all(|overrun| overrun.call == Some(call)), "{overruns:?}");
    assert!(overruns.iter().all(|overrun| overrun.since >= LIMIT), "{overruns:?}");
    let named = format!("a {call} that has not answered for ");
    assert!(overruns[0].to_string().starts_with(&named), "{}", overruns[0]);
}

#[track_caller]
fn assert_recovered(pool: &Pool<Stubborn>, server: &Stubborn) {
    eventually("none is late", || pool.overruns().is_empty());
    let held = [(); 4].map(|()| pool.get().unwrap());
    drop(held);
    // Bad news makes the housekeeper look at the others once more.
    eventually("all are idle", || pool.stats().idle == 4);
    assert_settled(pool, server.fake.books());
    assert_eq!(pool.stats().quarantined, 0);
}

#[test]
fn a_connect_that_does_not_come_back_keeps_one_slot_and_is_made_use_of_in_the_end() {
    let server = Stubborn::default();
    server.hang_in(Call::Connect);
    // In so short a time nobody tries a second one.
    let limit = SECOND / 4;
    let (pool, hand) = pool(&server, |b| b.checkout_timeout(limit));
    let attempts = || server.fake.books().attempts.load(SeqCst);
    let error = get_in_vain(&pool, &hand, || server.hanging() == 1);
    let GetError::TimedOut { phase: Phase::Connect, waited, counts, cause: Some(cause), .. } =
        error
    else {
        panic!("{error}")
    };
    assert_eq!((waited, counts.opening, counts.quarantined), (limit, 1, 0));
    assert!(matches!(*cause, ManagerError::Pending), "{cause}");
    hand.advance(LIMIT - limit - LIMIT / 100);
    assert!(pool.overruns().is_empty(), "not yet");
    hand.advance(LIMIT / 100);
    assert_quarantined(&pool, Call::Connect, 1);
    // One at a time may be opened; this one does not count any more.
    server.hang_in(None);
    let held = [(); 3].map(|()| pool.get_timeout(LIMIT).unwrap());
    assert_quarantined(&pool, Call::Connect, 1);
    assert_eq!((pool.stats().lent, attempts()), (3, 3), "beside the one that hangs");
    let error = get_in_vain(&pool, &hand, || pool.stats().waiting == 1);
    assert!(matches!(error, GetError::TimedOut { phase: Phase::Wait, .. }), "{error}");
    // It comes back, and serves the one who waits for it.
    std::thread::scope(|scope| {
        let borrower = scope.spawn(|| pool.get().map(|conn| conn.id));
        eventually("it waits", || pool.stats().waiting == 1);
        server.let_go();
        assert_eq!(borrower.join().unwrap().unwrap(), 3);
    });
    drop(held);
    assert_recovered(&pool, &server);
    assert_eq!(
        (attempts(), server.fake.books().dropped.load(SeqCst)),
        (4, 0),
        "none is thrown away"
    );
}

#[test]
fn a_minimum_is_opened_beside_connects_that_do_not_come_back() {
    let server = Stubborn::default();
    server.hang_in(Call::Connect);
    let (pool, hand) = pool(&server, |b| b.min_size(2));
    eventually("it hangs", || server.hanging() == 1);
    server.hang_in(None);
    hand.advance(LIMIT);
    eventually("the minimum", || pool.stats().idle == 2);
    assert_quarantined(&pool, Call::Connect, 1);
    server.let_go();
    eventually("and what came late", || pool.stats().idle == 3);
    assert_eq!(server.fake.books().dropped.load(SeqCst), 0);
    assert_recovered(&pool, &server);
}

#[test]
fn a_ping_on_a_worker_that_does_not_come_back_keeps_no_borrower_beyond_its_limit() {
    let server = Stubborn::default();
    let (pool, hand) = pool(&server, |b| b.ping_on(PingOn::Worker).health(PingOnBorrow::default()));
    open_all(&pool);
    hand.advance(SECOND);
    server.hang_in(Call::Ping);
    for hanging in 1..=2 {
        let error = get_in_vain(&pool, &hand, || server.hanging() == hanging);
        let GetError::TimedOut { phase: Phase::Ping, waited, counts, cause: Some(cause), .. } =
            error
        else {
            panic!("{error}")
        };
        assert_eq!((waited, counts.maintenance, counts.idle), (2 * SECOND, hanging, 4 - hanging));
        assert!(matches!(*cause, ManagerError::Pending), "{cause}");
    }
    hand.advance(LIMIT);
    assert_quarantined(&pool, Call::Ping, 2);
    // However many hang, others are pinged.
    server.hang_in(None);
    let held = [(); 2].map(|()| pool.get().unwrap());
    assert_eq!(pool.stats().pings, 4);
    assert_quarantined(&pool, Call::Ping, 2);
    // They answer in the end, but nobody knows what else is the matter with them.
    server.let_go();
    eventually("they are evicted", || pool.stats().evictions.by(EvictionCause::PingFailed) == 2);
    assert_eq!(pool.stats().ping_failures, 2);
    drop(held);
    assert_recovered(&pool, &server);
    assert_eq!(server.fake.books().dropped.load(SeqCst), 2);
}

#[test]
fn a_ping_of_the_sweep_that_does_not_come_back_does_not_hold_the_sweep_up() {
    let server = Stubborn::default();
    let (pool, hand) = pool(&server, |b| b.health(PeriodicSweep::every(60 * SECOND)));
    open_all(&pool);
    server.hang_in(Call::Ping);
    hand.advance(60 * SECOND);
    eventually("one is pinged", || server.hanging() == 1);
    server.hang_in(None);
    pool.maintain();
    eventually("one at a time", || (pool.stats().maintenance, pool.stats().idle) == (1, 3));
    assert_eq!(pool.stats().pings, 1);
    hand.advance(LIMIT);
    eventually("and the others", || pool.stats().pings == 4);
    eventually("they are back", || pool.stats().idle == 3);
    assert_quarantined(&pool, Call::Ping, 1);
    server.let_go();
    eventually("it is evicted", || pool.stats().evictions.by(EvictionCause::PingFailed) == 1);
    assert_recovered(&pool, &server);
}

#[test]
fn resets_that_do_not_come_back_keep_no_other_reset_from_being_made() {
    let server = Stubborn::default();
    let (pool, hand) = pool(&server, |b| b);
    open_all(&pool);
    server.hang_in(Call::Reset);
    let [mut first, mut second, mut third, held] = [(); 4].map(|()| pool.get().unwrap());
    (first.dirty, second.dirty, third.dirty) = (true, true, true);
    drop((first, second));
    eventually("two hang", || server.hanging() == 2);
    server.hang_in(None);
    drop(third);
    eventually("the third is made", || pool.stats().idle == 1);
    let third = pool.get().unwrap();
    let error = get_in_vain(&pool, &hand, || pool.stats().waiting == 1);
    assert!(matches!(error, GetError::TimedOut { phase: Phase::Wait, .. }), "{error}");
    assert_eq!(pool.stats().maintenance, 2);
    hand.advance(LIMIT);
    assert_quarantined(&pool, Call::Reset, 2);
    drop((third, held));
    server.let_go();
    eventually("the others came late", || {
        pool.stats().evictions.by(EvictionCause::ResetFailed) == 2
    });
    assert_recovered(&pool, &server);
}

#[test]
fn a_close_that_does_not_come_back_keeps_no_other_close_from_being_made() {
    let server = Stubborn::default();
    let (pool, hand) = pool(&server, |b| b);
    open_all(&pool);
    server.hang_in(Call::Close);
    PooledConnection::discard(pool.get().unwrap());
    eventually("it hangs", || server.hanging() == 1);
    let held = [(); 3].map(|()| pool.get().unwrap());
    let [first, second, third] = held;
    let error = get_in_vain(&pool, &hand, || pool.stats().waiting == 1);
    let GetError::TimedOut { phase: Phase::Wait, cause: None, counts, .. } = error else {
        panic!("{error}")
    };
    assert_eq!((counts.lent, counts.maintenance), (3, 1));
    server.hang_in(None);
    hand.advance(LIMIT);
    PooledConnection::discard(first);
    PooledConnection::discard(second);
    eventually("two are closed", || pool.stats().closes == 2 && pool.stats().vacant == 2);
    assert_quarantined(&pool, Call::Close, 1);
    let others = [(); 2].map(|()| pool.get().unwrap());
    drop((others, third));
    server.let_go();
    eventually("the third too", || pool.stats().closes == 3);
    assert_recovered(&pool, &server);
}

/// Everything hangs on closes: a limit still is one, and who is to blame is said.
#[test]
fn a_borrower_is_told_when_all_slots_hang_in_the_manager() {
    let server = Stubborn::default();
    let (pool, hand) = pool(&server, |b| b.maintenance_concurrency(4));
    open_all(&pool);
    server.hang_in(Call::Close);
    [(); 4].map(|()| pool.get().unwrap()).into_iter().for_each(PooledConnection::discard);
    eventually("all hang", || server.hanging() == 4);
    hand.advance(LIMIT);
    assert_quarantined(&pool, Call::Close, 4);
    let error = get_in_vain(&pool, &hand, || pool.stats().waiting == 1);
    let GetError::TimedOut { cause: Some(cause), counts, .. } = error else { panic!("{error}") };
    assert!(matches!(*cause, ManagerError::Pending), "{cause}");
    assert_eq!(counts.quarantined, 4);
    let report = pool.close_within(Duration::ZERO);
    assert_eq!((report.unfinished, report.still_lent), (4, 0), "{report}");
    server.let_go();
    assert!(pool.close_within(LIMIT).is_complete());
    assert_eq!(server.fake.books().alive(), 0);
}

/// The driver is trusted to honour its deadline, but not if that lies beyond the borrower's.
#[test]
fn a_borrower_with_less_time_than_a_ping_may_take_leaves_it_to_a_worker() {
    let server = Stubborn::default();
    let (pool, hand) = pool(&server, |b| b.health(PingOnBorrow::default()));
    open_all(&pool);
    hand.advance(SECOND);
    server.hang_in(Call::Ping);
    let error = get_in_vain(&pool, &hand, || server.hanging() == 1);
    assert!(matches!(error, GetError::TimedOut { phase: Phase::Ping, .. }), "{error}");
    server.hang_in(None);
    // With time enough it does it itself.
    drop(pool.get_timeout(LIMIT).unwrap());
    hand.advance(LIMIT);
    assert_quarantined(&pool, Call::Ping, 1);
    server.let_go();
    eventually("it is evicted", || pool.stats().evictions.by(EvictionCause::PingFailed) == 1);
    assert_settled(&pool, server.fake.books());
}

// By the real clock, many at once

const CALLERS: usize = 64;
const SHORT: Duration = Duration::from_millis(150);
/// What a busy machine may add to it for so many threads at once.
const ROOM: Duration = Duration::from_millis(850);

/// Half of them threads, half tasks.
fn get_at_once(pool: &Pool<Fake>) -> Vec<(Duration, GetError<FakeError>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    std::thread::scope(|scope| {
        let threads = (0..CALLERS / 2).map(|_| {
            scope.spawn(|| {
                let begun = Instant::now();
                let error = pool.get().map(drop).unwrap_err();
                (begun.elapsed(), error)
            })
        });
        let threads: Vec<_> = threads.collect();
        let tasks = (0..CALLERS / 2).map(|_| {
            let pool = pool.clone();
            runtime.spawn(async move {
                let begun = Instant::now();
                let error = pool.get_async().await.map(drop).unwrap_err();
                (begun.elapsed(), error)
            })
        });
        let tasks: Vec<_> = tasks.collect();
        let tasks = tasks.into_iter().map(|task| runtime.block_on(task).unwrap());
        let mut ends: Vec<_> = tasks.collect();
        ends.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
        ends
    })
}

#[track_caller]
fn assert_in_time(ends: &[(Duration, GetError<FakeError>)]) {
    let worst = ends.iter().map(|(took, _)| *took).max().unwrap();
    println!("{CALLERS} callers end at {SHORT:?}, the last {:?} later", worst - SHORT);
    assert!(worst < SHORT + ROOM, "{worst:?}");
    for (_, error) in ends {
        let GetError::TimedOut { cause: Some(cause), .. } = error else { panic!("{error}") };
        assert!(matches!(**cause, ManagerError::Pending), "{error}");
    }
}

#[test]
fn all_of_64_callers_leave_in_time_when_the_server_is_mute_in_connects() {
    let fake = Fake::new();
    fake.on_connect(Mode::Hang);
    let pool = Pool::builder(fake.clone()).max_size(8).checkout_timeout(SHORT).build().unwrap();
    let ends = get_at_once(&pool);
    assert_in_time(&ends);
    for (_, error) in &ends {
        assert!(matches!(error, GetError::TimedOut { phase: Phase::Connect, .. }), "{error}");
    }
    fake.on_connect(Mode::Ok);
    fake.open_gate();
    drop(pool.get_timeout(PLENTY).unwrap());
    assert_settled(&pool, fake.books());
}

#[test]
fn all_of_64_callers_leave_in_time_when_the_server_is_mute_in_pings() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone())
        .max_size(8)
        .min_size(8)
        .checkout_timeout(SHORT)
        .ping_on(PingOn::Worker)
        .health(PingOnBorrow::always())
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    use_each(&pool, 8);
    fake.on_ping(Mode::Hang);
    let ends = get_at_once(&pool);
    assert_in_time(&ends);
    let pinging = |(_, error): &&_| matches!(error, GetError::TimedOut { phase: Phase::Ping, .. });
    assert_eq!(ends.iter().filter(pinging).count(), 8, "the others wait for these");
    fake.on_ping(Mode::Ok);
    fake.open_gate();
    drop(pool.get_timeout(PLENTY).unwrap());
    assert_settled(&pool, fake.books());
}

#[test]
fn guards_that_are_out_while_everything_hangs_are_dropped_at_once() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone()).max_size(4).min_size(4);
    let pool = pool.checkout_timeout(SHORT).wait_ready(PLENTY).build().unwrap();
    let held = [(); 4].map(|()| pool.get().unwrap());
    for on in [Fake::on_connect, Fake::on_ping, Fake::on_reset, Fake::on_close] {
        on(&fake, Mode::Hang);
    }
    for (n, mut conn) in held.into_iter().enumerate() {
        (conn.dirty, conn.broken) = (n % 2 == 0, n == 1);
        let begun = Instant::now();
        drop(conn);
        let took = begun.elapsed();
        println!("dropped in {took:?}");
        assert!(took < SHORT, "{took:?}");
    }
    // The fourth had nothing the matter with it.
    drop(pool.get().unwrap());
    fake.open_gate();
    assert_settled(&pool, fake.books());
}
