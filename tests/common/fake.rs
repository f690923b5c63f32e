//! A manager of fake connections that keeps its own books, for both kinds.

use caliburn::{
    AsyncManager, BlockingManager, Builder, Clock, Deadline, ErrorClass, GetError, Manager,
    MockClock, Pool, PooledConnection, RoleDoubt, RoleReport,
};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// Long enough for anything that must happen; a test that waits for so long has failed.
pub const PLENTY: Duration = Duration::from_secs(20);

/// What a busy machine may add to a limit; a limit that does not hold lasts for ever, or until
/// another one that is longer by much more.
pub const ROOM: Duration = Duration::from_secs(3);

/// The truth about all connections of one fake server, kept by the connections themselves.
#[derive(Debug, Default)]
pub struct Books {
    pub attempts: AtomicUsize,
    pub opened: AtomicUsize,
    pub dropped: AtomicUsize,
    pub pings: AtomicUsize,
    pub resets: AtomicUsize,
    /// The most connections that were ever open or opening at once.
    pub most_open: AtomicUsize,
    open: AtomicUsize,
}

impl Books {
    /// Connections alive now.
    pub fn alive(&self) -> usize {
        self.opened.load(SeqCst) - self.dropped.load(SeqCst)
    }

    fn enter(&self) {
        let open = self.open.fetch_add(1, SeqCst) + 1;
        self.most_open.fetch_max(open, SeqCst);
    }

    fn leave(&self) {
        self.open.fetch_sub(1, SeqCst);
    }
}

/// What a fake call does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Ok,
    Fail,
    /// Fails with an error that [`Manager::classify`] calls permanent.
    FailForGood,
    Panic,
    /// Never answers (tasks), or not before the gate is opened (threads).
    Hang,
}

/// A gate that blocked fake calls wait behind.
#[derive(Debug, Default)]
struct Gate {
    open: Mutex<bool>,
    bell: Condvar,
}

/// A fake server. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub struct Fake(Arc<State>);

#[derive(Debug, Default)]
pub struct State {
    pub books: Arc<Books>,
    connect: Mutex<Mode>,
    ping: Mutex<Mode>,
    reset: Mutex<Mode>,
    close: Mutex<Mode>,
    role: Mutex<(Mode, RoleReport)>,
    doubt: Mutex<Option<RoleDoubt>>,
    needs_reset: AtomicBool,
    needs_ping: AtomicBool,
    renews_session: AtomicBool,
    has_broken_panics: AtomicBool,
    drop_panics: Arc<AtomicBool>,
    ping_is_cancel_safe: AtomicBool,
    fails_what_hangs: AtomicBool,
    /// Connections with a lower number are dead: their pings fail.
    dead_below: AtomicU64,
    /// Connections with a lower number are dead, and the driver knows it without asking.
    known_dead_below: AtomicU64,
    next: AtomicU64,
    gate: Gate,
}

/// A fake connection.
#[derive(Debug)]
pub struct Conn {
    pub id: u64,
    pub broken: bool,
    pub dirty: bool,
    /// For tests that use it.
    pub value: u64,
    books: Arc<Books>,
    panics: Arc<AtomicBool>,
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.books.dropped.fetch_add(1, SeqCst);
        self.books.leave();
        if self.panics.load(SeqCst) && !std::thread::panicking() {
            panic!("a fake destructor panics");
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum FakeError {
    Refused,
    WrongPassword,
}

impl fmt::Display for FakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::WrongPassword => "wrong password",
        })
    }
}

impl std::error::Error for FakeError {}

impl Fake {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn books(&self) -> &Books {
        &self.0.books
    }

    pub fn on_connect(&self, mode: Mode) {
        *self.0.connect.lock().unwrap() = mode;
    }

    pub fn on_ping(&self, mode: Mode) {
        *self.0.ping.lock().unwrap() = mode;
    }

    pub fn on_reset(&self, mode: Mode) {
        *self.0.reset.lock().unwrap() = mode;
    }

    pub fn on_close(&self, mode: Mode) {
        *self.0.close.lock().unwrap() = mode;
    }

    /// What it says of its role.
    pub fn set_role(&self, report: RoleReport) {
        self.0.role.lock().unwrap().1 = report;
    }

    pub fn on_role(&self, mode: Mode) {
        self.0.role.lock().unwrap().0 = mode;
    }

    /// Tells the router, if there is one, that the role may have changed.
    pub fn doubt_role(&self) {
        self.0.doubt.lock().unwrap().as_ref().unwrap().tell();
    }

    /// The server is killed: its connections are known to be dead, and no new one is opened.
    pub fn kill(&self) {
        self.on_connect(Mode::Fail);
        self.hear_of_all();
    }

    /// It is back.
    pub fn revive(&self) {
        self.on_connect(Mode::Ok);
    }

    /// `needs_reset` says yes for every connection, not only for dirty ones.
    pub fn always_needs_reset(&self) {
        self.0.needs_reset.store(true, SeqCst);
    }

    /// `needs_ping` says so for every connection.
    pub fn needs_pings(&self, yes: bool) {
        self.0.needs_ping.store(yes, SeqCst);
    }

    /// What hooks did to a connection is gone after each reset.
    pub fn resets_renew_sessions(&self) {
        self.0.renews_session.store(true, SeqCst);
    }

    pub fn has_broken_panics(&self, yes: bool) {
        self.0.has_broken_panics.store(yes, SeqCst);
    }

    pub fn destructors_panic(&self, yes: bool) {
        self.0.drop_panics.store(yes, SeqCst);
    }

    pub fn pings_are_cancel_safe(&self) {
        self.0.ping_is_cancel_safe.store(true, SeqCst);
    }

    /// The server restarts: all connections opened so far are dead.
    pub fn kill_all(&self) {
        self.0.dead_below.store(self.0.next.load(SeqCst), SeqCst);
    }

    /// The driver hears that the other ends of all connections opened so far have gone. Their
    /// numbers are lower than the answer.
    pub fn hear_of_all(&self) -> u64 {
        let next = self.0.next.load(SeqCst);
        self.0.known_dead_below.store(next, SeqCst);
        next
    }

    /// This is the last handle: no pool has one.
    pub fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// The same, and blocked connects end as `connect` says by then.
    pub fn fail_what_hangs(&self) {
        self.0.fails_what_hangs.store(true, SeqCst);
        self.open_gate();
    }

    /// Lets all hanging blocking calls go on, now and for ever.
    pub fn open_gate(&self) {
        *self.0.gate.open.lock().unwrap() = true;
        self.0.gate.bell.notify_all();
    }

    fn outcome(mode: Mode) -> Result<(), FakeError> {
        match mode {
            Mode::Ok | Mode::Hang => Ok(()),
            Mode::Fail => Err(FakeError::Refused),
            Mode::FailForGood => Err(FakeError::WrongPassword),
            Mode::Panic => panic!("the fake panics"),
        }
    }

    fn block(&self, mode: Mode) {
        if mode == Mode::Hang {
            let mut open = self.0.gate.open.lock().unwrap();
            while !*open {
                open = self.0.gate.bell.wait(open).unwrap();
            }
        }
    }

    fn begin_connect(&self) -> (Mode, Opening) {
        self.0.books.attempts.fetch_add(1, SeqCst);
        self.0.books.enter();
        (*self.0.connect.lock().unwrap(), Opening(Some(Arc::clone(&self.0.books))))
    }

    fn finish_connect(&self, mode: Mode, mut opening: Opening) -> Result<Conn, FakeError> {
        Self::outcome(mode)?;
        opening.0 = None;
        self.0.books.opened.fetch_add(1, SeqCst);
        Ok(Conn {
            id: self.0.next.fetch_add(1, SeqCst),
            broken: false,
            dirty: false,
            value: 0,
            books: Arc::clone(&self.0.books),
            panics: Arc::clone(&self.0.drop_panics),
        })
    }

    fn begin_ping(&self, conn: &Conn) -> Mode {
        self.0.books.pings.fetch_add(1, SeqCst);
        let mode = *self.0.ping.lock().unwrap();
        if mode == Mode::Ok && conn.id < self.0.dead_below.load(SeqCst) { Mode::Fail } else { mode }
    }

    fn ask_role(&self, conn: &Conn) -> (Mode, RoleReport) {
        let (mode, report) = *self.0.role.lock().unwrap();
        let is_dead = conn.id < self.0.dead_below.load(SeqCst);
        (if mode == Mode::Ok && is_dead { Mode::Fail } else { mode }, report)
    }

    fn begin_reset(&self, conn: &mut Conn) -> Mode {
        self.0.books.resets.fetch_add(1, SeqCst);
        conn.dirty = false;
        *self.0.reset.lock().unwrap()
    }
}

/// Counts a connect in flight as open, until it fails.
struct Opening(Option<Arc<Books>>);

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(books) = &self.0 {
            books.leave();
        }
    }
}

impl Manager for Fake {
    type Connection = Conn;
    type Error = FakeError;

    fn has_broken(&self, conn: &mut Conn) -> bool {
        assert!(!self.0.has_broken_panics.load(SeqCst), "has_broken panics");
        conn.broken || conn.id < self.0.known_dead_below.load(SeqCst)
    }

    fn needs_reset(&self, conn: &mut Conn) -> bool {
        conn.dirty || self.0.needs_reset.load(SeqCst)
    }

    fn needs_ping(&self, _: &mut Conn) -> bool {
        self.0.needs_ping.load(SeqCst)
    }

    fn renews_session(&self) -> bool {
        self.0.renews_session.load(SeqCst)
    }

    fn classify(&self, error: &FakeError) -> ErrorClass {
        match error {
            FakeError::WrongPassword => ErrorClass::Permanent,
            FakeError::Refused => ErrorClass::Transient,
        }
    }

    fn ping_is_cancel_safe(&self) -> bool {
        self.0.ping_is_cancel_safe.load(SeqCst)
    }

    fn tell_doubts(&self, doubt: RoleDoubt) {
        *self.0.doubt.lock().unwrap() = Some(doubt);
    }
}

impl BlockingManager for Fake {
    fn connect(&self, _: &Deadline) -> Result<Conn, FakeError> {
        let (mode, opening) = self.begin_connect();
        self.block(mode);
        let fails = self.0.fails_what_hangs.load(SeqCst);
        let mode = if fails { *self.0.connect.lock().unwrap() } else { mode };
        self.finish_connect(mode, opening)
    }

    fn ping(&self, conn: &mut Conn, _: &Deadline) -> Result<(), FakeError> {
        let mode = self.begin_ping(conn);
        self.block(mode);
        Self::outcome(mode)
    }

    fn reset(&self, conn: &mut Conn, _: &Deadline) -> Result<(), FakeError> {
        let mode = self.begin_reset(conn);
        self.block(mode);
        Self::outcome(mode)
    }

    fn close(&self, conn: Conn, _: &Deadline) {
        let mode = *self.0.close.lock().unwrap();
        self.block(mode);
        let _ = Self::outcome(mode);
        drop(conn);
    }

    fn role(&self, conn: &mut Conn, _: &Deadline) -> Result<RoleReport, FakeError> {
        let (mode, report) = self.ask_role(conn);
        self.block(mode);
        Self::outcome(mode).map(|()| report)
    }
}

/// The same server behind an asynchronous driver.
#[derive(Clone, Debug, Default)]
pub struct AsyncFake(pub Fake);

impl Manager for AsyncFake {
    type Connection = Conn;
    type Error = FakeError;

    fn has_broken(&self, conn: &mut Conn) -> bool {
        self.0.has_broken(conn)
    }

    fn needs_reset(&self, conn: &mut Conn) -> bool {
        self.0.needs_reset(conn)
    }

    fn needs_ping(&self, conn: &mut Conn) -> bool {
        self.0.needs_ping(conn)
    }

    fn renews_session(&self) -> bool {
        self.0.renews_session()
    }

    fn classify(&self, error: &FakeError) -> ErrorClass {
        self.0.classify(error)
    }

    fn ping_is_cancel_safe(&self) -> bool {
        self.0.ping_is_cancel_safe()
    }

    fn tell_doubts(&self, doubt: RoleDoubt) {
        self.0.tell_doubts(doubt);
    }
}

async fn hang(mode: Mode) {
    yield_once().await;
    if mode == Mode::Hang {
        std::future::pending::<()>().await;
    }
}

impl AsyncManager for AsyncFake {
    async fn connect(&self, _: &Deadline) -> Result<Conn, FakeError> {
        let (mode, opening) = self.0.begin_connect();
        hang(mode).await;
        self.0.finish_connect(mode, opening)
    }

    async fn ping(&self, conn: &mut Conn, _: &Deadline) -> Result<(), FakeError> {
        let mode = self.0.begin_ping(conn);
        hang(mode).await;
        Fake::outcome(mode)
    }

    async fn reset(&self, conn: &mut Conn, _: &Deadline) -> Result<(), FakeError> {
        let mode = self.0.begin_reset(conn);
        hang(mode).await;
        Fake::outcome(mode)
    }

    async fn close(&self, conn: Conn, _: &Deadline) {
        let mode = *self.0.0.close.lock().unwrap();
        hang(mode).await;
        let _ = Fake::outcome(mode);
        drop(conn);
    }

    async fn role(&self, conn: &mut Conn, _: &Deadline) -> Result<RoleReport, FakeError> {
        let (mode, report) = self.0.ask_role(conn);
        hang(mode).await;
        Fake::outcome(mode).map(|()| report)
    }
}

/// A waker that only notes that it was called.
#[derive(Debug, Default)]
pub struct Bell(AtomicBool);

impl Bell {
    pub fn has_rung(&self) -> bool {
        self.0.load(SeqCst)
    }

    /// Whether it had rung.
    pub fn still(&self) -> bool {
        self.0.swap(false, SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// Pending once.
pub async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A pool to be, without a background, under a mocked clock.
pub fn manual_maintenance(fake: &Fake) -> (Builder<Fake>, MockClock) {
    let (clock, hand) = Clock::mock();
    (Pool::builder(fake.clone()).manual_maintenance().clock(clock).wait_ready(PLENTY), hand)
}

/// The same, built, with all its connections open, and none closed for lying idle.
pub fn full_manual(
    fake: &Fake,
    size: usize,
    more: impl FnOnce(Builder<Fake>) -> Builder<Fake>,
) -> (Pool<Fake>, MockClock) {
    let (builder, hand) = manual_maintenance(fake);
    let builder = builder.max_size(size).min_size(size).idle_timeout(None);
    (more(builder).build().unwrap(), hand)
}

/// Borrows `count` connections at once and gives them back: what has been lent must answer before
/// its next loan, also if it was opened a moment ago.
#[track_caller]
pub fn use_each<M: Manager>(pool: &Pool<M>, count: usize) {
    let used: Vec<_> = (0..count).map(|_| pool.get_timeout(PLENTY).unwrap()).collect();
    drop(used);
}

/// Polls once with a waker that does nothing.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// What a `get` of the fake's pools comes to.
pub type Outcome = Result<PooledConnection<Fake>, GetError<FakeError>>;

/// A `get` that is under way.
pub type Get<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// So many of those that `get` makes, which stand in line.
#[track_caller]
pub fn in_line<'a, F>(many: usize, get: impl Fn() -> F) -> Vec<Get<'a>>
where
    F: Future<Output = Outcome> + 'a,
{
    let mut gets: Vec<Get<'a>> = (0..many).map(|_| Box::pin(get()) as Get<'a>).collect();
    assert!(gets.iter_mut().all(|get| poll_once(get).is_pending()), "one was served at once");
    gets
}

/// Tells threads of a scope that it is over, at the latest when a check beside them has failed:
/// otherwise the scope would wait for them for ever.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Whether `is_so` at some moment within `limit`. It looks often, but leaves the processor to what
/// it waits for.
pub fn is_soon(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::park_timeout(Duration::from_micros(100));
    }
}

/// Waits until `is_so`, looking every now and then; fails after [`PLENTY`].
#[track_caller]
pub fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    assert!(is_soon(PLENTY, is_so), "never happened: {what}");
}

/// The accounts agree, once all is at rest: no slot is lost, and the pool's figures are the
/// server's.
#[track_caller]
pub fn assert_settled<M: Manager>(pool: &caliburn::Pool<M>, books: &Books) {
    let agree = || {
        let stats = pool.stats();
        let slots = stats.idle + stats.lent + stats.vacant + stats.retired;
        let is_at_rest =
            stats.opening + stats.maintenance + stats.waiting + stats.waiter_nodes == 0;
        is_at_rest
            && slots == stats.capacity
            && stats.size == books.alive()
            && stats.checkouts == stats.returns + stats.lent as u64
    };
    let do_agree = is_soon(PLENTY, agree);
    let (alive, stats) = (books.alive(), pool.stats());
    assert!(do_agree, "the accounts do not agree: {alive} alive, {stats:#?}");
}
