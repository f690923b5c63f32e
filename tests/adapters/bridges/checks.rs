//! What holds of a pool over any of the bridges.

use super::managers::{Behind, Customs, DriverError};
use crate::common::{Fake, FakeError, Mode, PLENTY, assert_settled, eventually};
use caliburn::adapters::bridges::BridgeError;
use caliburn::error::Phase;
use caliburn::{EvictionCause, GetError, Manager, ManagerError, Pool, PooledConnection};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

/// Short beside [`PLENTY`], long beside anything that does not hang.
pub(crate) const SHORT: Duration = Duration::from_millis(100);

/// The error of the server is at the end of the chain, below that of the driver.
#[track_caller]
pub(crate) fn assert_chain(error: &GetError<impl Error + 'static>, root: &FakeError) {
    let mut chain: Vec<&(dyn Error + 'static)> = vec![error];
    while let Some(source) = chain[chain.len() - 1].source() {
        chain.push(source);
    }
    let [.., driver, server] = chain[..] else { panic!("{chain:?}") };
    let bridged = driver.downcast_ref::<BridgeError<DriverError>>();
    let driver = driver.downcast_ref().or_else(|| bridged.and_then(BridgeError::driver));
    assert!(matches!(driver, Some(DriverError(error)) if error == root), "{driver:?}");
    assert_eq!(server.downcast_ref::<FakeError>(), Some(root));
    let text = format!("{error:#}");
    assert_eq!(text.matches("the driver failed").count(), 1, "{text}");
}

/// Borrows in vain until the error is the one that is looked for: on a busy machine the driver may
/// not have been called in time.
#[track_caller]
pub(crate) fn in_vain<M: Manager>(
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

pub(crate) fn evicted<M: Manager>(pool: &Pool<M>, cause: EvictionCause) -> u64 {
    pool.stats().evictions.by(cause)
}

/// Threads and tasks count up numbers on the connections; none is lost, and none is counted twice.
pub(crate) fn serve_threads_and_tasks<M: Manager<Connection: Behind>>(pool: Pool<M>, fake: &Fake)
where
    M::Error: fmt::Debug,
{
    let rounds = 200;
    let count_up = |conn: &mut PooledConnection<M>| {
        let value = conn.fake().value;
        thread::yield_now();
        conn.fake().value = value + 1;
    };
    // It outlives the connections that are opened for its task.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..rounds).for_each(|_| count_up(&mut pool.get().unwrap())));
        }
        scope.spawn(|| {
            runtime.block_on(async {
                for _ in 0..rounds {
                    count_up(&mut pool.get_async().await.unwrap());
                }
            });
        });
    });
    let mut all = Vec::new();
    // Those that came back last may still be reset.
    eventually("all connections are lent", || {
        all.extend(pool.try_get().ok());
        let stats = pool.stats();
        !all.is_empty() && stats.lent == stats.size
    });
    assert_eq!(all.iter_mut().map(|conn| conn.fake().value).sum::<u64>(), 4 * rounds);
    assert!(fake.books().most_open.load(SeqCst) <= 2);
    drop(all);
    assert_settled(&pool, fake.books());
}

/// A restarted server's connections are found dead by `is_valid`, and replaced before they are
/// lent.
pub(crate) fn never_lend_what_is_not_valid<M: Manager<Connection: Behind>>(
    pool: Pool<M>,
    fake: &Fake,
) {
    let before = pool.get().unwrap().fake().id;
    assert_eq!(pool.get().unwrap().fake().id, before);
    fake.kill_all();
    assert!(pool.get().unwrap().fake().id > before);
    assert_eq!(evicted(&pool, EvictionCause::PingFailed), 1);
    assert_settled(&pool, fake.books());
}

pub(crate) fn replace_what_has_broken<M: Manager<Connection: Behind>>(pool: Pool<M>, fake: &Fake) {
    let mut conn = pool.get().unwrap();
    let before = conn.fake().id;
    conn.fake().broken = true;
    drop(conn);
    assert_ne!(pool.get().unwrap().fake().id, before);
    assert_eq!(evicted(&pool, EvictionCause::Broken), 1);
    assert_settled(&pool, fake.books());
}

/// What a borrower left open is rolled back before anybody else sees it; what is clean costs
/// nothing; what is broken, or cannot be rolled back, is replaced.
pub(crate) fn roll_back_what_is_dirty<M: Manager<Connection: Behind>>(pool: Pool<M>, fake: &Fake) {
    let resets = || fake.books().resets.load(SeqCst);
    let id = pool.get().unwrap().fake().id;
    assert_eq!(resets(), 0);
    pool.get().unwrap().fake().dirty = true;
    let mut conn = pool.get().unwrap();
    assert!((conn.fake().id, conn.fake().dirty) == (id, false) && resets() == 1);
    drop(conn);

    let mut conn = pool.get().unwrap();
    (conn.fake().dirty, conn.fake().broken) = (true, true);
    drop(conn);
    let mut conn = pool.get().unwrap();
    assert!(conn.fake().id != id && resets() == 1, "what is broken was reset");
    let id = conn.fake().id;
    drop(conn);

    fake.on_reset(Mode::Fail);
    pool.get().unwrap().fake().dirty = true;
    assert_ne!(pool.get().unwrap().fake().id, id);
    assert_eq!(evicted(&pool, EvictionCause::ResetFailed), 1);
    assert_settled(&pool, fake.books());
}

/// With nothing said about errors they all may pass: borrowers wait, and learn why in vain.
pub(crate) fn wait_in_vain<M: Manager<Connection: Behind>>(pool: Pool<M>, fake: &Fake) {
    fake.on_connect(Mode::FailForGood);
    let error =
        in_vain(&pool, |error| error.source().is_some_and(|cause| cause.source().is_some()));
    assert!(matches!(error, GetError::TimedOut { phase: Phase::Connect, .. }), "{error}");
    assert_chain(&error, &FakeError::WrongPassword);
}

/// Told which errors will not pass, the pool does not wait for it.
pub(crate) fn fail_at_once<M: Manager<Connection: Behind>>(pool: Pool<M>, fake: &Fake) {
    fake.on_connect(Mode::FailForGood);
    let begun = Instant::now();
    let error = pool.get_timeout(PLENTY).err().unwrap();
    assert!(begun.elapsed() < PLENTY / 2, "waited for what will not pass");
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
    assert_chain(&error, &FakeError::WrongPassword);
    fake.on_connect(Mode::Ok);
    eventually("the next attempt finds it mended", || pool.get().is_ok());
    fake.on_connect(Mode::Fail);
    let _held = pool.get().unwrap();
    let error = pool.get_timeout(SHORT).err().unwrap();
    assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
}

/// Each method panics in turn. That costs a connection, or an attempt at one, but no slot and no
/// borrower.
pub(crate) fn survive_panics<M: Manager<Connection: Behind>>(pool: Pool<M>, fake: &Fake) {
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
    conn.fake().dirty = true;
    fake.on_reset(Mode::Panic);
    drop(conn);
    eventually("the reset fails", || evicted(&pool, EvictionCause::ResetFailed) == 1);
    drop(pool.get().unwrap());
    assert_settled(&pool, fake.books());
}

/// The manager goes when the pool and its last guard have gone, and the connections with it.
pub(crate) fn let_the_manager_go<M: Manager<Connection: Behind>>(
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

/// `on_acquire` comes before the first loan, and may refuse or panic.
pub(crate) fn customize_each_connection<M: Manager<Connection: Behind>>(
    pool: &Pool<M>,
    customs: &Customs,
    fake: &Fake,
) {
    for _ in 0..3 {
        assert_eq!(pool.get().unwrap().fake().value, 42);
    }
    assert_eq!(customs.acquired.load(SeqCst), 1);
    let held = pool.get().unwrap();
    for fault in [&customs.refuses, &customs.panics] {
        let before = pool.stats().connect_failures;
        fault.store(true, SeqCst);
        in_vain(pool, |_| pool.stats().connect_failures > before);
        fault.store(false, SeqCst);
    }
    assert_eq!(pool.get().unwrap().fake().value, 42);
    assert_eq!(customs.acquired.load(SeqCst), 2);
    drop(held);
    assert_settled(pool, fake.books());
}
