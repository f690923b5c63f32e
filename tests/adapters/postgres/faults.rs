//! A PostgreSQL server that is killed, frozen, purged, exhausted and replaced under load. Each
//! scenario says what it measured.
#![cfg(all(feature = "postgres", feature = "tokio-postgres"))]

use crate::common::pg::{Driver, RUNTIME, named};
use crate::common::servers::postgres::Postgres;
use crate::common::{PLENTY, ROOM, eventually, in_child};
use caliburn::adapters::postgres::{AsyncPostgresClient, AsyncPostgresManager, PostgresManager};
use caliburn::health::{PingAfterFailure, PingOnBorrow};
use caliburn::{Builder, HealthStrategy, Pool};
use cpu_time::ProcessTime;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The figures are those of a machine that does nothing else.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What workers have seen.
#[derive(Debug, Default)]
struct Tally {
    served: AtomicU64,
    failed_gets: AtomicU64,
    failed_queries: AtomicU64,
    wrong_answers: AtomicU64,
    slowest_get: Mutex<Duration>,
    is_over: AtomicBool,
}

impl Tally {
    fn get_took(&self, time: Duration) {
        let mut slowest = self.slowest_get.lock().unwrap();
        *slowest = time.max(*slowest);
    }

    fn slowest_get(&self) -> Duration {
        *self.slowest_get.lock().unwrap()
    }
}

/// Workers that borrow, ask for a number and return, as fast as they can.
struct Load {
    tally: Arc<Tally>,
    workers: Vec<JoinHandle<()>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn of_threads(count: usize, pool: &Pool<PostgresManager>) -> Self {
        let tally = Arc::new(Tally::default());
        let worker = |worker| {
            let (pool, tally) = (pool.clone(), tally.clone());
            thread::spawn(move || {
                for n in (worker as i64 * 1_000_000).. {
                    if tally.is_over.load(SeqCst) {
                        return;
                    }
                    let begun = Instant::now();
                    let got = pool.get();
                    tally.get_took(begun.elapsed());
                    match got {
                        Ok(mut client) => tally.note(n, PostgresManager::echo(&mut client, n).ok()),
                        Err(_) => tally.failed_gets.fetch_add(1, SeqCst),
                    };
                }
            })
        };
        let workers = (0..count).map(worker).collect();
        Self { tally, workers, tasks: Vec::new() }
    }

    /// A query that is not answered within `patience` is given up by its task.
    fn of_tasks(count: usize, pool: &Pool<AsyncPostgresManager>, patience: Duration) -> Self {
        let tally = Arc::new(Tally::default());
        let worker = |worker| {
            let (pool, tally) = (pool.clone(), tally.clone());
            RUNTIME.spawn(async move {
                for n in (worker as i64 * 1_000_000).. {
                    if tally.is_over.load(SeqCst) {
                        return;
                    }
                    let begun = Instant::now();
                    let got = pool.get_async().await;
                    tally.get_took(begun.elapsed());
                    match got {
                        Ok(client) => {
                            let answer = tokio::time::timeout(patience, echo(&client, n)).await;
                            tally.note(n, answer.ok().flatten())
                        }
                        Err(_) => tally.failed_gets.fetch_add(1, SeqCst),
                    };
                }
            })
        };
        let tasks = (0..count).map(worker).collect();
        Self { tally, workers: Vec::new(), tasks }
    }

    fn served(&self) -> u64 {
        self.tally.served.load(SeqCst)
    }

    /// Waits until so many more have been served. However slow the machine is, some always are.
    fn flows(&self, more: u64) {
        let enough = self.served() + more;
        while self.served() < enough {
            let before = self.served();
            eventually("requests are served", || self.served() > before);
        }
    }

    fn end(self) -> Arc<Tally> {
        self.tally.is_over.store(true, SeqCst);
        for worker in self.workers {
            worker.join().unwrap();
        }
        for task in self.tasks {
            RUNTIME.block_on(task).unwrap();
        }
        self.tally
    }
}

impl Tally {
    fn note(&self, asked: i64, answer: Option<i64>) -> u64 {
        match answer {
            Some(answer) if answer == asked => self.served.fetch_add(1, SeqCst),
            Some(_) => self.wrong_answers.fetch_add(1, SeqCst),
            None => self.failed_queries.fetch_add(1, SeqCst),
        }
    }
}

async fn echo(client: &AsyncPostgresClient, number: i64) -> Option<i64> {
    client.query_one("SELECT $1::INT8", &[&number]).await.ok().map(|row| row.get(0))
}

/// Watches from outside how many sessions the server has for the pool, as often as it can.
struct Census {
    most: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    watcher: JoinHandle<()>,
}

impl Census {
    fn of(server: &Postgres, application: &'static str) -> Self {
        let most = Arc::new(AtomicUsize::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let dsn = format!("{} connect_timeout=1", named(server, "census"));
        let port = server.port;
        let watcher = thread::spawn({
            let (most, is_over) = (most.clone(), is_over.clone());
            move || {
                while !is_over.load(SeqCst) {
                    // A connect of the driver's costs a runtime, which is no cost of the pool's.
                    let is_up = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
                    let connect = || postgres::Client::connect(&dsn, postgres::NoTls).ok();
                    let Some(mut client) = is_up.then(connect).flatten() else {
                        thread::sleep(ms(20));
                        continue;
                    };
                    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
                    while let Ok(row) = client.query_one(sql, &[&application]) {
                        let count: i64 = row.get(0);
                        most.fetch_max(count as usize, SeqCst);
                        if is_over.load(SeqCst) {
                            break;
                        }
                        thread::sleep(ms(2));
                    }
                }
            }
        });
        Self { most, is_over, watcher }
    }

    fn end(self) -> usize {
        self.is_over.store(true, SeqCst);
        self.watcher.join().unwrap();
        self.most.load(SeqCst)
    }
}

fn tasks(
    dsn: &str,
    tune: impl FnOnce(Builder<AsyncPostgresManager>) -> Builder<AsyncPostgresManager>,
) -> Pool<AsyncPostgresManager> {
    tune(AsyncPostgresManager::open(dsn).builder()).build().unwrap()
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_killed_server_costs_one_query_per_lent_connection_and_is_back_within_two_seconds() {
    let _alone = alone();
    // The time of the whole process is measured.
    in_child("a_killed_server_costs_one_query_per_lent_connection", 4 * PLENTY, || {
        one_query_per_lent_connection_is_lost();
    });
}

fn one_query_per_lent_connection_is_lost() {
    const SLOTS: usize = 32;
    let mut server = Postgres::start(&["max_connections=60"]);
    let pool = tasks(&named(&server, "it"), |builder| builder.max_size(SLOTS).min_size(SLOTS));
    pool.ready(PLENTY).unwrap();
    let census = Census::of(&server, "it");
    let load = Load::of_tasks(256, &pool, PLENTY);
    load.flows(2_000);

    server.kill();
    eventually("all that was lent is back", || pool.stats().lent == 0);
    let (down, cpu) = (Instant::now(), ProcessTime::now());
    // That long it is down: the load itself.
    thread::sleep(ms(2_000));
    let cpu = cpu.elapsed().as_secs_f64() / down.elapsed().as_secs_f64();

    server.restart();
    let opened = Instant::now();
    load.flows(256);
    eventually("whole again", || pool.stats().size == SLOTS && pool.stats().opening == 0);
    let healthy = opened.elapsed();
    load.flows(2_000);
    let tally = load.end();
    let most = census.end();
    let stats = pool.stats();
    println!(
        "killed: {} failed queries with {SLOTS} lent, {} failed gets, whole {healthy:?} after the \
         port opened, {:.1} % of a core while down, at most {most} sessions",
        tally.failed_queries.load(SeqCst),
        tally.failed_gets.load(SeqCst),
        cpu * 100.0,
    );
    assert!(tally.failed_queries.load(SeqCst) <= SLOTS as u64);
    assert_eq!(tally.failed_gets.load(SeqCst), 0);
    assert_eq!(tally.wrong_answers.load(SeqCst), 0);
    assert!(healthy <= ms(2_000), "{healthy:?}");
    assert!(cpu < 0.05, "{cpu}");
    assert!(most <= SLOTS, "{most} sessions");
    assert_eq!((stats.size, stats.lent), (SLOTS, 0), "a slot is lost: {stats:?}");
    assert!(pool.close_within(PLENTY).is_complete());
    eventually("all sessions have ended", || server.sessions("it") == 0);
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_killed_server_costs_threads_no_more() {
    const SLOTS: usize = 8;
    let _alone = alone();
    let mut server = Postgres::start(&[]);
    let manager = PostgresManager::open(&named(&server, "it"));
    let pool = manager.builder().max_size(SLOTS).min_size(SLOTS).build().unwrap();
    pool.ready(PLENTY).unwrap();
    let census = Census::of(&server, "it");
    let load = Load::of_threads(48, &pool);
    for _ in 0..3 {
        load.flows(500);
        server.kill();
        server.restart();
    }
    let opened = Instant::now();
    load.flows(48);
    eventually("whole again", || pool.stats().size == SLOTS && pool.stats().opening == 0);
    let healthy = opened.elapsed();
    let tally = load.end();
    let most = census.end();
    println!(
        "killed three times: {} failed queries with {SLOTS} lent, {} failed gets, \
         whole {healthy:?} after",
        tally.failed_queries.load(SeqCst),
        tally.failed_gets.load(SeqCst),
    );
    assert!(tally.failed_queries.load(SeqCst) <= 3 * SLOTS as u64);
    assert_eq!(tally.failed_gets.load(SeqCst), 0);
    assert_eq!(tally.wrong_answers.load(SeqCst), 0);
    assert!(healthy <= ms(2_000), "{healthy:?}");
    assert!(most <= SLOTS, "{most} sessions");
    assert_eq!((pool.stats().size, pool.stats().lent), (SLOTS, 0));
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_frozen_server_keeps_nobody_beyond_the_limit_and_is_served_from_within_a_second_of_its_thaw() {
    const LIMIT: Duration = ms(2_000);
    let _alone = alone();
    let server = Postgres::start(&[]);
    let pool = tasks(&named(&server, "it"), |builder| {
        builder
            .max_size(16)
            .checkout_timeout(LIMIT)
            .ping_timeout(ms(500))
            .connect_timeout(ms(1_000))
    });
    pool.ready(PLENTY).unwrap();
    let census = Census::of(&server, "it");
    let load = Load::of_tasks(64, &pool, ms(3_000));
    load.flows(1_000);
    server.freeze();
    // That long it stands still: the load itself.
    thread::sleep(ms(6_000));
    let before = load.served();
    let thawed = Instant::now();
    server.thaw();
    eventually("somebody is served", || load.served() > before);
    let served = thawed.elapsed();
    eventually("nothing is stuck", || pool.stats().quarantined == 0);
    load.flows(1_000);
    let tally = load.end();
    let most = census.end();
    let slowest = tally.slowest_get();
    println!(
        "frozen: slowest get {slowest:?} with a limit of {LIMIT:?}, {} ended at it; \
         served {served:?} after the thaw; at most {most} sessions",
        tally.failed_gets.load(SeqCst)
    );
    assert!(slowest <= LIMIT + ms(100) + ROOM, "{slowest:?}");
    assert!(tally.failed_gets.load(SeqCst) > 0, "nobody waited");
    assert!(served <= ms(1_000), "{served:?}");
    assert_eq!(tally.wrong_answers.load(SeqCst), 0);
    assert!(most <= 16, "{most} sessions");
}

/// All sessions are ended at once while nobody has any; then one borrower comes, or not, and then
/// 64 at once.
fn failures_after_a_purge(strategy: impl HealthStrategy, has_forerunner: bool) -> u64 {
    const SLOTS: usize = 32;
    let _alone = alone();
    let server = Postgres::start(&["max_connections=60"]);
    let pool = tasks(&named(&server, "it"), |builder| {
        builder.max_size(SLOTS).min_size(SLOTS).health(strategy)
    });
    pool.ready(PLENTY).unwrap();
    eventually("all are there", || server.sessions("it") == SLOTS);
    // Some have been used and some have not.
    RUNTIME.block_on(async {
        for n in 0..10 {
            assert_eq!(echo(&pool.get_async().await.unwrap(), n).await, Some(n));
        }
    });
    server.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'it'",
    );
    // They end one after the other, and what has answered a moment ago is not pinged.
    let asked = Instant::now();
    eventually("all have ended", || server.sessions("it") == 0);
    eventually("no answer counts any more", || asked.elapsed() > Duration::from_millis(150));
    let forerunner = async {
        let client = pool.get_async().await.expect("a connection");
        u64::from(echo(&client, 1).await != Some(1))
    };
    let first = if has_forerunner { RUNTIME.block_on(forerunner) } else { 0 };
    let load = Load::of_tasks(64, &pool, PLENTY);
    load.flows(5_000);
    let tally = load.end();
    assert_eq!(tally.wrong_answers.load(SeqCst), 0);
    assert_eq!(pool.stats().size, SLOTS);
    first + tally.failed_gets.load(SeqCst) + tally.failed_queries.load(SeqCst)
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn sessions_ended_by_the_server_are_not_noticed_with_a_ping_before_each_loan() {
    let failures = failures_after_a_purge(PingOnBorrow::always(), false);
    println!("all 32 sessions terminated, with pings: {failures} failures");
    assert!(failures <= 1);
}

/// Of those who borrow before the first failure is known, all may meet a dead connection; so one
/// goes ahead.
#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn sessions_ended_by_the_server_cost_the_first_borrower_one_failure_with_ping_after_failure() {
    let failures = failures_after_a_purge(PingAfterFailure, true);
    println!("all 32 sessions terminated, with ping after failure: {failures} failures");
    assert!(failures <= 1);
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_server_without_room_for_more_is_asked_twice_a_second_and_idle_connections_still_flow() {
    let _alone = alone();
    let server = Postgres::start(&["max_connections=12", "superuser_reserved_connections=0"]);
    let pool = tasks(&named(&server, "it"), |builder| builder.max_size(10));
    // Others take all but four.
    let mut others: Vec<_> = (0..8)
        .map(|_| postgres::Client::connect(&named(&server, "other"), postgres::NoTls).unwrap())
        .collect();
    let load = Load::of_tasks(64, &pool, PLENTY);
    eventually("the server refuses", || pool.stats().connect_failures > 0);
    let exhausted = Instant::now();
    // The load itself: that long there is no room.
    thread::sleep(ms(5_000));
    let (before, attempts) = (load.served(), pool.stats().connect_failures);
    thread::sleep(ms(3_000));
    let attempts = (pool.stats().connect_failures - attempts) as f64 / 3.0;
    let served = (load.served() - before) as f64 / 3.0;
    println!(
        "no room: {attempts:.1} attempts/s after {:?}, {served:.0} requests/s over what there was",
        exhausted.elapsed()
    );
    assert!(pool.stats().size >= 3, "{:?}", pool.stats());
    assert!(attempts <= 2.0, "{attempts} attempts a second");
    assert!(served > 100.0, "{served} requests a second");
    others.truncate(1);
    eventually("it takes what has become free", || pool.stats().size == 10);
    let tally = load.end();
    assert_eq!(tally.failed_gets.load(SeqCst), 0);
    assert_eq!(tally.failed_queries.load(SeqCst), 0);
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn the_pool_follows_when_a_standby_takes_over() {
    let _alone = alone();
    let mut primary = Postgres::start(&["wal_level=replica"]);
    primary.ask("CREATE TABLE song (title TEXT)");
    let standby = primary.standby();
    eventually("the standby has followed", || {
        standby.ask("SELECT count(*) FROM pg_class WHERE relname = 'song'") == "1"
    });
    let dsn = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=postgres dbname=postgres application_name=it \
         target_session_attrs=read-write",
        primary.port, standby.port
    );
    let pool = tasks(&dsn, |builder| builder.max_size(8).checkout_timeout(PLENTY));
    let write = async |n: i64| {
        let client = pool.get_async().await.ok()?;
        client.execute("INSERT INTO song VALUES ($1)", &[&n.to_string()]).await.ok()
    };
    RUNTIME.block_on(async {
        for n in 0..20 {
            assert_eq!(write(n).await, Some(1));
        }
    });
    assert_eq!(standby.sessions("it"), 0, "a standby is no place to write");

    let killed = Instant::now();
    primary.kill();
    // Writers never pause, and some lose what they were at.
    let is_promoted = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            RUNTIME.block_on(async {
                loop {
                    let is_promoted = is_promoted.load(SeqCst);
                    if write(100).await == Some(1) && is_promoted {
                        return Instant::now();
                    }
                }
            })
        });
        standby.promote();
        let promoted = Instant::now();
        is_promoted.store(true, SeqCst);
        writer.join().unwrap() - promoted
    });
    println!(
        "failed over: first write {written:?} after the promotion had ended, \
         {:?} after the primary was killed",
        killed.elapsed()
    );
    assert!(written <= ms(2_000), "{written:?}");
    assert!(standby.sessions("it") > 0);
}
