//! The Redis adapters over TLS.
#![cfg(all(feature = "redis", feature = "redis-tokio"))]

mod common;

use caliburn::adapters::redis::{AsyncRedisManager, RedisManager};
use caliburn::health::PingOnBorrow;
use caliburn::{Builder, Manager, Pool, PooledConnection};
use common::servers::process::{free_port, run};
use common::servers::redis::Redis;
use common::{PLENTY, eventually};
use redis::{Cmd, RedisError, RedisResult, cmd};
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What a busy machine may add to any limit.
const ROOM: Duration = ms(500);

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().unwrap()
    })
}

/// One of the two adapters.
trait Face: 'static {
    type Manager: Manager<Error = RedisError>;

    fn builder(url: &str) -> Builder<Self::Manager>;
    fn run(conn: &mut PooledConnection<Self::Manager>, command: &Cmd) -> RedisResult<String>;
}

struct Threads;

impl Face for Threads {
    type Manager = RedisManager;

    fn builder(url: &str) -> Builder<RedisManager> {
        let manager = RedisManager::from_url(url).unwrap();
        Pool::builder(manager.response_timeout(Some(ms(700))))
    }

    fn run(conn: &mut PooledConnection<RedisManager>, command: &Cmd) -> RedisResult<String> {
        command.query(conn)
    }
}

struct Tasks;

impl Face for Tasks {
    type Manager = AsyncRedisManager;

    fn builder(url: &str) -> Builder<AsyncRedisManager> {
        let manager = AsyncRedisManager::from_url(url).unwrap().response_timeout(Some(ms(700)));
        Pool::builder_async(manager.runtime(runtime().handle().clone()))
    }

    fn run(conn: &mut PooledConnection<AsyncRedisManager>, command: &Cmd) -> RedisResult<String> {
        runtime().block_on(command.query_async(&mut **conn))
    }
}

macro_rules! for_threads_and_tasks {
    ($($(#[$attribute:meta])* $harness:ident),+ $(,)?) => {
        mod threads {
            $(#[test] $(#[$attribute])* fn $harness() { super::$harness::<super::Threads>() })+
        }
        mod tasks {
            $(#[test] $(#[$attribute])* fn $harness() { super::$harness::<super::Tasks>() })+
        }
    };
}

for_threads_and_tasks!(
    a_handshake_without_end_costs_one_connect_limit_and_no_slot,
    #[ignore = "needs Redis (redis-server) and openssl"]
    limits_hold_over_tls_and_no_dead_session_is_lent,
);

/// Mute, or one byte each 20 ms of a record that was announced.
fn a_handshake_without_end_costs_one_connect_limit_and_no_slot<F: Face>() {
    const LIMIT: Duration = ms(400);
    for trickles in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                held.push(stream.try_clone().unwrap());
                if trickles {
                    thread::spawn(move || {
                        let _ = stream.write_all(&[22, 3, 3, 0x3f, 0, 2]);
                        while stream.write_all(&[0]).is_ok() {
                            thread::sleep(ms(20));
                        }
                    });
                }
            }
        });
        let pool = F::builder(&format!("rediss://{address}/#insecure"))
            .max_size(1)
            .connect_timeout(LIMIT)
            .fail_fast(true)
            .build()
            .unwrap();
        let begun = Instant::now();
        let error = pool.get_timeout(PLENTY).map(drop).unwrap_err();
        let elapsed = begun.elapsed();
        assert!(elapsed >= LIMIT && elapsed < LIMIT + ROOM, "{elapsed:?}: {error}");
        eventually("no slot is kept", || pool.stats().quarantined + pool.stats().opening == 0);
    }
}

fn limits_hold_over_tls_and_no_dead_session_is_lent<F: Face>() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (key, certificate, port) = (path("key"), path("certificate"), free_port().to_string());
    let to = ["-keyout", &key, "-out", &certificate, "-subj", "/CN=localhost", "-days", "2"];
    let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes"];
    run(false, "openssl", &[&new[..], &to[..]].concat());
    let server = Redis::start(&[
        "--tls-port",
        &port,
        "--tls-key-file",
        &key,
        "--tls-cert-file",
        &certificate,
        "--tls-auth-clients",
        "no",
    ]);
    for protocol in ["", "?protocol=resp3"] {
        let pool = F::builder(&format!("rediss://127.0.0.1:{port}/{protocol}#insecure"))
            .max_size(2)
            .ping_timeout(ms(300))
            .connect_timeout(ms(600))
            .close_timeout(ms(300))
            .health(PingOnBorrow::skip_if_used_within(PLENTY))
            .build()
            .unwrap();
        for _ in 0..20 {
            drop((pool.get_timeout(PLENTY).unwrap(), pool.get_timeout(PLENTY).unwrap()));
            eventually("both are idle", || pool.stats().idle == 2);
            server.eye().ask("CLIENT KILL TYPE normal SKIPME yes");
            // Heard of, and idle for long enough to be looked at.
            thread::sleep(ms(50));
            let mut conn = pool.get_timeout(PLENTY).unwrap();
            assert_eq!(F::run(&mut conn, cmd("ECHO").arg("mine")).unwrap(), "mine");
        }
        let connects = pool.stats().connects;
        drop(pool.get_timeout(PLENTY).unwrap());
        thread::sleep(ms(20));
        drop(pool.get_timeout(PLENTY).unwrap());
        assert_eq!(pool.stats().connects, connects, "taken for dead");

        let mut conn = pool.get_timeout(PLENTY).unwrap();
        server.freeze();
        let begun = Instant::now();
        let error = F::run(&mut conn, cmd("ECHO").arg("mine")).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert!(begun.elapsed() < ms(700) + ROOM, "{:?}", begun.elapsed());
        drop(conn);
        assert!(pool.get_timeout(ms(900)).is_ok() || begun.elapsed() < ms(1600) + 2 * ROOM);
        server.thaw();
        let mut conn = pool.get_timeout(PLENTY).unwrap();
        assert_eq!(F::run(&mut conn, cmd("ECHO").arg("mine")).unwrap(), "mine");
    }
}
