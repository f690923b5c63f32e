//! Real sockets, and servers and networks that fail in the ways they do. Most scenarios are played
//! twice, with threads on a blocking driver and with tasks on an async one.

use crate::common::proxy::{Mode, Proxy};
use crate::common::server::{Behaviour, PASSWORD, Server};
use crate::common::wire::{AsyncWire, Conn, Wire, WireError};
use crate::common::{Ends, PLENTY, Watch, eventually, poll_once};
use caliburn::health::{PeriodicSweep, PingAfterFailure, PingOnBorrow};
use caliburn::{
    Builder, Clock, EvictionCause, GetError, HealthStrategy, Manager, Pool, PooledConnection,
};
use std::error::Error;
use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// What a busy machine may add to a limit.
const ROOM: Duration = Duration::from_millis(500);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().unwrap()
    });
    &RUNTIME
}

/// One of the two drivers, for scenarios that block their thread: futures are driven on it.
trait Face: Manager<Connection = Conn<Self::Stream>, Error = WireError> + Sized {
    type Stream: Debug + Send + 'static;
    fn builder(wire: &Wire) -> Builder<Self>;
    fn get(pool: &Pool<Self>) -> Result<PooledConnection<Self>, GetError<WireError>>;
    fn tell(conn: &mut Conn<Self::Stream>, request: &str) -> Result<(), WireError>;

    fn echo(conn: &mut Conn<Self::Stream>) -> Result<(), WireError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self::tell(conn, &format!("echo {}", NEXT.fetch_add(1, SeqCst)))
    }

    /// As many connections as there may be, all open.
    fn pool(
        wire: &Wire,
        size: usize,
        more: impl FnOnce(Builder<Self>) -> Builder<Self>,
    ) -> Pool<Self> {
        let builder = Self::builder(wire).max_size(size).min_size(size);
        more(builder).wait_ready(PLENTY).build().unwrap()
    }

    fn get_all(pool: &Pool<Self>) -> Vec<PooledConnection<Self>> {
        (0..pool.capacity()).map(|_| Self::get(pool).unwrap()).collect()
    }
}

impl Face for Wire {
    type Stream = TcpStream;

    fn builder(wire: &Wire) -> Builder<Self> {
        Pool::builder(wire.clone())
    }

    fn get(pool: &Pool<Self>) -> Result<PooledConnection<Self>, GetError<WireError>> {
        pool.get()
    }

    fn tell(conn: &mut Conn<TcpStream>, request: &str) -> Result<(), WireError> {
        conn.tell(request)
    }
}

impl Face for AsyncWire {
    type Stream = tokio::net::TcpStream;

    fn builder(wire: &Wire) -> Builder<Self> {
        let _inside = runtime().enter();
        AsyncWire::builder(wire)
    }

    fn get(pool: &Pool<Self>) -> Result<PooledConnection<Self>, GetError<WireError>> {
        runtime().block_on(pool.get_async())
    }

    fn tell(conn: &mut Conn<Self::Stream>, request: &str) -> Result<(), WireError> {
        runtime().block_on(conn.tell(request))
    }
}

macro_rules! for_threads_and_tasks {
    ($($scenario:ident),+ $(,)?) => {
        mod threads {
            $(#[test] fn $scenario() { super::$scenario::<super::Wire>() })+
        }
        mod tasks {
            $(#[test] fn $scenario() { super::$scenario::<super::AsyncWire>() })+
        }
    };
}

for_threads_and_tasks!(
    row_25_service_is_back_within_a_second_after_a_black_hole_has_healed,
    row_26_a_server_that_is_down_is_tried_seldom_and_back_in_use_within_a_second,
    row_27_half_the_connections_cut_cost_no_caller_more_than_one_failed_use,
    row_28_a_close_that_hangs_gives_its_slot_back_at_its_limit,
    row_29_guards_dropped_on_a_mute_server_come_back_within_the_reset_limit,
    row_30_one_mute_connection_delays_one_caller_by_one_ping_and_is_lent_to_none,
    row_33_a_wrong_password_is_told_at_once_at_the_start_and_later,
    row_34_a_connection_closed_by_the_server_is_noticed_as_the_table_of_strategies_says,
);

/// HikariCP #754, #2161: after an outage the pool sits at zero. Here connects vanish in a black
/// hole while all connections die; callers are refused in time, and served again once the network
/// is back.
fn row_25_service_is_back_within_a_second_after_a_black_hole_has_healed<F: Face>() {
    black_hole::<F>(ms(1200));
}

#[test]
#[ignore = "soak: takes 60 s"]
fn row_25_soak_service_is_back_within_a_second_after_half_a_minute_in_a_black_hole() {
    black_hole::<Wire>(ms(30_000));
    black_hole::<AsyncWire>(ms(30_000));
}

fn black_hole<F: Face>(outage: Duration) {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let limit = ms(250);
    let pool = F::pool(&Wire::to(proxy.address()), 4, |builder| {
        let builder = builder.checkout_timeout(limit).connect_timeout(ms(300));
        builder.ping_timeout(ms(50)).close_timeout(ms(50)).health(PingOnBorrow::always())
    });
    // Used, and so pinged before their next loan.
    drop([(); 4].map(|()| F::get(&pool).unwrap()));
    proxy.set(Mode::Drop);
    let (down, before) = (Instant::now(), proxy.accepted());
    while down.elapsed() < outage {
        let begun = Watch::start();
        assert!(F::get(&pool).is_err());
        assert!(begun.elapsed() < limit + ROOM, "{:?}", begun.elapsed());
        // A caller's own patience.
        thread::sleep(ms(5));
    }
    let tried = proxy.accepted() - before;
    let few = 20 + 5 * down.elapsed().as_secs() as usize;
    assert!(tried <= few, "{tried} connects in {outage:?}");
    proxy.set(Mode::Pass);
    let healed = Watch::start();
    let mut conn = loop {
        match F::get(&pool) {
            Ok(conn) => break conn,
            Err(_) => thread::sleep(ms(5)),
        }
    };
    assert!(healed.elapsed() < ms(1000) + ROOM, "{:?}", healed.elapsed());
    F::echo(&mut conn).unwrap();
    drop(conn);
    eventually("all are open again", || pool.stats().idle == 4);
}

/// deadpool #201: a restart of the database has all cores spin. Here a minute without a server
/// passes on a mocked clock: connects are tried once or twice a second, and the first after its
/// return succeeds.
fn row_26_a_server_that_is_down_is_tried_seldom_and_back_in_use_within_a_second<F: Face>() {
    const STEP: Duration = ms(10);
    let _inside = runtime().enter();
    let (clock, hand) = Clock::mock();
    let server = Server::start();
    let wire = Wire::to(server.address());
    let pool = F::pool(&wire, 4, |builder| {
        builder.manual_maintenance().clock(clock).checkout_timeout(Duration::MAX)
    });
    let mut held: Vec<_> = (0..4).map(|_| pool.try_get().unwrap()).collect();
    server.refuse();
    server.kill_sessions();
    assert!(held.iter_mut().all(|conn| F::echo(conn).is_err()));
    drop(held);
    let mut caller = Box::pin(pool.get_async());
    assert!(poll_once(&mut caller).is_pending());
    let before = wire.0.attempts.load(SeqCst);
    for _ in 0..6000 {
        hand.advance(STEP);
        pool.maintain();
    }
    let tried = wire.0.attempts.load(SeqCst) - before;
    assert!((60..=150).contains(&tried), "{tried} connects in a minute");
    assert!(poll_once(&mut caller).is_pending());
    server.reopen();
    let served = (0..100).find_map(|_| {
        hand.advance(STEP);
        pool.maintain();
        match poll_once(&mut caller) {
            Poll::Ready(conn) => Some(conn.unwrap()),
            Poll::Pending => None,
        }
    });
    F::echo(&mut served.expect("served within a second")).unwrap();
    pool.maintain();
    assert_eq!(pool.stats().idle, 4);
}

/// deadpool #191, materialize PR38050: a drained node kills many connections, and all callers meet
/// them one by one. Here the first to meet one has the others pinged before they are lent.
fn row_27_half_the_connections_cut_cost_no_caller_more_than_one_failed_use<F: Face>() {
    const SIZE: usize = 64;
    const CONNECT: Duration = ms(20);
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let wire = Wire::to(proxy.address());
    let pool = F::pool(&wire, SIZE, |builder| builder.health(PingAfterFailure));
    server.hello_takes(CONNECT);
    let (uses, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let call = || {
        let (mut failed, mut waits) = (0, Vec::new());
        while !is_over.load(SeqCst) {
            let begun = Watch::start();
            let mut conn = F::get(&pool).unwrap();
            waits.push(begun.elapsed());
            failed += usize::from(F::echo(&mut conn).is_err());
            drop(conn);
            uses.fetch_add(1, SeqCst);
        }
        (failed, waits)
    };
    let ended: Vec<_> = thread::scope(|scope| {
        let _end = Ends(&is_over);
        let callers: Vec<_> = (0..16).map(|_| scope.spawn(call)).collect();
        eventually("all are at work", || uses.load(SeqCst) > 500);
        assert_eq!(proxy.cut_where(|link| link % 2 == 0), SIZE / 2);
        let then = uses.load(SeqCst);
        eventually("they have gone on", || uses.load(SeqCst) > then + 2000);
        is_over.store(true, SeqCst);
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let failed: Vec<usize> = ended.iter().map(|(failed, _)| *failed).collect();
    assert!(failed.iter().all(|failed| *failed <= 1), "{failed:?}");
    let mut waits: Vec<_> = ended.into_iter().flat_map(|(_, waits)| waits).collect();
    waits.sort_unstable();
    let (p99, longest) = (waits[waits.len() * 99 / 100], waits[waits.len() - 1]);
    assert!(p99 < 2 * CONNECT + ms(200) && longest < ms(1000), "p99 {p99:?}, max {longest:?}");
    // What is missing is opened as fast as may be: eight times four connects.
    let begun = Watch::start();
    let mut all = F::get_all(&pool);
    assert!(begun.elapsed() < 8 * CONNECT + ROOM, "{:?}", begun.elapsed());
    // By now nobody is deceived, not even about those that lay idle all the time.
    assert!(all.iter_mut().all(|conn| F::echo(conn).is_ok()));
    let mut failed_pings = wire.0.failed_pings.lock().unwrap().clone();
    failed_pings.sort_unstable();
    let pings = failed_pings.len();
    failed_pings.dedup();
    assert_eq!(failed_pings.len(), pings, "a dead connection was pinged twice");
    assert_eq!(failed.iter().sum::<usize>() + pings, SIZE / 2);
    let answered = server.tally().pings.load(SeqCst);
    // One clears a connection, until another failure is met later.
    assert!(answered <= 4 * SIZE, "{answered} pings in {} uses", uses.load(SeqCst));
}

/// pgx #948, #1354: a goodbye to a dead peer blocks its slot. Here the server never hangs up.
fn row_28_a_close_that_hangs_gives_its_slot_back_at_its_limit<F: Face>() {
    const LIMIT: Duration = ms(200);
    let server = Server::start();
    let pool = F::pool(&Wire::to(server.address()), 4, |builder| builder.close_timeout(LIMIT));
    let held = F::get_all(&pool);
    server.behave_where(Behaviour::Mute, |_| true);
    let begun = Watch::start();
    held.into_iter().for_each(PooledConnection::discard);
    let mut all = F::get_all(&pool);
    assert!(begun.elapsed_for_all() > LIMIT / 2, "no close has hung");
    assert!(begun.elapsed() < LIMIT + ROOM, "{:?}", begun.elapsed());
    assert!(all.iter_mut().all(|conn| F::echo(conn).is_ok()));
}

/// The same threads, and a driver that takes no limit: the slot is lost for as long as the close
/// lasts, but no other close has to wait for it, though only one may be under way at once.
#[test]
fn row_28_a_close_that_heeds_no_limit_holds_up_no_other() {
    let server = Server::start();
    let wire = Wire::to(server.address());
    wire.0.ignores_deadlines.store(true, SeqCst);
    let pool = <Wire as Face>::pool(&wire, 4, |builder| {
        builder.close_timeout(ms(100)).maintenance_concurrency(1)
    });
    let mut held = <Wire as Face>::get_all(&pool);
    let mute = held[0].session;
    server.behave_for(mute, Behaviour::Mute);
    let begun = Watch::start();
    held.drain(..3).for_each(PooledConnection::discard);
    let others: Vec<_> = (0..2).map(|_| pool.get().unwrap()).collect();
    assert!(begun.elapsed() < ms(100) + ROOM, "{:?}", begun.elapsed());
    assert!(pool.get_timeout(ms(20)).is_err(), "the slot of the mute one is not free");
    server.kill_sessions_where(|session| session == mute);
    assert!(pool.get().is_ok());
    drop(others);
}

/// sqlx #4349: a guard dropped on a silently dead peer never comes back, and its permit is gone.
/// Here twice as many as there are slots are dropped in open transactions that nobody will ever
/// roll back.
fn row_29_guards_dropped_on_a_mute_server_come_back_within_the_reset_limit<F: Face>() {
    const RESET: Duration = ms(300);
    const CLOSE: Duration = ms(100);
    let server = Server::start();
    let pool = F::pool(&Wire::to(server.address()), 4, |builder| {
        builder.reset_timeout(RESET).close_timeout(CLOSE)
    });
    for _ in 0..2 {
        let mut held = F::get_all(&pool);
        held.iter_mut().for_each(|conn| F::tell(conn, "begin").unwrap());
        // Present sessions go mute; new ones will answer.
        server.behave_where(Behaviour::Mute, |_| true);
        let begun = Watch::start();
        drop(held);
        assert!(begun.elapsed() < RESET / 2, "a drop waits: {:?}", begun.elapsed());
        let mut fresh = F::get_all(&pool);
        assert!(begun.elapsed() < RESET + CLOSE + ROOM, "{:?}", begun.elapsed());
        // A transaction left open would refuse a second one.
        fresh.iter_mut().for_each(|conn| F::tell(conn, "begin").unwrap());
    }
    let causes = pool.stats().evictions;
    assert_eq!((causes.by(EvictionCause::ResetFailed), causes.total()), (8, 8));
    eventually("the last are reset", || pool.stats().idle == 4);
    assert_eq!(server.tally().rollbacks.load(SeqCst), 8);
}

/// pgx #2394, and bb8: a ping of a mute connection takes the caller's whole time, and then the
/// connection goes back as healthy. Here it takes its limit, once.
fn row_30_one_mute_connection_delays_one_caller_by_one_ping_and_is_lent_to_none<F: Face>() {
    const PING: Duration = ms(200);
    let server = Server::start();
    let wire = Wire::to(server.address());
    let pool = F::pool(&wire, 10, |builder| {
        builder.ping_timeout(PING).close_timeout(PING).health(PingOnBorrow::always())
    });
    let mute = F::get(&pool).unwrap().session;
    server.behave_for(mute, Behaviour::Mute);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let begun = Watch::start();
                    let mut conn = F::get(&pool).unwrap();
                    assert!(begun.elapsed() < PING + ROOM, "{:?}", begun.elapsed());
                    assert_ne!(conn.session, mute);
                    F::echo(&mut conn).unwrap();
                }
            });
        }
    });
    // On a busy machine others may be late, too.
    let failed = wire.0.failed_pings.lock().unwrap().clone();
    assert_eq!(failed.iter().filter(|session| **session == mute).count(), 1, "{failed:?}");
    assert_eq!(pool.stats().evictions.by(EvictionCause::PingFailed) as usize, failed.len());
    eventually("it has been replaced", || pool.stats().idle == 10);
}

/// Whether the server's refusal is what all this comes from.
fn is_denied(error: &(dyn Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(WireError::Denied)) || error.source().is_some_and(is_denied)
}

/// r2d2 #51, bb8 #102, #141: a wrong password looks like a timeout. Here it is in the chain of
/// every error.
fn row_33_a_wrong_password_is_told_at_once_at_the_start_and_later<F: Face>() {
    let server = Server::start();
    let wire = Wire::to(server.address());
    wire.set_password("wrong");
    let begun = Watch::start();
    let error = F::builder(&wire).min_size(1).wait_ready(PLENTY).build().unwrap_err();
    assert!(is_denied(&error), "{error}");
    let pool = F::builder(&wire).max_size(4).build().unwrap();
    let error = F::get(&pool).unwrap_err();
    assert!(matches!(error, GetError::Connect { .. }) && is_denied(&error), "{error}");
    assert!(begun.elapsed() < ms(1000) + ROOM, "{:?}", begun.elapsed());

    wire.set_password(PASSWORD);
    eventually("the right one is tried", || F::get(&pool).is_ok());
    let held = F::get_all(&pool);
    server.set_password("changed");
    thread::scope(|scope| {
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(|| F::get(&pool))).collect();
        // In line, not only on their way there.
        eventually("all stand in line", || pool.stats().waiter_nodes == 8);
        let begun = Watch::start();
        held.into_iter().for_each(PooledConnection::discard);
        for caller in callers {
            let error = caller.join().unwrap().unwrap_err();
            assert!(is_denied(&error), "{error}");
        }
        assert!(begun.elapsed() < ROOM, "{:?}", begun.elapsed());
    });
    wire.set_password("changed");
    eventually("the new one is tried", || F::get(&pool).is_ok());
}

/// deadpool #395: a dead connection is lent in silence. The README says which strategy finds what;
/// whatever a use finds is never lent again.
fn row_34_a_connection_closed_by_the_server_is_noticed_as_the_table_of_strategies_says<F: Face>() {
    let none: Box<dyn HealthStrategy> = Box::new(());
    // Failed uses: by the first borrower, then by four at once.
    let table = [
        (none, 1, 3),
        (Box::new(PingAfterFailure), 1, 0),
        (Box::new(PingOnBorrow::always()), 0, 0),
        (Box::new(PeriodicSweep::default()), 0, 0),
    ];
    for (row, (strategy, first, others)) in table.into_iter().enumerate() {
        let server = Server::start();
        let wire = Wire::to(server.address());
        let pool = F::pool(&wire, 4, |builder| builder.health(strategy));
        drop(F::get_all(&pool));
        server.kill_sessions();
        pool.sweep();
        // Only one of the strategies pings during a sweep.
        eventually("the sweep is over", || pool.stats().ping_failures == [0, 0, 0, 4][row]);
        let mut conn = F::get(&pool).unwrap();
        assert_eq!(usize::from(F::echo(&mut conn).is_err()), first, "row {row}");
        drop(conn);
        for failures in [others, 0] {
            let mut all = F::get_all(&pool);
            let failed = all.iter_mut().filter_map(|conn| F::echo(conn).err()).count();
            assert_eq!(failed, failures, "row {row}");
        }
        assert_eq!(pool.stats().evictions.by(EvictionCause::Broken) as usize, first + others);
    }
}

/// Polls so often at most.
async fn at_most<F: Future>(mut polls: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match polls.checked_sub(1) {
        None => Poll::Ready(None),
        Some(left) => {
            polls = left;
            match future.as_mut().poll(cx) {
                Poll::Pending if left == 0 => Poll::Ready(None),
                poll => poll.map(Some),
            }
        }
    })
    .await
}

/// mobc #28, redis-rs #1252, bb8 #246: answers belong to an earlier, cancelled request. Here each
/// request has a number, one in ten is dropped at a random poll, and every answer is the right one.
#[test]
fn row_47_no_answer_belongs_to_a_request_that_was_cancelled() {
    let begun = Instant::now();
    let count = cancel_at_random(move |_| begun.elapsed() < ms(1500));
    assert!(count > 1000, "{count} operations");
}

#[test]
#[ignore = "soak: takes 60 s"]
fn row_47_soak_no_answer_of_a_million_belongs_to_a_request_that_was_cancelled() {
    cancel_at_random(|n| n < 1_000_000);
}

fn cancel_at_random(goes_on: impl Fn(u64) -> bool + Clone + Send + 'static) -> u64 {
    let server = Server::start();
    let pool = <AsyncWire as Face>::pool(&Wire::to(server.address()), 8, |builder| builder);
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (1..=8u64)
        .map(|seed| {
            let (pool, next, goes_on) = (pool.clone(), next.clone(), goes_on.clone());
            let mut chance = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            runtime().spawn(async move {
                loop {
                    let n = next.fetch_add(1, SeqCst);
                    if !goes_on(n) {
                        return;
                    }
                    chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let draw = chance >> 33;
                    let operation = async {
                        let mut conn = pool.get_async().await.expect("a connection");
                        conn.echo(n).await.expect("the right answer");
                    };
                    let polls = if draw % 10 == 0 { 1 + draw / 10 % 2 } else { u64::MAX };
                    at_most(polls, operation).await;
                }
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| runtime().block_on(task).unwrap());
    let broken = pool.stats().evictions.by(EvictionCause::Broken);
    assert!(broken > 50, "only {broken} requests were cancelled half-way");
    eventually("all are open again", || pool.stats().idle == 8);
    next.load(SeqCst)
}

/// A client that knows nothing of pools.
struct Client(TcpStream);

impl Client {
    fn to(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).unwrap())
    }

    fn hears(&mut self, for_so_long: Duration) -> io::Result<String> {
        let mut bytes = [0; 64];
        self.0.set_read_timeout(Some(for_so_long))?;
        let length = self.0.read(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes[..length]).into())
    }

    fn asks(&mut self, request: &str) -> io::Result<String> {
        self.0.write_all(format!("{request}\n").as_bytes())?;
        self.hears(PLENTY)
    }

    fn meets_silence(&mut self) -> bool {
        self.0.write_all(b"ping\n").unwrap();
        self.hears(ms(30)).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    fn is_reset(&mut self) -> bool {
        self.hears(PLENTY).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    }
}

fn is_refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn the_server_misbehaves_as_it_is_told_and_keeps_true_books() {
    let server = Server::start();
    let hello = format!("hello {PASSWORD}");
    let [mut zero, mut one] = [0, 1].map(|id| {
        let mut client = Client::to(server.address());
        assert_eq!(client.asks(&hello).unwrap(), format!("welcome {id}\n"));
        client
    });
    let talk = [("ping", "pong"), ("echo 7", "7"), ("begin", "ok"), ("begin", "error")];
    for (request, reply) in talk.into_iter().chain([("rollback", "ok"), ("work 1", "ok")]) {
        assert_eq!(zero.asks(request).unwrap(), format!("{reply}\n"));
    }
    server.behave(Behaviour::Slow(ms(40)));
    let begun = Instant::now();
    assert_eq!(zero.asks("ping").unwrap(), "pong\n");
    assert!(begun.elapsed() >= ms(40));
    server.behave(Behaviour::Mute);
    server.behave_for(1, Behaviour::HalfReply);
    assert!(zero.meets_silence());
    assert_eq!(one.asks("ping").unwrap(), "po");
    assert!(one.meets_silence());
    server.behave_for(1, Behaviour::Reset);
    one.0.write_all(b"p").unwrap();
    assert!(one.is_reset());
    server.behave(Behaviour::BadAuth);
    assert_eq!(Client::to(server.address()).asks(&hello).unwrap(), "denied\n");
    server.behave(Behaviour::Ok);
    assert_eq!(Client::to(server.address()).asks("hello open").unwrap(), "denied\n");

    server.refuse();
    assert!(is_refused(server.address()));
    assert_eq!(zero.asks("ping").unwrap(), "pong\n", "sessions go on");
    server.reopen();
    let mut four = Client::to(server.address());
    assert_eq!(four.asks(&hello).unwrap(), "welcome 4\n");
    assert_eq!(server.kill_sessions_where(|id| id == 0), 1);
    assert_eq!(zero.hears(PLENTY).unwrap(), "", "an end");
    eventually("the denied are gone", || server.tally().open.load(SeqCst) == 1);
    let tally = server.tally();
    let [accepted, commands, pings, rollbacks] =
        [&tally.accepted, &tally.commands, &tally.pings, &tally.rollbacks].map(|n| n.load(SeqCst));
    assert_eq!((accepted, commands, pings, rollbacks), (5, 13, 3, 1));
    assert!((2..=5).contains(&tally.most_open.load(SeqCst)));
    // It ends at once whatever its sessions are about.
    server.behave(Behaviour::Slow(Duration::from_secs(3600)));
    four.0.write_all(b"ping\n").unwrap();
    let begun = Watch::start();
    drop(server);
    assert!(begun.elapsed() < ROOM);
}

#[test]
fn the_proxy_delays_loses_and_cuts_as_it_is_told() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let hello = format!("hello {PASSWORD}");
    let open = || {
        let mut client = Client::to(proxy.address());
        assert!(client.asks(&hello).unwrap().starts_with("welcome"));
        client
    };
    let mut first = open();
    proxy.set(Mode::Delay(ms(20)));
    let begun = Instant::now();
    assert_eq!(first.asks("ping").unwrap(), "pong\n");
    assert!(begun.elapsed() >= ms(40), "there and back");
    proxy.set(Mode::Drop);
    let mut second = Client::to(proxy.address());
    assert!(first.meets_silence() && second.meets_silence());
    proxy.set(Mode::Pass);
    assert!(first.meets_silence() && second.meets_silence(), "what was lost stays lost");
    drop((first, second));
    eventually("hanging up gets through", || server.tally().open.load(SeqCst) == 0);
    eventually("the links are gone", || proxy.links() == 0);

    let [mut third, mut fourth] = [open(), open()];
    assert_eq!(proxy.cut_where(|link| link == 2), 1);
    assert!(third.is_reset());
    eventually("at both ends", || server.tally().open.load(SeqCst) == 1);
    proxy.refuse();
    assert!(is_refused(proxy.address()));
    assert_eq!(fourth.asks("ping").unwrap(), "pong\n", "links go on");
    proxy.reopen();
    server.refuse();
    assert!(Client::to(proxy.address()).is_reset(), "there is nobody to pass it on to");
    assert_eq!((proxy.cut(), proxy.links(), proxy.accepted()), (1, 0, 5));
    assert!(fourth.is_reset());
}
