//! The Redis adapters over TLS.

use crate::common::redis_faces::*;
use crate::common::servers::process::{free_port, run};
use crate::common::servers::redis::Redis;
use crate::common::{PLENTY, ROOM, eventually};
use caliburn::Builder;
use caliburn::health::PingOnBorrow;
use redis::cmd;
use std::io::Write as _;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

fn builder<A: Adapter>(url: &str) -> Builder<A::Manager> {
    A::builder(A::manager(url, &nothing(), ms(700)).unwrap())
}

for_threads_and_tasks!(
    a_handshake_without_end_costs_one_connect_limit_and_no_slot,
    #[ignore = "needs Redis (redis-server) and openssl"]
    limits_hold_over_tls_and_no_dead_session_is_lent,
);

/// Mute, or one byte each 20 ms of a record that was announced.
fn a_handshake_without_end_costs_one_connect_limit_and_no_slot<A: Adapter>() {
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
        let pool = builder::<A>(&format!("rediss://{address}/#insecure"))
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

fn limits_hold_over_tls_and_no_dead_session_is_lent<A: Adapter>() {
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
        let pool = builder::<A>(&format!("rediss://127.0.0.1:{port}/{protocol}#insecure"))
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
            assert_eq!(A::ask(&mut conn, cmd("ECHO").arg("mine")).unwrap(), "mine");
        }
        let connects = pool.stats().connects;
        drop(pool.get_timeout(PLENTY).unwrap());
        thread::sleep(ms(20));
        drop(pool.get_timeout(PLENTY).unwrap());
        assert_eq!(pool.stats().connects, connects, "taken for dead");

        let mut conn = pool.get_timeout(PLENTY).unwrap();
        server.freeze();
        let begun = Instant::now();
        let error = A::ask(&mut conn, cmd("ECHO").arg("mine")).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert!(begun.elapsed() < ms(700) + ROOM, "{:?}", begun.elapsed());
        drop(conn);
        let begun = Instant::now();
        drop(pool.get_timeout(ms(900)));
        assert!(begun.elapsed() < ms(900) + ROOM, "{:?}", begun.elapsed());
        server.thaw();
        let mut conn = pool.get_timeout(PLENTY).unwrap();
        assert_eq!(A::ask(&mut conn, cmd("ECHO").arg("mine")).unwrap(), "mine");
    }
}
