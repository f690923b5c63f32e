//! Faults on the way back: a driver's answer that is asked for twice.

use crate::common::*;
use caliburn::health::{AgeEviction, HealthStrategy, PingAfterFailure, PingOnBorrow};
use caliburn::{
    AsyncManager, BlockingManager, Builder, Clock, Deadline, EvictionCause, Manager, Pool,
    PooledConnection,
};
use std::convert::Infallible;
use std::io::Write;
use std::mem::take;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;

// A driver that tells what it knows once: asking takes the answer away.

/// How often each question was asked.
#[derive(Debug, Default)]
struct Asked {
    has_broken: AtomicUsize,
    needs_reset: AtomicUsize,
    resets: AtomicUsize,
    goodbyes: AtomicUsize,
}

#[derive(Clone, Default)]
struct TellsOnce(Arc<Asked>);

/// A session: what its driver will say when asked, and the truth.
#[derive(Default)]
struct Session {
    error: Option<()>,
    in_transaction: bool,
    is_broken: bool,
    has_open_transaction: bool,
    /// The driver panics when it is asked next.
    panics_over_error: bool,
    panics_over_transaction: bool,
}

impl Session {
    fn break_down(&mut self) {
        (self.error, self.is_broken) = (Some(()), true);
    }

    fn begin_transaction(&mut self) {
        (self.in_transaction, self.has_open_transaction) = (true, true);
    }
}

impl Manager for TellsOnce {
    type Connection = Session;
    type Error = Infallible;

    fn has_broken(&self, session: &mut Session) -> bool {
        self.0.has_broken.fetch_add(1, SeqCst);
        if take(&mut session.panics_over_error) {
            panic_on_purpose();
        }
        session.error.take().is_some()
    }

    fn needs_reset(&self, session: &mut Session) -> bool {
        self.0.needs_reset.fetch_add(1, SeqCst);
        if take(&mut session.panics_over_transaction) {
            panic_on_purpose();
        }
        take(&mut session.in_transaction)
    }
}

impl BlockingManager for TellsOnce {
    fn connect(&self, _: &Deadline) -> Result<Session, Infallible> {
        Ok(Session::default())
    }

    fn ping(&self, _: &mut Session, _: &Deadline) -> Result<(), Infallible> {
        Ok(())
    }

    fn reset(&self, session: &mut Session, _: &Deadline) -> Result<(), Infallible> {
        self.0.resets.fetch_add(1, SeqCst);
        session.has_open_transaction = false;
        Ok(())
    }

    fn close(&self, _: Session, _: &Deadline) {
        self.0.goodbyes.fetch_add(1, SeqCst);
    }
}

impl AsyncManager for TellsOnce {
    async fn connect(&self, deadline: &Deadline) -> Result<Session, Infallible> {
        BlockingManager::connect(self, deadline)
    }

    async fn ping(&self, _: &mut Session, _: &Deadline) -> Result<(), Infallible> {
        Ok(())
    }

    async fn reset(&self, session: &mut Session, deadline: &Deadline) -> Result<(), Infallible> {
        BlockingManager::reset(self, session, deadline)
    }

    async fn close(&self, session: Session, deadline: &Deadline) {
        BlockingManager::close(self, session, deadline);
    }
}

/// Keeps everything, and must be asked each time.
struct Attentive;

impl HealthStrategy for Attentive {}

/// The same pool of one connection, by hand, with each kind of driver and several strategies.
fn for_each_pool(test: impl Fn(&str, &Pool<TellsOnce>, &Asked)) {
    type Kind = fn(TellsOnce) -> Builder<TellsOnce>;
    type Strategy = fn() -> Box<dyn HealthStrategy>;
    let kinds: [(&str, Kind); 2] =
        [("blocking", Pool::builder), ("asynchronous", Pool::builder_async)];
    let strategies: [(&str, Strategy); 5] = [
        ("no strategy", || Box::new(())),
        ("PingAfterFailure", || Box::new(PingAfterFailure)),
        ("AgeEviction", || Box::new(AgeEviction::default())),
        ("PingOnBorrow", || Box::new(PingOnBorrow::default())),
        ("a strategy that must be asked", || Box::new(Attentive)),
    ];
    for (kind, builder) in kinds {
        for (name, strategy) in &strategies {
            let driver = TellsOnce::default();
            let builder = builder(driver.clone()).max_size(1).min_size(1).idle_timeout(None);
            let pool = builder.health(strategy()).clock(Clock::mock().0).manual_maintenance();
            let pool = pool.keep_on_unwind().wait_ready(PLENTY).build().unwrap();
            test(&format!("{kind}, {name}"), &pool, &driver.0);
        }
    }
}

/// Borrows the connection, has `spoil` done to it and gives it back in several situations. The
/// answer to each is what the next borrower gets.
fn return_spoilt(
    pool: &Pool<TellsOnce>,
    spoil: fn(&mut Session),
    mut look: impl FnMut(&str, PooledConnection<TellsOnce>),
) {
    let spoilt = || {
        let mut session = pool.try_get().expect("one is idle");
        spoil(&mut session);
        session
    };
    drop(spoilt());
    pool.maintain();
    look("nobody waits", pool.try_get().expect("one is idle again"));

    let session = spoilt();
    let mut next = Box::pin(pool.get_async());
    assert!(poll_once(&mut next).is_pending());
    drop(session);
    pool.maintain();
    match poll_once(&mut next) {
        Poll::Ready(next) => look("somebody waits", next.unwrap()),
        Poll::Pending => panic!("whoever waits is served"),
    }

    let session = spoilt();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _session = session;
        panic_on_purpose();
    }));
    assert!(unwound.is_err());
    pool.maintain();
    look("while unwinding", pool.try_get().expect("one is idle again"));
}

#[test]
fn a_connection_of_which_its_driver_says_once_that_it_is_broken_is_not_lent_again() {
    for_each_pool(|name, pool, asked| {
        return_spoilt(pool, Session::break_down, |when, next| {
            assert!(!next.is_broken, "{name}: returned when {when}, the broken one is lent again");
        });
        assert_eq!(pool.stats().evictions.by(EvictionCause::Broken), 3, "{name}");
        assert_eq!(asked.goodbyes.load(SeqCst), 0, "{name}: a goodbye would reach nobody");
    });
}

#[test]
fn a_transaction_that_its_driver_mentions_once_is_rolled_back_before_the_next_loan() {
    for_each_pool(|name, pool, asked| {
        return_spoilt(pool, Session::begin_transaction, |when, next| {
            let is_open = next.has_open_transaction;
            assert!(!is_open, "{name}: returned when {when}, the transaction is still open");
        });
        assert_eq!(asked.resets.load(SeqCst), 3, "{name}");
    });
}

#[test]
fn a_driver_that_panics_once_over_a_connection_costs_that_connection() {
    let ways: [fn(&mut Session); 2] = [
        |session| (session.panics_over_error, session.is_broken) = (true, true),
        |session| (session.panics_over_transaction, session.is_broken) = (true, true),
    ];
    for way in ways {
        for_each_pool(|name, pool, _| {
            return_spoilt(pool, way, |when, next| {
                assert!(!next.is_broken, "{name}: returned when {when}, it is lent again");
            });
            assert_eq!(pool.stats().evictions.by(EvictionCause::Panicked), 3, "{name}");
        });
    }
}

#[test]
fn each_question_is_asked_once_for_each_loan_and_return_whatever_comes_of_it() {
    type Spoil = fn(&mut Session);
    let ways: [(&str, Spoil, usize); 3] = [
        ("sound", |_| (), 1),
        ("broken", Session::break_down, 0),
        ("in a transaction", Session::begin_transaction, 1),
    ];
    for (state, way, resets_asked_for) in ways {
        for_each_pool(|name, pool, asked| {
            return_spoilt(pool, way, |when, next| {
                let (has_broken, needs_reset) = (&asked.has_broken, &asked.needs_reset);
                let counts = (has_broken.swap(0, SeqCst), needs_reset.swap(0, SeqCst));
                // Before the loan, after it, and before the next.
                assert_eq!(counts, (3, resets_asked_for), "{name}: {state}, when {when}");
                drop(next);
                let counts = (has_broken.swap(0, SeqCst), needs_reset.swap(0, SeqCst));
                assert_eq!(counts, (1, 1), "{name}: and sound again, after it was {state}");
            });
        });
    }
}

#[test]
fn a_connection_that_comes_back_broken_to_a_closed_pool_gets_no_goodbye() {
    for_each_pool(|name, pool, asked| {
        let mut session = pool.try_get().unwrap();
        pool.close();
        session.break_down();
        drop(session);
        pool.maintain();
        assert!(pool.close_within(ENOUGH).is_complete(), "{name}");
        assert_eq!(asked.goodbyes.load(SeqCst), 0, "{name}: closed though it was broken");
        assert_eq!(asked.has_broken.load(SeqCst), 2, "{name}: asked once before and once after");
    });
}

/// As the example of [`BlockingManager`] does it. The system tells an error once.
struct Tcp(SocketAddr);

impl Manager for Tcp {
    type Connection = TcpStream;
    type Error = std::io::Error;

    fn has_broken(&self, stream: &mut TcpStream) -> bool {
        !matches!(stream.take_error(), Ok(None))
    }
}

impl BlockingManager for Tcp {
    fn connect(&self, deadline: &Deadline) -> std::io::Result<TcpStream> {
        TcpStream::connect_timeout(&self.0, deadline.remaining())
    }

    fn ping(&self, _: &mut TcpStream, _: &Deadline) -> std::io::Result<()> {
        Ok(())
    }
}

/// The system knows that the connection between these ports is over. The client's alone may be
/// that of another connection as well, to another server.
#[cfg(target_os = "linux")]
fn is_over(client: u16, server: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mine = format!("0100007F:{client:04X} 0100007F:{server:04X} ");
    !table.lines().any(|line| line.split_once(": ").is_some_and(|(_, is)| is.starts_with(&mine)))
}

#[cfg(target_os = "linux")]
#[test]
fn a_tcp_stream_that_the_server_has_reset_is_not_lent_again() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let pool = Pool::builder(Tcp(address)).max_size(1).min_size(1);
    let pool = pool.clock(Clock::mock().0).manual_maintenance().wait_ready(PLENTY).build().unwrap();
    let mut stream = pool.try_get().unwrap();
    let port = stream.local_addr().unwrap().port();
    stream.write_all(b"?").unwrap();
    let (end, _) = server.accept().unwrap();
    soon("the question is there", || end.peek(&mut [0]).is_ok_and(|read| read == 1));
    // A socket that is closed with something unread in it resets the connection.
    drop(end);
    soon("the reset has come", || is_over(port, address.port()));
    drop(stream);
    pool.maintain();
    let next = pool.try_get().unwrap();
    assert_ne!(next.local_addr().unwrap().port(), port, "the connection that was reset");
    assert_eq!(pool.stats().evictions.by(EvictionCause::Broken), 1);
}
