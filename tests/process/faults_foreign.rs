//! Foreign code that blocks, and closes that hang: they cost those whom they concern, and nobody
//! else.

use crate::common::*;
use caliburn::health::{ConnectionInfo, HealthStrategy, Verdict};
use caliburn::stats::Call;
use caliburn::{
    AsyncManager, BlockingManager, Builder, CloseReport, Deadline, Manager, Pool, PooledConnection,
};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

// Foreign code of one pool (A27)

/// Blocks whoever comes by once it is armed: once, until it is let go or two seconds have passed.
struct Blocker {
    is_armed: AtomicBool,
    entered: Mutex<Sender<()>>,
    go: Mutex<Receiver<()>>,
}

/// The test's half.
struct Handle {
    blocker: Arc<Blocker>,
    entered: Receiver<()>,
    go: Sender<()>,
}

impl Handle {
    fn new() -> Self {
        let ((enter, entered), (go, going)) = (channel(), channel());
        let (entered_by, go_by) = (Mutex::new(enter), Mutex::new(going));
        let blocker = Blocker { is_armed: false.into(), entered: entered_by, go: go_by };
        Self { blocker: Arc::new(blocker), entered, go }
    }
}

impl Blocker {
    fn block(&self) {
        if self.is_armed.swap(false, SeqCst) {
            let _ = self.entered.lock().unwrap().send(());
            let _ = self.go.lock().unwrap().recv_timeout(2 * SECOND);
        }
    }
}

impl HealthStrategy for Blocking {
    fn on_sweep(&self, _: &ConnectionInfo) -> Verdict {
        self.0.block();
        Verdict::Keep
    }
}

/// A strategy that blocks.
struct Blocking(Arc<Blocker>);

impl Wake for Blocker {
    fn wake(self: Arc<Self>) {
        self.block();
    }
}

/// Tells when it is woken.
struct Bell(Mutex<Sender<Instant>>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let _ = self.0.lock().unwrap().send(Instant::now());
    }
}

/// Another pool, of which nothing is heard of the first.
struct Other {
    fake: Fake,
    pool: Pool<Fake>,
}

impl Other {
    fn new() -> Self {
        let fake = Fake::new();
        let pool = Pool::builder(fake.clone()).max_size(1).min_size(1).wait_ready(PLENTY);
        Self { pool: pool.build().unwrap(), fake }
    }

    /// How much too late a task is told that its limit is over.
    fn lateness(&self) -> Duration {
        const LIMIT: Duration = Duration::from_millis(20);
        let _held = self.pool.get_timeout(PLENTY).unwrap();
        let (ring, rung) = channel();
        let waker = Waker::from(Arc::new(Bell(Mutex::new(ring))));
        let mut get = Box::pin(self.pool.get_timeout_async(LIMIT));
        let begun = Instant::now();
        let mut context = Context::from_waker(&waker);
        assert!(get.as_mut().poll(&mut context).is_pending(), "it is lent");
        let woken = rung.recv_timeout(PLENTY).expect("some day");
        woken.saturating_duration_since(begun + LIMIT)
    }

    /// How long it takes to replace a connection that its borrower has no use for.
    fn replacement(&self) -> Duration {
        let before = self.fake.books().opened.load(SeqCst);
        let held = self.pool.get_timeout(PLENTY).unwrap();
        let begun = Instant::now();
        PooledConnection::discard(held);
        eventually("it is replaced", || self.fake.books().opened.load(SeqCst) > before);
        begun.elapsed()
    }
}

/// While `provoke` has foreign code block, the other pool goes on as ever.
#[track_caller]
fn is_unheard_of<T>(what: &str, handle: &Handle, provoke: impl Fn() -> T) {
    let other = Other::new();
    let blocked = |look: &dyn Fn() -> Duration| {
        // One that was not waited for.
        let _ = handle.blocker.go.lock().unwrap().try_iter().count();
        handle.blocker.is_armed.store(true, SeqCst);
        let kept = provoke();
        handle.entered.recv_timeout(PLENTY).unwrap_or_else(|_| panic!("{what} is not called"));
        let took = look();
        let _ = handle.go.send(());
        drop(kept);
        took
    };
    let late = blocked(&|| other.lateness());
    let replaced = blocked(&|| other.replacement());
    assert!(
        late <= SECOND / 10 && replaced <= SECOND / 4,
        "{what} blocks: a task's limit in another pool was kept {late:?} late, a connection \
         replaced after {replaced:?}"
    );
}

#[test]
fn a_strategy_that_blocks_in_the_sweep_holds_no_other_pool_up() {
    let _alone = crate::alone();
    let handle = Handle::new();
    let pool = Pool::builder(Fake::new()).max_size(2).min_size(2).wait_ready(PLENTY);
    let pool = pool.sweep_interval(Some(SECOND / 200)).health(Blocking(handle.blocker.clone()));
    let _pool = pool.build().unwrap();
    is_unheard_of("on_sweep", &handle, || ());
}

#[test]
fn a_waker_that_blocks_when_a_limit_is_over_holds_no_other_pool_up() {
    let _alone = crate::alone();
    let handle = Handle::new();
    let pool = Pool::builder(Fake::new()).max_size(1).min_size(1).wait_ready(PLENTY);
    let pool = pool.build().unwrap();
    let _held = pool.get_timeout(PLENTY).unwrap();
    let waker = Waker::from(handle.blocker.clone());
    is_unheard_of("the waker of a borrower", &handle, || {
        let mut get = Box::pin(pool.get_timeout_async(SECOND / 200));
        assert!(get.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        get
    });
}

/// Those who wait for something other than a connection.
#[test]
fn a_waker_that_blocks_when_the_start_takes_too_long_holds_no_other_pool_up() {
    let _alone = crate::alone();
    let fake = Fake::new();
    fake.on_connect(Mode::Hang);
    let handle = Handle::new();
    let pool = Pool::builder(fake.clone()).max_size(1).min_size(1).build().unwrap();
    let waker = Waker::from(handle.blocker.clone());
    is_unheard_of("the waker of one who waits for the start", &handle, || {
        let mut ready = Box::pin(pool.ready_async(SECOND / 200));
        assert!(ready.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        ready
    });
    fake.open_gate();
}

#[test]
fn a_spawner_that_blocks_holds_no_other_pool_up() {
    let _alone = crate::alone();
    let handle = Handle::new();
    let blocker = handle.blocker.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let tasks = runtime.handle().clone();
    let pool = Pool::builder_async(AsyncFake(Fake::new())).max_size(1).min_size(1);
    let pool = pool.wait_ready(PLENTY).spawner(move |task| {
        blocker.block();
        tasks.spawn(task);
    });
    let pool = pool.build().unwrap();
    is_unheard_of("the spawner", &handle, || {
        let held = pool.get_timeout(PLENTY).unwrap();
        PooledConnection::discard(held);
    });
}

// Closes that hang (A28)

/// A server to which some goodbyes never end.
#[derive(Clone)]
struct Mute {
    fake: Fake,
    hangs: fn(u64) -> bool,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Mute {
    fn new(hangs: fn(u64) -> bool) -> Self {
        Self { fake: Fake::new(), hangs, gate: Arc::default() }
    }

    fn open_gate(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }
}

impl Manager for Mute {
    type Connection = Conn;
    type Error = FakeError;
}

impl BlockingManager for Mute {
    fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        BlockingManager::connect(&self.fake, deadline)
    }

    fn ping(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        BlockingManager::ping(&self.fake, conn, deadline)
    }

    fn close(&self, conn: Conn, _: &Deadline) {
        if (self.hangs)(conn.id) {
            let is_open = self.gate.0.lock().unwrap();
            drop(self.gate.1.wait_timeout_while(is_open, PLENTY, |is_open| !*is_open).unwrap());
        }
        drop(conn);
    }
}

impl AsyncManager for Mute {
    async fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        BlockingManager::connect(&self.fake, deadline)
    }

    async fn ping(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        BlockingManager::ping(&self.fake, conn, deadline)
    }

    async fn close(&self, conn: Conn, _: &Deadline) {
        if (self.hangs)(conn.id) {
            std::future::pending::<()>().await;
        }
        drop(conn);
    }
}

/// Fifty connections, ten of which will not go, and default settings.
fn fifty(server: &Mute, begin: fn(Mute) -> Builder<Mute>) -> Pool<Mute> {
    let builder = begin(server.clone()).max_size(50).min_size(50);
    builder.wait_ready(PLENTY).build().unwrap()
}

/// Closes named as late, by the report or by the pool.
fn named(report: &CloseReport, pool: &Pool<Mute>) -> usize {
    let overruns = pool.overruns();
    let by_pool = overruns.iter().filter(|overrun| overrun.call == Some(Call::Close)).count();
    by_pool.max(report.to_string().matches("a close that has not answered").count())
}

type Close = fn(&Pool<Mute>, Duration) -> CloseReport;

const BY_THREAD: Close = |pool, limit| pool.close_within(limit);
const BY_TASK: Close = |pool, limit| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(pool.close_within_async(limit))
};

#[track_caller]
fn forty_go_and_ten_are_named(
    what: &str,
    hangs: fn(u64) -> bool,
    limit: Duration,
    close: Close,
    are_lent: bool,
) {
    let server = Mute::new(hangs);
    let pool = fifty(&server, Pool::builder);
    let lent: Vec<_> = if are_lent {
        (0..50).map(|_| pool.get_timeout(PLENTY).unwrap()).collect()
    } else {
        Vec::new()
    };
    let begun = Instant::now();
    if are_lent {
        pool.close();
        drop(lent);
    }
    let report = close(&pool, limit);
    let took = begun.elapsed();
    let (named, alive) = (named(&report, &pool), server.fake.books().alive());
    server.open_gate();
    assert!(took <= limit + SECOND / 2, "{what}: {took:?}");
    let seen = (report.closes, report.unfinished, alive, named);
    assert_eq!(seen, (40, 10, 10, 10), "{what}: closed, unfinished, open, named late: {report}");
    eventually("the others are gone, too", || server.fake.books().alive() == 0);
}

#[test]
fn a_close_with_a_limit_closes_what_it_can_and_names_those_that_hang() {
    let _alone = crate::alone();
    forty_go_and_ten_are_named("the first ten", |id| id < 10, 2 * SECOND, BY_THREAD, false);
}

#[test]
fn it_does_so_whichever_hang_and_whoever_waits() {
    let _alone = crate::alone();
    let limit = SECOND / 2;
    forty_go_and_ten_are_named("the last ten", |id| id >= 40, limit, BY_THREAD, false);
    forty_go_and_ten_are_named("each fifth", |id| id % 5 == 0, limit, BY_TASK, false);
}

#[test]
fn it_does_so_if_they_come_back_after_the_pool_was_closed() {
    let _alone = crate::alone();
    forty_go_and_ten_are_named("returned late", |id| id < 10, SECOND / 2, BY_THREAD, true);
}

/// Futures can be dropped: at the close's own limit at the latest, or named.
#[test]
fn futures_that_never_say_goodbye_keep_no_other_connection_open() {
    let _alone = crate::alone();
    let server = Mute::new(|id| id < 10);
    let pool = fifty(&server, Pool::builder_async);
    let report = pool.close_within(SECOND / 2);
    let alive = server.fake.books().alive();
    assert!(report.closes >= 40 && alive <= 10, "{alive} open: {report}");
    assert!(named(&report, &pool) >= report.unfinished, "{report}");
}
