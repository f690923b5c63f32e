//! A primary and two replicas that follow it: killed, promoted, lagging.
#![cfg(all(feature = "postgres", feature = "tokio-postgres"))]

use crate::common::pg::{Driver, RUNTIME, both};
use crate::common::servers::postgres::Postgres;
use crate::common::{Ends, PLENTY, eventually};
use caliburn::adapters::postgres::{AsyncPostgresManager, PostgresManager};
use caliburn::{Role, Router, RouterBuilder, Target, router::EndpointState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// Connections of an endpoint.
const MOST: usize = 10;

/// As most routers have it.
const INTERVAL: Duration = Duration::from_secs(1);

/// The servers, the first of which is the primary, with the table `song` in them.
struct Cluster<D: Driver> {
    servers: Vec<Postgres>,
    router: Router<D>,
}

impl<D: Driver> Cluster<D> {
    fn start(more: impl FnOnce(RouterBuilder<D>) -> RouterBuilder<D>) -> Self {
        let primary = Postgres::start(&["max_wal_senders=8", "hot_standby=on"]);
        primary.ask("CREATE TABLE song (id BIGSERIAL, title TEXT)");
        let replicas = [primary.standby(), primary.standby()];
        let servers: Vec<_> = [primary].into_iter().chain(replicas).collect();
        let mut builder = Router::builder().checkout_timeout(PLENTY);
        for (n, server) in servers.iter().enumerate() {
            builder = builder
                .endpoint(format!("db{}", n + 1), D::open(&server.dsn()).builder().max_size(MOST));
        }
        let cluster = Self { servers, router: more(builder).build().unwrap() };
        eventually("all have told their roles", || {
            let role = |n| cluster.role(n);
            (role(0), role(1), role(2)) == (Role::Primary, Role::Replica, Role::Replica)
        });
        cluster
    }

    fn role(&self, n: usize) -> Role {
        self.router.stats().endpoints[n].role
    }

    fn state(&self, n: usize) -> EndpointState {
        self.router.stats().endpoints[n].state
    }

    fn ask(&self, target: Target, sql: &str) -> Result<Option<String>, tokio_postgres::Error> {
        D::ask(&mut self.router.get(target).expect("a get does not fail"), sql)
    }

    fn write(&self) -> Result<(), tokio_postgres::Error> {
        self.ask(Target::Primary, "INSERT INTO song (title) VALUES ('x')").map(drop)
    }
}

both! {
    #[ignore = "needs PostgreSQL (initdb, postgres, pg_basebackup)"]
    fn writes_go_to_the_primary_and_reads_to_the_replicas<D: Driver>() {
        let cluster = Cluster::<D>::start(|builder| builder);
        let recovers = "SELECT pg_is_in_recovery()";
        for _ in 0..20 {
            cluster.write().unwrap();
            assert_eq!(cluster.ask(Target::Replica, recovers).unwrap().as_deref(), Some("t"));
            assert_eq!(cluster.ask(Target::Primary, recovers).unwrap().as_deref(), Some("f"));
        }
    }

    #[ignore = "needs PostgreSQL (initdb, postgres, pg_basebackup)"]
    fn when_the_primary_is_killed_and_a_replica_promoted_writes_go_there<D: Driver>() {
        let mut cluster = Cluster::<D>::start(|builder| builder);
        let primary = &mut cluster.servers[0];
        primary.kill();
        let router = &cluster.router;
        let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            let _end = Ends(&stop);
            for _ in 0..4 {
                scope.spawn(|| while !stop.load(SeqCst) {
                    // They wait out the time in which there is no primary.
                    let mut client = router.get(Target::Primary).expect("a get does not fail");
                    let insert = "INSERT INTO song (title) VALUES ('y')";
                    if D::ask(&mut client, insert).is_ok() {
                        written.fetch_add(1, SeqCst);
                    }
                });
            }
            eventually("it is left out", || {
                router.stats().endpoints[0].state == EndpointState::Out
            });
            cluster.servers[1].promote();
            let promoted = Instant::now();
            let before = written.load(SeqCst);
            eventually("writes go on", || written.load(SeqCst) > before);
            let took = promoted.elapsed();
            println!("{} writes again {took:?} after the promotion", written.load(SeqCst));
            assert!(took < INTERVAL + Duration::from_millis(500), "{took:?}");
            stop.store(true, SeqCst);
        });
        assert_eq!(cluster.role(1), Role::Primary);
        // It comes back and takes itself for the primary, of an earlier timeline.
        cluster.servers[0].restart();
        eventually("it is back", || cluster.state(0) == EndpointState::Up);
        assert_eq!(cluster.role(0), Role::Primary);
        for _ in 0..20 {
            let lent = cluster.router.get(Target::Primary).unwrap();
            assert_eq!(cluster.router.endpoint_of(&lent).as_deref(), Some("db2"));
        }
    }

    #[ignore = "needs PostgreSQL (initdb, postgres, pg_basebackup)"]
    fn a_write_that_a_read_only_server_refuses_has_the_roles_asked_at_once<D: Driver>() {
        // By itself it would ask tomorrow.
        let seldom = Duration::from_secs(24 * 60 * 60);
        let cluster = Cluster::<D>::start(|builder| builder.probe_interval(seldom));
        cluster.servers[1].promote();
        cluster.servers[0].ask("ALTER SYSTEM SET default_transaction_read_only = on");
        cluster.servers[0].ask("SELECT pg_reload_conf()");
        let mut first_refused = None;
        let begun = Instant::now();
        while begun.elapsed() < PLENTY {
            match cluster.write() {
                Err(error) if error.code().map(|code| code.code()) == Some("25006") => {
                    first_refused.get_or_insert_with(Instant::now);
                }
                Err(error) => panic!("{error}"),
                Ok(()) if first_refused.is_some() => break,
                Ok(()) => {}
            }
        }
        let took = first_refused.expect("a write is refused").elapsed();
        println!("writes again {took:?} after the first that was refused");
        assert!(took < INTERVAL, "{took:?}");
        let roles = (cluster.role(0), cluster.role(1));
        assert_eq!(roles, (Role::Replica, Role::Primary));
    }

    #[ignore = "needs PostgreSQL (initdb, postgres, pg_basebackup)"]
    fn a_replica_that_lags_is_left_out_until_it_has_caught_up<D: Driver>() {
        let limit = Duration::from_millis(500);
        let cluster = Cluster::<D>::start(|builder| builder.max_lag(limit));
        let write_until = |what: &str, is_so: &dyn Fn() -> bool| {
            eventually(what, || {
                cluster.write().unwrap();
                is_so()
            });
        };
        // Its replay is paused.
        cluster.servers[1].ask("SELECT pg_wal_replay_pause()");
        write_until("it lags", &|| cluster.state(1) == EndpointState::Lagging);
        for _ in 0..20 {
            let lent = cluster.router.get(Target::Replica).unwrap();
            assert_eq!(cluster.router.endpoint_of(&lent).as_deref(), Some("db3"));
        }
        cluster.servers[1].ask("SELECT pg_wal_replay_resume()");
        write_until("it has caught up", &|| cluster.state(1) == EndpointState::Up);
        // It is told to stay behind.
        cluster.servers[2].ask("ALTER SYSTEM SET recovery_min_apply_delay = '5s'");
        cluster.servers[2].ask("SELECT pg_reload_conf()");
        write_until("it lags", &|| cluster.state(2) == EndpointState::Lagging);
        assert!(cluster.router.stats().endpoints[2].lag.unwrap() > limit);
        cluster.servers[2].ask("ALTER SYSTEM RESET recovery_min_apply_delay");
        cluster.servers[2].ask("SELECT pg_reload_conf()");
        write_until("it has caught up", &|| cluster.state(2) == EndpointState::Up);
        // Where nothing is written, no replica falls behind.
        thread::sleep(4 * limit);
        assert_eq!((cluster.state(1), cluster.state(2)), (EndpointState::Up, EndpointState::Up));
    }

    #[ignore = "needs PostgreSQL (initdb, postgres, pg_basebackup)"]
    fn no_get_fails_while_replicas_are_killed_frozen_and_come_back<D: Driver>() {
        let mut cluster = Cluster::<D>::start(|builder| builder);
        let Cluster { servers, router } = &mut cluster;
        let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let failed = AtomicUsize::new(0);
        thread::scope(|scope| {
            let _end = Ends(&stop);
            for _ in 0..8 {
                scope.spawn(|| while !stop.load(SeqCst) {
                    let mut client = router.get(Target::Replica).expect("a get does not fail");
                    match D::ask(&mut client, "SELECT count(*) FROM song") {
                        Ok(_) => done.fetch_add(1, SeqCst),
                        Err(_) => failed.fetch_add(1, SeqCst),
                    };
                });
            }
            let state = |n: usize| router.stats().endpoints[n].state;
            for round in 0..2 {
                let victim = 1 + round % 2;
                let lent = || router.stats().endpoints[victim].pool.lent;
                let before = failed.load(SeqCst);
                servers[victim].kill();
                eventually("it is left out", || state(victim) == EndpointState::Out);
                let so_far = done.load(SeqCst);
                eventually("others go on", || done.load(SeqCst) > so_far + 100);
                let lost = failed.load(SeqCst) - before;
                println!("{lost} queries failed; {} lent there now", lent());
                // A connection fails one borrower: the one that has it, or the one that is lent it
                // while its server is being killed.
                assert!(lost <= MOST, "{lost} queries failed");
                servers[victim].restart();
                eventually("it is back", || state(victim) == EndpointState::Up);
            }
            servers[1].freeze();
            eventually("it is left out", || state(1) == EndpointState::Out);
            servers[1].thaw();
            eventually("it is back", || state(1) == EndpointState::Up);
            stop.store(true, SeqCst);
        });
    }
}

const TASKS: usize = 64;

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() * 99 / 100]
}

/// When a `get` began, how long it took, and whether the query failed.
type Seen = (Instant, Duration, bool);

async fn read_until(stop: &AtomicBool, router: &Router<AsyncPostgresManager>) -> Vec<Seen> {
    let mut seen = Vec::new();
    while !stop.load(SeqCst) {
        let begun = Instant::now();
        let client = router.get_async(Target::Replica).await.expect("a get does not fail");
        let took = begun.elapsed();
        let failed = client.query_one_cached("SELECT count(*) FROM song", &[]).await.is_err();
        seen.push((begun, took, failed));
    }
    seen
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres, pg_basebackup)"]
fn when_one_of_three_replicas_is_killed_under_64_tasks_only_its_loans_fail() {
    let primary = Postgres::start(&["max_wal_senders=8", "hot_standby=on", "max_connections=120"]);
    primary.ask("CREATE TABLE song (id BIGSERIAL, title TEXT)");
    let mut replicas = [primary.standby(), primary.standby(), primary.standby()];
    let mut builder = Router::builder().checkout_timeout(PLENTY);
    for (n, replica) in replicas.iter().enumerate() {
        let pool = AsyncPostgresManager::open(&replica.dsn()).builder();
        builder = builder.replica(format!("db{n}"), pool.max_size(TASKS));
    }
    let router = builder.build().unwrap();
    let stop = AtomicBool::new(false);
    let (seen, killed, most_lent) = RUNTIME.block_on(async {
        let tasks = (0..TASKS).map(|_| read_until(&stop, &router));
        let killer = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let before = router.stats().endpoints[0].pool.lent;
            let killed = Instant::now();
            tokio::task::block_in_place(|| replicas[0].kill());
            let lent = router.stats().endpoints[0].pool.lent;
            tokio::time::sleep(Duration::from_secs(2)).await;
            stop.store(true, SeqCst);
            (killed, before.max(lent))
        };
        let tasks = futures_util::future::join_all(tasks);
        let (seen, (killed, lent)) = futures_util::future::join(tasks, killer).await;
        (seen.concat(), killed, lent)
    });
    let within = |from: i64, to: i64| {
        let at = |moment: Instant| match moment.checked_duration_since(killed) {
            Some(after) => after.as_millis() as i64,
            None => -(killed.duration_since(moment).as_millis() as i64),
        };
        let window = seen.iter().filter(|(begun, ..)| (from..to).contains(&at(*begun)));
        p99(window.map(|(_, took, _)| *took).collect())
    };
    let failed = seen.iter().filter(|(.., failed)| *failed).count();
    let (before, after) = (within(-1_000, 0), within(1_000, 2_000));
    println!(
        "{failed} queries failed, {most_lent} were lent; p99 of a get {before:?} before, {:?} in \
         the first second, {after:?} in the second",
        within(0, 1_000)
    );
    assert!(failed <= TASKS / 2, "{failed} queries failed");
    // Of the calmest quarter of that second: the tests beside this one share its processors, and
    // who waited for the dead one would do so in each.
    let calmest = (4..8).map(|quarter| within(250 * quarter, 250 * (quarter + 1))).min().unwrap();
    let room = Duration::from_millis(5);
    assert!(calmest <= 3 * before + room, "{before:?} before, {calmest:?} after");
}
