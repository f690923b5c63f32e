//! The Redis adapters, against servers that are hostile, broken or half alive.
#![cfg(all(feature = "redis", feature = "redis-tokio"))]

use crate::common::redis_faces::*;
use crate::common::resp::{FAULTS, Fault, MOMENTS, Moment, Resp};
use crate::common::{PLENTY, ROOM, eventually};
use caliburn::health::PingOnBorrow;
use caliburn::{Builder, Pool, PooledConnection};
use redis::cmd;
use std::thread;
use std::time::{Duration, Instant};

const CONNECT: Duration = ms(300);
const PING: Duration = ms(200);
/// Of a reset and of a close.
const END: Duration = ms(250);

fn builder<A: Adapter>(url: &str, response_timeout: Duration) -> Builder<A::Manager> {
    A::builder(A::manager(url, &nothing(), response_timeout).unwrap())
}

fn pool_at<A: Adapter>(url: &str) -> Pool<A::Manager> {
    builder::<A>(url, PLENTY)
        .max_size(1)
        .connect_timeout(CONNECT)
        .ping_timeout(PING)
        .reset_timeout(END)
        .close_timeout(END)
        .health(PingOnBorrow::always())
        .build()
        .unwrap()
}

for_threads_and_tasks!(
    all_limits_hold_whatever_the_server_does_and_whenever,
    the_limit_of_a_command_holds_against_a_server_that_trickles,
    no_answer_that_is_left_over_passes_for_that_to_a_ping,
    what_was_said_unasked_on_an_idle_connection_costs_that_connection,
    a_proxy_that_echoes_no_pings_is_pinged_all_the_same,
);

/// Also with the greeting of RESP3.
fn all_limits_hold_whatever_the_server_does_and_whenever<A: Adapter>() {
    let cases = MOMENTS.into_iter().flat_map(|moment| FAULTS.map(|fault| (moment, fault)));
    let cases: Vec<_> =
        cases.flat_map(|case| ["", "?protocol=resp3"].map(|it| (case, it))).collect();
    // Each mostly waits.
    thread::scope(|scope| {
        let running: Vec<_> = cases
            .into_iter()
            .map(|((moment, fault), protocol)| {
                thread::Builder::new()
                    .name(format!("{moment:?} {fault:?} {protocol}"))
                    .spawn_scoped(scope, move || limits_hold::<A>(moment, fault, protocol))
                    .unwrap()
            })
            .collect();
        let outcomes = running.into_iter().map(|case| {
            let name = case.thread().name().unwrap_or_default().to_owned();
            case.join().err().map(|_| name)
        });
        let failed: Vec<_> = outcomes.flatten().collect();
        assert!(failed.is_empty(), "{failed:?}");
    });
}

fn limits_hold<A: Adapter>(moment: Moment, fault: Fault, protocol: &str) {
    let server = Resp::start();
    let pool = pool_at::<A>(&format!("{}{protocol}", server.url()));
    if moment != Moment::Startup {
        drop(pool.get_timeout(PLENTY).unwrap());
    }
    server.misbehave(Some((moment, fault)));
    let limit = match moment {
        Moment::Startup => CONNECT,
        Moment::Ping => PING,
        _ => END,
    };
    let begun = Instant::now();
    match moment {
        Moment::Startup | Moment::Ping => {
            // The call ends at its limit, and the next one serves, unless the server was taken for
            // something else: that is told at once.
            let got = pool.get_timeout(PLENTY).map(drop);
            let (elapsed, is_told) = (begun.elapsed(), moment == Moment::Startup);
            assert!(got.is_ok() || is_told && elapsed < limit + ROOM, "{elapsed:?}: {got:?}");
            assert!(elapsed < limit + END + ms(500) + ROOM, "{elapsed:?}");
        }
        Moment::Reset | Moment::Return | Moment::Close => {
            let mut conn = pool.get_timeout(PLENTY).unwrap();
            if moment == Moment::Return {
                assert_echo::<A>(&mut conn, "mine");
            } else {
                A::ask(&mut conn, &cmd("MULTI")).unwrap();
            }
            let begun = Instant::now();
            if moment == Moment::Close {
                PooledConnection::discard(conn);
            } else {
                drop(conn);
            }
            // It waits for nothing: else it would be for the whole limit.
            assert!(begun.elapsed() < END / 2, "{:?}", begun.elapsed());
        }
    }
    server.misbehave(None);
    let begun = Instant::now();
    eventually("no slot is in quarantine or under way", || {
        let stats = pool.stats();
        stats.quarantined + stats.maintenance + stats.opening == 0
    });
    let elapsed = begun.elapsed();
    // A reset that fails is followed by a close.
    assert!(elapsed < limit + END + ROOM, "{elapsed:?}");
    // One that was taken for no Redis is tried again after a while.
    eventually("it serves again", || pool.get_timeout(PLENTY).is_ok());
    for word in ["mine", "mine too"] {
        assert_echo::<A>(&mut pool.get_timeout(PLENTY).unwrap(), word);
    }
    let begun = Instant::now();
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete(), "{report}");
    assert!(begun.elapsed() < END + ROOM, "{:?}", begun.elapsed());
}

/// Each byte would have a timeout of a socket begin anew.
fn the_limit_of_a_command_holds_against_a_server_that_trickles<A: Adapter>() {
    const LIMIT: Duration = ms(300);
    let server = Resp::start();
    let pool = builder::<A>(&server.url(), LIMIT).max_size(1).build().unwrap();
    let mut conn = pool.get_timeout(PLENTY).unwrap();
    for fault in [Fault::Mute, Fault::Trickle] {
        server.misbehave(Some((Moment::Ping, fault)));
        let begun = Instant::now();
        let error = A::ask(&mut conn, &cmd("PING")).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert!(
            begun.elapsed() >= LIMIT && begun.elapsed() < LIMIT + ROOM,
            "{:?}",
            begun.elapsed()
        );
        server.misbehave(None);
        drop(conn);
        conn = pool.get_timeout(PLENTY).unwrap();
        assert_echo::<A>(&mut conn, "mine");
    }
}

fn no_answer_that_is_left_over_passes_for_that_to_a_ping<A: Adapter>() {
    let server = Resp::start();
    let pool = pool_at::<A>(&server.url());
    for word in 0..5 {
        server.misbehave(Some((Moment::Return, Fault::Extra)));
        assert_echo::<A>(&mut pool.get_timeout(PLENTY).unwrap(), "mine");
        server.misbehave(None);
        // Pinged first, as it may have been idle for too short a time to be looked at.
        assert_echo::<A>(&mut pool.get_timeout(PLENTY).unwrap(), &word.to_string());
    }
}

fn what_was_said_unasked_on_an_idle_connection_costs_that_connection<A: Adapter>() {
    let server = Resp::start();
    let pool = builder::<A>(&server.url(), PLENTY).max_size(1).build().unwrap();
    for word in 0..5 {
        server.misbehave(Some((Moment::Return, Fault::Trickle)));
        assert_echo::<A>(&mut pool.get_timeout(PLENTY).unwrap(), "mine");
        server.misbehave(None);
        // It goes on speaking.
        thread::sleep(ms(60));
        assert_echo::<A>(&mut pool.get_timeout(PLENTY).unwrap(), &word.to_string());
    }
    assert!(pool.stats().connects > 1, "{}", pool.stats());
}

/// Such as Envoy.
fn a_proxy_that_echoes_no_pings_is_pinged_all_the_same<A: Adapter>() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            thread::spawn(move || {
                let mut answers = stream.try_clone().unwrap();
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let answer = match &*line {
                        "PING" => "+PONG\r\n",
                        "CLIENT" | "QUIT" => "+OK\r\n",
                        _ => continue,
                    };
                    if answers.write_all(answer.as_bytes()).is_err() || line == "QUIT" {
                        break;
                    }
                }
            });
        }
    });
    let pool = pool_at::<A>(&url);
    // No limit is asked about here, and a busy machine may take longer than those.
    pool.change(|settings| settings.ping_timeout = PLENTY).unwrap();
    for _ in 0..3 {
        let mut conn = pool.get_timeout(PLENTY).unwrap();
        assert_eq!(A::ask(&mut conn, &cmd("PING")).unwrap(), "PONG");
    }
    let stats = pool.stats();
    assert_eq!((stats.connects, stats.ping_failures), (1, 0), "{stats}");
    assert!(stats.pings >= 2, "{stats}");
}
