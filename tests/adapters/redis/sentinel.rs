//! The Redis adapters with sentinels.
#![cfg(all(feature = "redis", feature = "redis-tokio"))]

use crate::common::servers::process::free_port;
use crate::common::servers::redis::Redis;
use crate::common::{PLENTY, eventually};
use caliburn::adapters::redis::{AsyncRedisManager, RedisManager, Sentinels};
use caliburn::{Builder, Manager, Pool, PooledConnection};
use redis::{Cmd, RedisError, RedisResult, cmd};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;
use tokio::runtime::Runtime;

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

    fn builder(sentinels: Sentinels) -> Builder<Self::Manager>;
    fn run(conn: &mut PooledConnection<Self::Manager>, command: &Cmd) -> RedisResult<String>;
}

struct Threads;

impl Face for Threads {
    type Manager = RedisManager;

    fn builder(sentinels: Sentinels) -> Builder<RedisManager> {
        Pool::builder(RedisManager::sentinel(sentinels).unwrap())
    }

    fn run(conn: &mut PooledConnection<RedisManager>, command: &Cmd) -> RedisResult<String> {
        command.query(conn)
    }
}

struct Tasks;

impl Face for Tasks {
    type Manager = AsyncRedisManager;

    fn builder(sentinels: Sentinels) -> Builder<AsyncRedisManager> {
        let manager = AsyncRedisManager::sentinel(sentinels).unwrap();
        let manager = manager.response_timeout(Some(PLENTY));
        Pool::builder_async(manager.runtime(runtime().handle().clone()))
    }

    fn run(conn: &mut PooledConnection<AsyncRedisManager>, command: &Cmd) -> RedisResult<String> {
        runtime().block_on(command.query_async(&mut **conn))
    }
}

/// The port of the server at the other end.
fn port<F: Face>(conn: &mut PooledConnection<F::Manager>) -> u16 {
    let info = F::run(conn, cmd("INFO").arg("server")).unwrap();
    let port = info.lines().find_map(|line| line.strip_prefix("tcp_port:")).unwrap();
    port.trim().parse().unwrap()
}

/// A master, a replica, and a sentinel that has seen both.
fn watched() -> (Redis, Redis, Redis) {
    let master = Redis::start(&[]);
    let port = master.port.to_string();
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &port]);
    let sentinel = Redis::start_sentinel();
    let mut eye = sentinel.eye();
    assert_eq!(eye.ask(&format!("SENTINEL MONITOR music 127.0.0.1 {port} 1")), "+OK");
    for setting in ["down-after-milliseconds 500", "failover-timeout 2000"] {
        assert_eq!(eye.ask(&format!("SENTINEL SET music {setting}")), "+OK");
    }
    eventually("the replica is in step", || {
        master.eye().ask("INFO replication").contains("state=online")
    });
    eventually("the sentinel knows it", || {
        eye.ask("INFO sentinel").contains("status=ok")
            && eye.ask("INFO sentinel").contains("slaves=1")
    });
    (master, replica, sentinel)
}

fn sentinels(sentinel: &Redis) -> Sentinels {
    let nobody = format!("redis://127.0.0.1:{}/", free_port());
    Sentinels::new("music", [nobody, sentinel.url()]).unwrap()
}

fn a_pool_follows_the_master<F: Face>() {
    let (mut master, replica, sentinel) = watched();
    let pool = F::builder(sentinels(&sentinel))
        .max_size(4)
        .connect_timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    let readers = F::builder(sentinels(&sentinel).replicas()).max_size(1).build().unwrap();
    let mut conn = pool.get_timeout(PLENTY).unwrap();
    assert_eq!(port::<F>(&mut conn), master.port);
    F::run(&mut conn, cmd("SET").arg("song").arg("one")).unwrap();
    drop(conn);
    assert_eq!(port::<F>(&mut readers.get_timeout(PLENTY).unwrap()), replica.port);

    // Without a word to its clients.
    let mut held: Vec<_> = (0..4).map(|_| pool.get_timeout(PLENTY).unwrap()).collect();
    assert_eq!(master.eye().ask("REPLICAOF 127.0.0.1 1"), "+OK");
    let error = F::run(&mut held[0], cmd("SET").arg("song").arg("two")).unwrap_err();
    assert_eq!(error.code(), Some("READONLY"), "{error}");
    assert_eq!(master.eye().ask("REPLICAOF NO ONE"), "+OK");
    let connects = pool.stats().connects;
    drop(held);
    let held: Vec<_> = (0..4).map(|_| pool.get_timeout(PLENTY).unwrap()).collect();
    assert_eq!(pool.stats().connects, connects + 1, "only the one that was refused");
    drop(held);

    master.kill();
    eventually("it has another master", || {
        pool.get_timeout(PLENTY).is_ok_and(|mut conn| {
            let set = F::run(&mut conn, cmd("SET").arg("song").arg("three"));
            set.is_ok() && port::<F>(&mut conn) == replica.port
        })
    });
}

#[test]
#[ignore = "needs Redis (redis-server)"]
fn a_pool_for_threads_follows_the_master() {
    a_pool_follows_the_master::<Threads>();
}

#[test]
#[ignore = "needs Redis (redis-server)"]
fn a_pool_for_tasks_follows_the_master() {
    a_pool_follows_the_master::<Tasks>();
}

#[test]
#[ignore = "needs Redis (redis-server)"]
fn a_service_that_no_sentinel_knows_is_told() {
    let sentinel = Redis::start_sentinel();
    let sentinels = Sentinels::new("music", [sentinel.url()]).unwrap();
    let pool = Threads::builder(sentinels).fail_fast(true).build().unwrap();
    let error = pool.get_timeout(PLENTY).unwrap_err();
    assert!(format!("{error:#}").contains("does not know the service"), "{error:#}");
}

#[test]
fn settings_without_sentinels_are_refused() {
    assert!(Sentinels::new("music", [""; 0]).is_err());
    assert!(Sentinels::new("music", ["redis//:hush@example.com"]).is_err());
}

/// A server that answers each question as a sentinel would that knows of one master, at `named`.
fn sentinel_that_names(named: SocketAddr) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || answer_as_sentinel(stream.unwrap(), named));
        }
    });
    url
}

fn answer_as_sentinel(stream: TcpStream, named: SocketAddr) {
    let mut answers = stream.try_clone().unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while let Some(count) = lines.next() {
        // Of each word, its length goes before it.
        let words = 2 * count[1..].parse::<usize>().unwrap();
        let words: Vec<_> = lines.by_ref().take(words).skip(1).step_by(2).collect();
        let bulk = |word: &str| format!("${}\r\n{word}\r\n", word.len());
        let answer = match (&*words[0], words.get(1)) {
            ("PING", Some(word)) => bulk(word),
            ("SENTINEL", _) => {
                let (host, port) = (named.ip().to_string(), named.port().to_string());
                format!("*2\r\n{}{}", bulk(&host), bulk(&port))
            }
            _ => "+OK\r\n".into(),
        };
        if answers.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn a_sentinel_that_is_cut_off_keeps_no_pool_from_the_master<F: Face>() {
    let master = Redis::start(&[]);
    let other = Redis::start(&[]);
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &other.port.to_string()]);
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    for old in [at(free_port()), at(replica.port), mute.local_addr().unwrap()] {
        let urls = [old, at(replica.port), at(master.port)].map(sentinel_that_names);
        let pool = F::builder(Sentinels::new("music", urls).unwrap());
        let pool = pool.max_size(1).connect_timeout(Duration::from_secs(4)).build().unwrap();
        let mut conn = pool.get_timeout(PLENTY).unwrap();
        assert_eq!(port::<F>(&mut conn), master.port, "{old}");
        assert_eq!(pool.stats().connect_failures, 0, "{old}");
    }
}

#[test]
#[ignore = "needs Redis (redis-server)"]
fn a_sentinel_that_is_cut_off_keeps_no_thread_from_the_master() {
    a_sentinel_that_is_cut_off_keeps_no_pool_from_the_master::<Threads>();
}

#[test]
#[ignore = "needs Redis (redis-server)"]
fn a_sentinel_that_is_cut_off_keeps_no_task_from_the_master() {
    a_sentinel_that_is_cut_off_keeps_no_pool_from_the_master::<Tasks>();
}
