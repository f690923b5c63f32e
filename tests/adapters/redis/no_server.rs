//! The Redis adapters where there is no Redis.
#![cfg(all(feature = "redis", feature = "redis-tokio"))]

use crate::common::redis_faces::*;
use crate::common::resp::Resp;
use crate::common::servers::process::free_port;
use crate::common::{PLENTY, ROOM};
use caliburn::adapters::redis::{AsyncRedisManager, RedisManager};
use caliburn::health::PingOnBorrow;
use caliburn::{ErrorClass, GetError, Manager, Pool};
use redis::{ErrorKind, pipe};
use std::future::{Future as _, poll_fn};
use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::pin::pin;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

for_threads_and_tasks!(
    a_manager_shows_no_credentials,
    a_url_that_makes_no_sense_is_an_error_that_does_not_repeat_it,
    a_port_that_refuses_is_a_passing_error_that_is_told_at_once_if_asked_for,
    a_server_that_is_no_redis_is_told_at_once,
    a_server_that_accepts_and_says_nothing_costs_one_connect_limit,
    a_host_that_cannot_be_reached_costs_one_connect_limit,
    a_response_timeout_of_nothing_fails_for_good,
);

fn a_manager_shows_no_credentials<A: Adapter>() {
    let greeting = pipe().cmd("AUTH").arg("hush").clone();
    let url = "redis://secretary:hush@example.com/3?protocol=resp3";
    let manager = A::manager(url, &greeting, PLENTY).unwrap();
    let shown = format!("{manager:?} {manager:#?}");
    assert!(!shown.contains("hush") && !shown.contains("secretary"), "{shown}");
    assert!(shown.contains("example.com:6379"), "{shown}");
}

fn a_url_that_makes_no_sense_is_an_error_that_does_not_repeat_it<A: Adapter>() {
    let urls = [
        "redis//secretary:hush@example.com",
        "redis://secretary:hush@example.com/music",
        "redis://secretary:hush@example.com/?protocol=resp4",
        "redis://secretary:7712#hush@example.com/",
        "redis://secretary:7712?hush@example.com/",
        "",
    ];
    for url in urls {
        let error = A::manager(url, &nothing(), PLENTY).expect_err(url);
        assert_eq!(error.kind(), ErrorKind::InvalidClientConfig, "{error}");
        assert!(!format!("{error:#}").contains("hush"), "{error:#}");
    }
}

fn a_port_that_refuses_is_a_passing_error_that_is_told_at_once_if_asked_for<A: Adapter>() {
    let url = format!("redis://:hush@127.0.0.1:{}/", free_port());
    let manager = || A::manager(&url, &nothing(), PLENTY).unwrap();
    let pool = A::builder(manager()).fail_fast(true).build().unwrap();
    let begun = Instant::now();
    let error = pool.get_timeout(PLENTY).unwrap_err();
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
    assert!(root(&error).is_connection_refusal(), "{error}");
    assert_eq!(pool.manager().classify(root(&error)), ErrorClass::Transient);
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());

    let pool = A::builder(manager()).build().unwrap();
    let error = pool.get_timeout(ms(200)).unwrap_err();
    assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
    assert!(root(&error).is_connection_refusal(), "{error}");
    assert!(!format!("{error:#}").contains("hush"), "{error:#}");
}

fn a_server_that_is_no_redis_is_told_at_once<A: Adapter>() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // First the question: to the multiplexed driver an answer without one is the end, for
            // no reason.
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            // To the end: with something unread, the close would be a reset, which may overtake the
            // answer.
            let _ = io::copy(&mut stream, &mut io::sink());
        }
    });
    let pool = A::builder(A::manager(&url, &nothing(), PLENTY).unwrap()).build().unwrap();
    let begun = Instant::now();
    let error = pool.get_timeout(PLENTY).unwrap_err();
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
    assert_eq!(root(&error).kind(), ErrorKind::Parse, "{error}");
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

/// Whatever there is to say first: the limit is one for all of it.
fn a_server_that_accepts_and_says_nothing_costs_one_connect_limit<A: Adapter>() {
    const LIMIT: Duration = ms(500);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let greeting = pipe().cmd("CLIENT").arg("SETNAME").arg("web").clone();
    for protocol in ["resp2", "resp3"] {
        let url = format!("redis://:hush@{address}/3?protocol={protocol}");
        let manager = A::manager(&url, &greeting, PLENTY).unwrap();
        let begun = Instant::now();
        let error = A::connect(&manager, LIMIT).expect_err("nobody answers");
        assert!(error.is_timeout(), "{error}");
        assert_eq!(manager.classify(&error), ErrorClass::Transient);
        assert!(begun.elapsed() >= LIMIT, "{:?}", begun.elapsed());
        assert!(begun.elapsed() < 2 * LIMIT, "{protocol}: {:?}", begun.elapsed());
    }
}

fn a_host_that_cannot_be_reached_costs_one_connect_limit<A: Adapter>() {
    // Set aside for documents: nobody is there.
    let manager = A::manager("redis://192.0.2.1/", &nothing(), PLENTY).unwrap();
    let pool = A::builder(manager).connect_timeout(ms(300)).build().unwrap();
    let begun = Instant::now();
    let error = pool.get_timeout(ms(500)).unwrap_err();
    let GetError::TimedOut { cause, .. } = &error else { panic!("{error}") };
    assert!(cause.is_some(), "{error}");
    assert!(begun.elapsed() < ms(500) + ROOM, "{:?}", begun.elapsed());
}

fn a_response_timeout_of_nothing_fails_for_good<A: Adapter>() {
    let manager = A::manager("redis://127.0.0.1/", &nothing(), Duration::ZERO).unwrap();
    let pool = A::builder(manager).build().unwrap();
    let error = pool.get_timeout(PLENTY).unwrap_err();
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
    assert_eq!(root(&error).kind(), ErrorKind::InvalidClientConfig, "{error}");
}

/// Borrowers come from anywhere, and from one runtime after the other.
#[test]
fn without_a_runtime_connections_live_on_one_of_the_crates_own_and_move_to_each_that_comes() {
    let server = Resp::start();
    let manager: AsyncRedisManager = server.url().parse().unwrap();
    let pool = Pool::builder_async(manager).max_size(2).build().unwrap();
    drop(pool.get_timeout(PLENTY).unwrap());
    for n in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for word in 0..20 {
                let mut conn = pool.get_async().await.unwrap();
                let said: u32 = echo(&word.to_string()).query_async(&mut *conn).await.unwrap();
                assert_eq!(said, word, "runtime {n}");
            }
        });
    }
}

/// Its answer comes all the same, and must not be taken for something unasked.
#[test]
fn a_ping_that_was_cancelled_does_not_cost_the_connection() {
    let server = Resp::start();
    let manager = AsyncRedisManager::from_url(&server.url()).unwrap();
    let manager = manager.runtime(runtime().handle().clone());
    let pool = Pool::builder_async(manager).max_size(1).health(PingOnBorrow::always());
    let pool = pool.build().unwrap();
    runtime().block_on(async {
        for _ in 0..50 {
            drop(pool.get_async().await.unwrap());
            let mut get = pin!(pool.get_async());
            poll_fn(|context| {
                let _ = get.as_mut().poll(context);
                Poll::Ready(())
            })
            .await;
        }
    });
    let mut conn = pool.get_timeout(PLENTY).unwrap();
    assert_echo::<Tasks>(&mut conn, "mine");
    let stats = pool.stats();
    assert_eq!(stats.connects, 1, "{stats}");
}

#[test]
fn errors_pass_or_do_not_as_the_server_means_them() {
    use ErrorClass::{Permanent, Transient};
    let manager = RedisManager::new("redis://127.0.0.1/").unwrap();
    let table = [
        ("NOAUTH Authentication required.", Permanent),
        ("WRONGPASS invalid username-password pair or user is disabled.", Permanent),
        ("NOPERM this user has no permissions to run the 'ping' command", Permanent),
        ("NOPROTO unsupported protocol version", Permanent),
        ("DENIED Redis is running in protected mode", Permanent),
        ("ERR invalid password", Permanent),
        ("ERR AUTH <password> called without any password configured", Permanent),
        ("ERR Client sent AUTH, but no password is set", Permanent),
        ("ERR wrong number of arguments for 'auth' command", Permanent),
        ("ERR DB index is out of range", Permanent),
        ("ERR invalid DB index", Permanent),
        ("ERR SELECT is not allowed in cluster mode", Permanent),
        ("ERR unknown command `HELLO`, with args beginning with: `3`,", Permanent),
        ("ERR max number of clients reached", Transient),
        ("ERR max number of clients + cluster connections reached", Transient),
        ("LOADING Redis is loading the dataset in memory", Transient),
        ("MASTERDOWN Link with MASTER is down", Transient),
        ("BUSY Redis is busy running a script.", Transient),
        ("READONLY You can't write against a read only replica.", Transient),
        ("TRYAGAIN Multiple keys request during rehashing of slot", Transient),
        ("CLUSTERDOWN The cluster is down", Transient),
        ("MISCONF Redis is configured to save RDB snapshots", Transient),
    ];
    for (line, class) in table {
        let answer = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        let error = answer.extract_error().unwrap_err();
        assert_eq!(manager.classify(&error), class, "{line}");
    }
    for kind in [std::io::ErrorKind::ConnectionRefused, std::io::ErrorKind::UnexpectedEof] {
        assert_eq!(manager.classify(&std::io::Error::from(kind).into()), Transient);
    }
}
