//! Managers written for r2d2 and bb8, taken as they are.
#![cfg(all(feature = "r2d2", feature = "bb8"))]

mod common;

use caliburn::adapters::bridges::{Bb8Manager, R2d2Manager};
use caliburn::health::PingOnBorrow;
use caliburn::{
    AsyncManager, BlockingManager, Deadline, ErrorClass, EvictionCause, GetError, Manager,
    ManagerError, PingOn, Pool, PooledConnection, error::Phase,
};
use common::{AsyncFake, Conn, Fake, FakeError, Mode, PLENTY, assert_settled, eventually};
use std::error::Error;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// Short beside [`PLENTY`], long beside anything that does not hang.
const SHORT: Duration = Duration::from_millis(100);

// ------------------------------------------------------------------------------- managers for the
// old pools

/// An error of a driver, with the server's beneath it.
#[derive(Debug)]
struct DriverError(FakeError);

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the driver failed")
    }
}

impl Error for DriverError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// A manager for either of the old pools. It has a password, and somebody who watches it go.
#[derive(Debug)]
struct Old {
    fake: Fake,
    password: &'static str,
    alive: Arc<()>,
}

impl Old {
    fn new(fake: &Fake) -> Self {
        Self { fake: fake.clone(), password: "sesame", alive: Arc::new(()) }
    }
}

fn unlimited() -> Deadline {
    Deadline::after(PLENTY)
}

impl r2d2::ManageConnection for Old {
    type Connection = Conn;
    type Error = DriverError;

    fn connect(&self) -> Result<Conn, DriverError> {
        assert_eq!(self.password, "sesame");
        BlockingManager::connect(&self.fake, &unlimited()).map_err(DriverError)
    }

    fn is_valid(&self, conn: &mut Conn) -> Result<(), DriverError> {
        BlockingManager::ping(&self.fake, conn, &unlimited()).map_err(DriverError)
    }

    fn has_broken(&self, conn: &mut Conn) -> bool {
        Manager::has_broken(&self.fake, conn)
    }
}

impl bb8::ManageConnection for Old {
    type Connection = Conn;
    type Error = DriverError;

    async fn connect(&self) -> Result<Conn, DriverError> {
        AsyncFake(self.fake.clone()).connect(&unlimited()).await.map_err(DriverError)
    }

    async fn is_valid(&self, conn: &mut Conn) -> Result<(), DriverError> {
        AsyncFake(self.fake.clone()).ping(conn, &unlimited()).await.map_err(DriverError)
    }

    fn has_broken(&self, conn: &mut Conn) -> bool {
        Manager::has_broken(&self.fake, conn)
    }
}

fn classify(error: &DriverError) -> ErrorClass {
    match error {
        DriverError(FakeError::WrongPassword) => ErrorClass::Permanent,
        DriverError(FakeError::Refused) => ErrorClass::Transient,
    }
}

fn over_r2d2(fake: &Fake) -> R2d2Manager<Old> {
    R2d2Manager::new(Old::new(fake))
}

fn over_bb8(fake: &Fake) -> Bb8Manager<Old> {
    Bb8Manager::new(Old::new(fake))
}

/// Rolls back what is dirty.
fn resetting_r2d2(fake: &Fake) -> R2d2Manager<Old> {
    let server = fake.clone();
    over_r2d2(fake).reset_with(
        |conn| conn.dirty,
        move |conn, deadline| server.reset_blocking(conn, deadline).map_err(DriverError),
    )
}

/// The same, as a future.
fn resetting_bb8(fake: &Fake) -> Bb8Manager<Old> {
    let server = AsyncFake(fake.clone());
    over_bb8(fake).reset_with(
        |conn| conn.dirty,
        move |conn| {
            let server = server.clone();
            Box::pin(async move { server.reset(conn, &unlimited()).await.map_err(DriverError) })
        },
    )
}

trait ResetBlocking {
    fn reset_blocking(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError>;
}

impl ResetBlocking for Fake {
    fn reset_blocking(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        assert!(!deadline.is_past() && deadline.remaining() < PLENTY, "not the pool's deadline");
        BlockingManager::reset(self, conn, deadline)
    }
}

// ----------------------------------------------------------------------------------- the same for
// both kinds

/// The error of the server is at the end of the chain, below that of the driver.
#[track_caller]
fn assert_chain(error: &GetError<DriverError>, root: &FakeError) {
    let mut chain: Vec<&(dyn Error + 'static)> = vec![error];
    while let Some(source) = chain[chain.len() - 1].source() {
        chain.push(source);
    }
    let [_, _, driver, server] = chain[..] else { panic!("{chain:?}") };
    assert!(driver.is::<DriverError>(), "{driver:?}");
    assert_eq!(server.downcast_ref::<FakeError>(), Some(root));
    assert!(error.to_string().contains("the driver failed"), "{error}");
}

/// Borrows in vain until the error is the one that is looked for: on a busy machine the driver may
/// not have been called in time.
#[track_caller]
fn in_vain<M: Manager>(
    pool: &Pool<M>,
    is_it: impl Fn(&GetError<M::Error>) -> bool,
) -> GetError<M::Error> {
    let mut last = None;
    eventually("the error that is looked for", || {
        let error = pool.get_timeout(SHORT).err().expect("no connection");
        let is_it = is_it(&error);
        last = Some(error);
        is_it
    });
    last.unwrap()
}

fn evicted<M: Manager>(pool: &Pool<M>, cause: EvictionCause) -> u64 {
    pool.stats().evictions.by(cause)
}

/// Threads and tasks count up numbers on the connections; none is lost, and none is counted twice.
fn serve_threads_and_tasks<M: Manager<Connection = Conn>>(pool: Pool<M>, fake: &Fake)
where
    M::Error: fmt::Debug,
{
    let rounds = 200;
    let count_up = |conn: &mut PooledConnection<M>| {
        let value = conn.value;
        thread::yield_now();
        conn.value = value + 1;
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..rounds).for_each(|_| count_up(&mut pool.get().unwrap())));
        }
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                for _ in 0..rounds {
                    count_up(&mut pool.get_async().await.unwrap());
                }
            });
        });
    });
    let first = pool.get().unwrap();
    let others: Vec<_> = std::iter::from_fn(|| pool.try_get().ok()).collect();
    let sum = first.value + others.iter().map(|conn| conn.value).sum::<u64>();
    assert_eq!(sum, 4 * rounds);
    assert!(fake.books().most_open.load(SeqCst) <= 2);
    drop((first, others));
    assert_settled(&pool, fake.books());
}

/// A restarted server's connections are found dead by `is_valid`, and replaced before they are
/// lent.
fn never_lend_what_is_not_valid<M: Manager<Connection = Conn, Error = DriverError>>(
    pool: Pool<M>,
    fake: &Fake,
) {
    let before = pool.get().unwrap().id;
    assert_eq!(pool.get().unwrap().id, before);
    fake.kill_all();
    assert!(pool.get().unwrap().id > before);
    assert_eq!(evicted(&pool, EvictionCause::PingFailed), 1);
    assert_settled(&pool, fake.books());
}

fn replace_what_has_broken<M: Manager<Connection = Conn, Error = DriverError>>(
    pool: Pool<M>,
    fake: &Fake,
) {
    let mut conn = pool.get().unwrap();
    let before = conn.id;
    conn.broken = true;
    drop(conn);
    assert_ne!(pool.get().unwrap().id, before);
    assert_eq!(evicted(&pool, EvictionCause::Broken), 1);
    assert_settled(&pool, fake.books());
}

/// What a borrower left open is rolled back before anybody else sees it; what is clean costs
/// nothing; what is broken, or cannot be rolled back, is replaced.
fn roll_back_what_is_dirty<M: Manager<Connection = Conn, Error = DriverError>>(
    pool: Pool<M>,
    fake: &Fake,
) {
    let resets = || fake.books().resets.load(SeqCst);
    let id = pool.get().unwrap().id;
    assert_eq!(resets(), 0);
    pool.get().unwrap().dirty = true;
    let conn = pool.get().unwrap();
    assert!((conn.id, conn.dirty) == (id, false) && resets() == 1);
    drop(conn);

    let mut conn = pool.get().unwrap();
    (conn.dirty, conn.broken) = (true, true);
    drop(conn);
    let conn = pool.get().unwrap();
    assert!(conn.id != id && resets() == 1, "what is broken was reset");
    let id = conn.id;
    drop(conn);

    fake.on_reset(Mode::Fail);
    pool.get().unwrap().dirty = true;
    assert_ne!(pool.get().unwrap().id, id);
    assert_eq!(evicted(&pool, EvictionCause::ResetFailed), 1);
    assert_settled(&pool, fake.books());
}

/// With nothing said about errors they all may pass: borrowers wait, and learn why in vain.
fn wait_in_vain<M: Manager<Connection = Conn, Error = DriverError>>(pool: Pool<M>, fake: &Fake) {
    fake.on_connect(Mode::FailForGood);
    let error =
        in_vain(&pool, |error| error.source().is_some_and(|cause| cause.source().is_some()));
    assert!(matches!(error, GetError::TimedOut { phase: Phase::Connect, .. }), "{error}");
    assert_chain(&error, &FakeError::WrongPassword);
}

/// Told which errors will not pass, the pool does not wait for it.
fn fail_at_once<M: Manager<Connection = Conn, Error = DriverError>>(pool: Pool<M>, fake: &Fake) {
    fake.on_connect(Mode::FailForGood);
    let begun = Instant::now();
    let error = pool.get_timeout(PLENTY).unwrap_err();
    assert!(begun.elapsed() < PLENTY / 2, "waited for what will not pass");
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
    assert_chain(&error, &FakeError::WrongPassword);
    fake.on_connect(Mode::Ok);
    eventually("the next attempt finds it mended", || pool.get().is_ok());
    fake.on_connect(Mode::Fail);
    let _held = pool.get().unwrap();
    let error = pool.get_timeout(SHORT).unwrap_err();
    assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
}

/// Each method panics in turn. That costs a connection, or an attempt at one, but no slot and no
/// borrower.
fn survive_panics<M: Manager<Connection = Conn, Error = DriverError>>(pool: Pool<M>, fake: &Fake) {
    fake.on_connect(Mode::Panic);
    in_vain(&pool, |error| {
        let GetError::TimedOut { cause: Some(cause), .. } = error else { panic!("{error}") };
        matches!(&**cause, ManagerError::Panicked(said) if said == "the fake panics")
    });
    fake.on_connect(Mode::Ok);

    drop(pool.get().unwrap());
    fake.on_ping(Mode::Panic);
    in_vain(&pool, |_| evicted(&pool, EvictionCause::PingFailed) > 0);
    fake.on_ping(Mode::Ok);

    let conn = pool.get().unwrap();
    fake.has_broken_panics(true);
    drop(conn);
    fake.has_broken_panics(false);
    assert_eq!(evicted(&pool, EvictionCause::Panicked), 1);

    let mut conn = pool.get().unwrap();
    conn.dirty = true;
    fake.on_reset(Mode::Panic);
    drop(conn);
    eventually("the reset fails", || evicted(&pool, EvictionCause::ResetFailed) == 1);
    drop(pool.get().unwrap());
    assert_settled(&pool, fake.books());
}

/// The manager goes when the pool and its last guard have gone, and the connections with it.
fn let_the_manager_go<M: Manager<Connection = Conn, Error = DriverError>>(
    pool: Pool<M>,
    fake: &Fake,
    alive: &Arc<()>,
) {
    let conn = pool.get().unwrap();
    drop(pool.get().unwrap());
    drop(pool);
    assert_eq!(Arc::strong_count(alive), 2);
    drop(conn);
    eventually("the manager is gone", || Arc::strong_count(alive) == 1);
    assert_eq!(fake.books().alive(), 0);
}

// ---------------------------------------------------------------------------------------------------
// r2d2

#[test]
fn an_r2d2_manager_serves_threads_and_tasks() {
    let fake = Fake::new();
    let pool = Pool::builder(over_r2d2(&fake)).max_size(2).build().unwrap();
    serve_threads_and_tasks(pool, &fake);
}

#[test]
fn is_valid_of_an_r2d2_manager_is_the_ping() {
    let fake = Fake::new();
    let builder = Pool::builder(over_r2d2(&fake)).max_size(1);
    never_lend_what_is_not_valid(builder.health(PingOnBorrow::always()).build().unwrap(), &fake);
}

#[test]
fn a_connection_that_r2d2_would_call_broken_is_replaced() {
    let fake = Fake::new();
    replace_what_has_broken(Pool::builder(over_r2d2(&fake)).max_size(1).build().unwrap(), &fake);
}

#[test]
fn an_r2d2_manager_told_how_to_reset_lends_no_open_transaction() {
    let fake = Fake::new();
    let manager = resetting_r2d2(&fake);
    roll_back_what_is_dirty(Pool::builder(manager).max_size(1).build().unwrap(), &fake);
}

#[test]
fn an_r2d2_manager_told_nothing_of_resets_lends_connections_as_they_come() {
    let fake = Fake::new();
    let pool = Pool::builder(over_r2d2(&fake)).max_size(1).build().unwrap();
    pool.get().unwrap().dirty = true;
    assert!(pool.get().unwrap().dirty);
    assert_eq!(pool.stats().resets, 0);
}

#[test]
fn all_errors_of_an_r2d2_manager_may_pass_and_keep_their_sources() {
    let fake = Fake::new();
    wait_in_vain(Pool::builder(over_r2d2(&fake)).build().unwrap(), &fake);
}

#[test]
fn errors_of_an_r2d2_manager_that_are_said_to_be_permanent_are_told_at_once() {
    let fake = Fake::new();
    let manager = over_r2d2(&fake).classify_with(classify);
    fail_at_once(Pool::builder(manager).max_size(1).build().unwrap(), &fake);
}

#[test]
fn panics_of_an_r2d2_manager_cost_no_slot() {
    let fake = Fake::new();
    let builder = Pool::builder(resetting_r2d2(&fake)).max_size(2);
    survive_panics(builder.health(PingOnBorrow::always()).build().unwrap(), &fake);
}

#[test]
fn an_r2d2_manager_goes_with_its_pool() {
    let fake = Fake::new();
    let manager = over_r2d2(&fake);
    let alive = Arc::clone(&manager.manager().alive);
    let_the_manager_go(Pool::builder(manager).max_size(2).build().unwrap(), &fake, &alive);
}

#[test]
fn a_slow_connect_of_an_r2d2_manager_is_quarantined_and_keeps_nobody() {
    let fake = Fake::new();
    let builder = Pool::builder(over_r2d2(&fake)).max_size(1);
    let pool = builder.connect_timeout(SHORT / 4).build().unwrap();
    fake.on_connect(Mode::Hang);
    let begun = Instant::now();
    in_vain(&pool, |error| {
        assert!(begun.elapsed() < PLENTY / 2, "kept by the driver");
        let GetError::TimedOut { cause, .. } = error else { panic!("{error}") };
        assert!(matches!(cause.as_deref(), Some(ManagerError::Pending)), "{error}");
        pool.stats().quarantined == 1
    });
    assert_eq!(pool.overruns().len(), 1);

    fake.on_connect(Mode::Ok);
    fake.open_gate();
    drop(pool.get().unwrap());
    assert!(pool.overruns().is_empty());
    assert_settled(&pool, fake.books());
}

#[test]
fn is_valid_of_an_r2d2_manager_that_hangs_keeps_no_borrower_if_workers_ping() {
    let fake = Fake::new();
    let pool = Pool::builder(over_r2d2(&fake))
        .max_size(1)
        .ping_timeout(SHORT / 4)
        .ping_on(PingOn::Worker)
        .health(PingOnBorrow::always())
        .build()
        .unwrap();
    drop(pool.get().unwrap());
    fake.on_ping(Mode::Hang);
    let begun = Instant::now();
    in_vain(&pool, |error| {
        assert!(begun.elapsed() < PLENTY / 2, "kept by the driver");
        assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
        pool.stats().quarantined == 1
    });
    fake.on_ping(Mode::Ok);
    fake.open_gate();
    drop(pool.get().unwrap());
    assert_eq!(evicted(&pool, EvictionCause::PingFailed), 1, "a late answer is none");
    assert_settled(&pool, fake.books());
}

/// Keeps books of its own, and does as it is told.
#[derive(Clone, Debug, Default)]
struct Customizer(Arc<Customs>);

#[derive(Debug, Default)]
struct Customs {
    acquired: AtomicUsize,
    released: AtomicUsize,
    refuses: AtomicBool,
    panics: AtomicBool,
}

impl Customizer {
    fn acquire(&self, conn: &mut Conn) -> Result<(), DriverError> {
        assert!(!self.0.panics.load(SeqCst), "a customizer panics");
        if self.0.refuses.load(SeqCst) {
            return Err(DriverError(FakeError::Refused));
        }
        self.0.acquired.fetch_add(1, SeqCst);
        conn.value = 42;
        Ok(())
    }
}

impl r2d2::CustomizeConnection<Conn, DriverError> for Customizer {
    fn on_acquire(&self, conn: &mut Conn) -> Result<(), DriverError> {
        self.acquire(conn)
    }

    fn on_release(&self, conn: Conn) {
        assert_eq!(conn.value, 42);
        self.0.released.fetch_add(1, SeqCst);
        assert!(!self.0.panics.load(SeqCst), "a customizer panics");
    }
}

impl bb8::CustomizeConnection<Conn, DriverError> for Customizer {
    fn on_acquire<'a>(
        &'a self,
        conn: &'a mut Conn,
    ) -> Pin<Box<dyn Future<Output = Result<(), DriverError>> + Send + 'a>> {
        Box::pin(async move {
            common::yield_once().await;
            self.acquire(conn)
        })
    }
}

/// `on_acquire` comes before the first loan, and may refuse or panic.
fn customize_each_connection<M: Manager<Connection = Conn, Error = DriverError>>(
    pool: &Pool<M>,
    customs: &Customs,
    fake: &Fake,
) {
    for _ in 0..3 {
        assert_eq!(pool.get().unwrap().value, 42);
    }
    assert_eq!(customs.acquired.load(SeqCst), 1);
    let held = pool.get().unwrap();
    for fault in [&customs.refuses, &customs.panics] {
        let before = pool.stats().connect_failures;
        fault.store(true, SeqCst);
        in_vain(pool, |_| pool.stats().connect_failures > before);
        fault.store(false, SeqCst);
    }
    assert_eq!(pool.get().unwrap().value, 42);
    assert_eq!(customs.acquired.load(SeqCst), 2);
    drop(held);
    assert_settled(pool, fake.books());
}

#[test]
fn a_customizer_for_r2d2_sees_each_connection_come_and_each_sound_one_go() {
    let (fake, customizer) = (Fake::new(), Customizer::default());
    let customs = Arc::clone(&customizer.0);
    let manager = over_r2d2(&fake).customize(Box::new(customizer));
    let pool = Pool::builder(manager).max_size(2).build().unwrap();
    customize_each_connection(&pool, &customs, &fake);

    let released = || customs.released.load(SeqCst);
    let mut broken = pool.get().unwrap();
    broken.broken = true;
    drop(broken);
    eventually("the broken one is gone", || pool.stats().closes == 1);
    assert_eq!(released(), 0, "a goodbye to one that is broken");
    drop(PooledConnection::detach(pool.get().unwrap()));
    assert_eq!(released(), 0, "a detached one is no longer the pool's");

    let discarded = pool.get().unwrap();
    customs.panics.store(true, SeqCst);
    PooledConnection::discard(discarded);
    eventually("the discarded one is released", || released() == 1);
    customs.panics.store(false, SeqCst);
    drop(pool.get().unwrap());
    assert_settled(&pool, fake.books());
    assert!(pool.close_within(PLENTY).is_complete());
    assert_eq!(released(), 2);
    assert_eq!(fake.books().alive(), 0);
}

#[test]
fn neither_bridge_shows_the_manager_it_is_made_of() {
    let fake = Fake::new();
    for text in [format!("{:?}", resetting_r2d2(&fake)), format!("{:#?}", resetting_bb8(&fake))] {
        assert!(!text.contains("sesame") && text.contains("resets: true"), "{text}");
    }
    let pool = Pool::builder(over_r2d2(&fake)).build().unwrap();
    assert!(!format!("{pool:?}").contains("sesame"));
}

#[test]
fn a_manager_is_made_into_a_bridge_and_taken_out_of_it_again() {
    let fake = Fake::new();
    let over_r2d2: R2d2Manager<Old> = Old::new(&fake).into();
    assert_eq!(over_r2d2.manager().password, "sesame");
    let over_bb8 = Bb8Manager::from(over_r2d2.into_manager());
    assert_eq!(over_bb8.manager().password, "sesame");
    assert_eq!(Arc::strong_count(&over_bb8.into_manager().alive), 1);
}

// ----------------------------------------------------------------------------------------------------
// bb8

#[test]
fn a_bb8_manager_serves_threads_and_tasks() {
    let fake = Fake::new();
    let pool = Pool::builder_async(over_bb8(&fake)).max_size(2).build().unwrap();
    serve_threads_and_tasks(pool, &fake);
}

#[test]
fn is_valid_of_a_bb8_manager_is_the_ping() {
    let fake = Fake::new();
    let builder = Pool::builder_async(over_bb8(&fake)).max_size(1);
    never_lend_what_is_not_valid(builder.health(PingOnBorrow::always()).build().unwrap(), &fake);
}

#[test]
fn a_connection_that_bb8_would_call_broken_is_replaced() {
    let fake = Fake::new();
    let pool = Pool::builder_async(over_bb8(&fake)).max_size(1).build().unwrap();
    replace_what_has_broken(pool, &fake);
}

#[test]
fn a_bb8_manager_told_how_to_reset_lends_no_open_transaction() {
    let fake = Fake::new();
    let manager = resetting_bb8(&fake);
    roll_back_what_is_dirty(Pool::builder_async(manager).max_size(1).build().unwrap(), &fake);
}

#[test]
fn all_errors_of_a_bb8_manager_may_pass_and_keep_their_sources() {
    let fake = Fake::new();
    wait_in_vain(Pool::builder_async(over_bb8(&fake)).build().unwrap(), &fake);
}

#[test]
fn errors_of_a_bb8_manager_that_are_said_to_be_permanent_are_told_at_once() {
    let fake = Fake::new();
    let manager = over_bb8(&fake).classify_with(classify);
    fail_at_once(Pool::builder_async(manager).max_size(1).build().unwrap(), &fake);
}

#[test]
fn panics_of_a_bb8_manager_cost_no_slot() {
    let fake = Fake::new();
    let builder = Pool::builder_async(resetting_bb8(&fake)).max_size(2);
    survive_panics(builder.health(PingOnBorrow::always()).build().unwrap(), &fake);
}

#[test]
fn a_bb8_manager_goes_with_its_pool() {
    let fake = Fake::new();
    let manager = over_bb8(&fake);
    let alive = Arc::clone(&manager.manager().alive);
    let_the_manager_go(Pool::builder_async(manager).max_size(2).build().unwrap(), &fake, &alive);
}

#[test]
fn a_customizer_for_bb8_sees_each_connection_before_it_is_lent() {
    let (fake, customizer) = (Fake::new(), Customizer::default());
    let customs = Arc::clone(&customizer.0);
    let manager = over_bb8(&fake).customize(Box::new(customizer));
    let pool = Pool::builder_async(manager).max_size(2).build().unwrap();
    customize_each_connection(&pool, &customs, &fake);
}

#[test]
fn a_connect_of_a_bb8_manager_that_hangs_is_dropped_at_its_limit() {
    let fake = Fake::new();
    let builder = Pool::builder_async(over_bb8(&fake)).max_size(1);
    let pool = builder.connect_timeout(SHORT / 4).build().unwrap();
    fake.on_connect(Mode::Hang);
    in_vain(&pool, |error| {
        let GetError::TimedOut { cause, .. } = error else { panic!("{error}") };
        matches!(cause.as_deref(), Some(ManagerError::TimedOut))
    });
    eventually("its slot is free again", || pool.overruns().is_empty());
    fake.on_connect(Mode::Ok);
    drop(pool.get().unwrap());
    assert_settled(&pool, fake.books());
}

/// Borrows on a task that is gone in the middle of `is_valid`, then borrows again: which
/// connection?
fn cancel_midway(manager: Bb8Manager<Old>, fake: &Fake) -> (Pool<Bb8Manager<Old>>, bool) {
    let builder = Pool::builder_async(manager).max_size(1);
    let pool = builder.health(PingOnBorrow::always()).build().unwrap();
    let before = pool.get().unwrap().id;
    fake.on_ping(Mode::Hang);
    {
        let mut borrowing = pin!(pool.get_async());
        while fake.books().pings.load(SeqCst) < 1 {
            assert!(common::poll_once(&mut borrowing.as_mut()).is_pending());
        }
        // Into the driver's wait for the answer.
        assert!(common::poll_once(&mut borrowing.as_mut()).is_pending());
    }
    fake.on_ping(Mode::Ok);
    let is_same = pool.get().unwrap().id == before;
    assert_settled(&pool, fake.books());
    (pool, is_same)
}

#[test]
fn is_valid_of_a_bb8_manager_dropped_midway_costs_the_connection() {
    let fake = Fake::new();
    let (pool, is_same) = cancel_midway(over_bb8(&fake), &fake);
    assert!(!is_same, "lent with half an answer on its way");
    assert_eq!(evicted(&pool, EvictionCause::PingCancelled), 1);
}

#[test]
fn is_valid_of_a_bb8_manager_vouched_for_may_be_dropped_midway() {
    let fake = Fake::new();
    let (pool, is_same) = cancel_midway(over_bb8(&fake).pings_are_cancel_safe(), &fake);
    assert!(is_same);
    assert_eq!(pool.stats().evictions.total(), 0);
}

#[test]
fn is_valid_and_resets_of_a_bb8_manager_that_hang_are_dropped_at_their_limits() {
    let fake = Fake::new();
    let pool = Pool::builder_async(resetting_bb8(&fake))
        .max_size(1)
        .ping_timeout(SHORT / 4)
        .reset_timeout(SHORT / 4)
        .health(PingOnBorrow::always())
        .build()
        .unwrap();
    let first = pool.get().unwrap().id;
    fake.on_ping(Mode::Hang);
    in_vain(&pool, |_| evicted(&pool, EvictionCause::PingFailed) > 0);
    fake.on_ping(Mode::Ok);
    let mut conn = pool.get().unwrap();
    let second = conn.id;
    assert!(second > first);
    fake.on_reset(Mode::Hang);
    conn.dirty = true;
    drop(conn);
    assert!(pool.get().unwrap().id > second);
    assert_eq!(evicted(&pool, EvictionCause::ResetFailed), 1);
    assert_settled(&pool, fake.books());
    assert!(pool.overruns().is_empty());
}

/// A manager whose calls want tokio's reactor, as those of real drivers do.
struct Echo(std::net::SocketAddr);

impl bb8::ManageConnection for Echo {
    type Connection = tokio::net::TcpStream;
    type Error = std::io::Error;

    async fn connect(&self) -> std::io::Result<tokio::net::TcpStream> {
        tokio::net::TcpStream::connect(self.0).await
    }

    async fn is_valid(&self, stream: &mut tokio::net::TcpStream) -> std::io::Result<()> {
        use std::io::ErrorKind::WouldBlock;
        stream.writable().await?;
        assert_eq!(stream.try_write(b"?")?, 1);
        loop {
            stream.readable().await?;
            match stream.try_read(&mut [0]) {
                Err(error) if error.kind() == WouldBlock => {}
                answer => break assert_eq!(answer?, 1),
            }
        }
        Ok(())
    }

    fn has_broken(&self, _: &mut tokio::net::TcpStream) -> bool {
        false
    }
}

#[test]
fn a_bb8_manager_that_wants_a_runtime_is_given_one() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
        }
    });
    let handle = runtime.handle().clone();
    let pool = Pool::builder_async(Bb8Manager::new(Echo(address)))
        .max_size(1)
        .spawner(move |task| {
            handle.spawn(task);
        })
        .health(PingOnBorrow::always())
        .build()
        .unwrap();
    for _ in 0..3 {
        // Its ping is driven by the runtime, as this thread has none.
        drop(pool.get_timeout(PLENTY).unwrap());
        runtime.block_on(async { drop(pool.get_async().await.unwrap()) });
    }
    let stats = pool.stats();
    assert!(stats.connects == 1 && stats.ping_failures == 0, "{stats}");
    drop(pool);
}
