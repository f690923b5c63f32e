//! The Redis adapters, and what a network has in store: names with several addresses, servers that
//! come to rest or hang up while a connection lies idle.
#![cfg(all(feature = "redis", feature = "redis-tokio"))]

use crate::common::redis_faces::*;
use crate::common::resp::Resp;
use crate::common::servers::redis::Redis;
use crate::common::{PLENTY, eventually};
use caliburn::adapters::redis::AsyncRedisManager;
use caliburn::health::{PingAfterFailure, PingOnBorrow};
use caliburn::{Builder, HealthStrategy, Pool};
use redis::io::AsyncDNSResolver;
use redis::{RedisFuture, cmd};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Instant;

fn builder<A: Adapter>(url: &str) -> Builder<A::Manager> {
    A::builder(A::manager(url, &nothing(), PLENTY).unwrap())
}

// ---------------------------------------------------------------------------- several addresses

struct These(Vec<SocketAddr>);

impl AsyncDNSResolver for These {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _: &'b str,
        _: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async { Ok(Box::new(self.0.iter().copied()) as Box<_>) })
    }
}

#[test]
fn an_address_that_is_mute_or_silent_costs_tasks_a_head_start() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = Resp::start();
    // Set aside for documents: nobody is there.
    let silent = "192.0.2.1:6379".parse().unwrap();
    let addresses = vec![mute.local_addr().unwrap(), silent, good.address];
    let manager = AsyncRedisManager::new("redis://several.example/").unwrap();
    let manager = manager.resolver(These(addresses)).runtime(runtime().handle().clone());
    let pool = Pool::builder_async(manager).connect_timeout(PLENTY).build().unwrap();
    let begun = Instant::now();
    drop(pool.get_timeout(PLENTY).unwrap());
    let first = begun.elapsed();
    assert!(first < ms(3000), "{first:?}");
    drop(mute);
}

// ----------------------------------------------------------------------- dead while they lay idle

/// Loans of sessions that the server has ended, in turn and all at once: how many are dead.
fn dead_loans<A: Adapter>(
    size: usize,
    strategy: Box<dyn HealthStrategy>,
    url: &str,
    end: &mut dyn FnMut(),
) -> usize {
    let pool = builder::<A>(url)
        .max_size(size)
        .min_size(size)
        .health(strategy)
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    let mut dead = 0;
    for at_once in [false, true] {
        let all: Vec<_> = (0..size).map(|_| pool.get_timeout(PLENTY).unwrap()).collect();
        drop(all);
        eventually("all are idle", || pool.stats().idle == size);
        end();
        thread::sleep(ms(500));
        let mut held = Vec::new();
        for _ in 0..size {
            let mut conn = pool.get_timeout(PLENTY).unwrap();
            dead += usize::from(A::ask(&mut conn, cmd("ECHO").arg("alive")).is_err());
            if at_once {
                held.push(conn);
            }
        }
    }
    dead
}

fn no_dead_session_is_lent<A: Adapter>(protocol: &str) {
    for size in [8, 32] {
        let strategies: [fn() -> Box<dyn HealthStrategy>; 3] =
            [|| Box::new(()), || Box::new(PingAfterFailure), || Box::new(PingOnBorrow::default())];
        for (n, strategy) in strategies.into_iter().enumerate() {
            let server = Redis::start(&[]);
            let mut eye = server.eye();
            let mut kill = || {
                let answer = eye.ask("CLIENT KILL TYPE normal SKIPME yes");
                assert_eq!(answer, format!(":{size}"));
            };
            let url = format!("{}{protocol}", server.url());
            let dead = dead_loans::<A>(size, strategy(), &url, &mut kill);
            assert_eq!(dead, 0, "{size} sessions, strategy {n}");
        }
    }
}

#[test]
#[ignore = "needs Redis (redis-server)"]
fn threads_are_lent_no_session_that_the_server_has_ended() {
    no_dead_session_is_lent::<Threads>("");
    no_dead_session_is_lent::<Threads>("?protocol=resp3");
}

#[test]
#[ignore = "needs Redis (redis-server)"]
fn tasks_are_lent_no_session_that_the_server_has_ended() {
    no_dead_session_is_lent::<Tasks>("");
    no_dead_session_is_lent::<Tasks>("?protocol=resp3");
}

fn a_restart_costs_no_command<A: Adapter>() {
    let mut server = Redis::start(&[]);
    let url = server.url();
    let mut restart = || server.restart();
    assert_eq!(dead_loans::<A>(8, Box::new(()), &url, &mut restart), 0);
}

#[test]
#[ignore = "needs Redis (redis-server)"]
fn a_restart_while_all_are_idle_costs_threads_no_command() {
    a_restart_costs_no_command::<Threads>();
}

#[test]
#[ignore = "needs Redis (redis-server)"]
fn a_restart_while_all_are_idle_costs_tasks_no_command() {
    a_restart_costs_no_command::<Tasks>();
}

// ------------------------------------------------------------------------------------ Unix sockets

fn over_a_unix_socket<A: Adapter>() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let server = Redis::start(&["--unixsocket", path.to_str().unwrap()]);
    let pool = builder::<A>(&format!("unix://{}", path.display()))
        .max_size(1)
        .ping_timeout(ms(300))
        .close_timeout(ms(300))
        .connect_timeout(ms(600))
        .health(PingOnBorrow::always())
        .build()
        .unwrap();
    drop(pool.get_timeout(PLENTY).unwrap());
    server.freeze();
    let begun = Instant::now();
    assert!(pool.get_timeout(ms(1000)).is_err());
    assert!(begun.elapsed() < ms(1500), "{:?}", begun.elapsed());
    server.thaw();
    let mut conn = pool.get_timeout(PLENTY).unwrap();
    assert_eq!(A::ask(&mut conn, cmd("ECHO").arg("mine")).unwrap(), "mine");
    drop(conn);
    // Seen without a ping.
    server.eye().ask("CLIENT KILL TYPE normal SKIPME yes");
    thread::sleep(ms(20));
    let before = pool.stats().ping_failures;
    let mut conn = pool.get_timeout(PLENTY).unwrap();
    assert_eq!(A::ask(&mut conn, cmd("ECHO").arg("mine")).unwrap(), "mine");
    assert!(pool.stats().ping_failures <= before + 1);
}

#[test]
#[ignore = "needs Redis (redis-server)"]
fn limits_hold_over_a_unix_socket_for_threads() {
    over_a_unix_socket::<Threads>();
}

#[test]
#[ignore = "needs Redis (redis-server)"]
fn limits_hold_over_a_unix_socket_for_tasks() {
    over_a_unix_socket::<Tasks>();
}
