//! Several servers, of which the first is of no use and does not say so: the time for a connect is
//! shared out among them.
#![cfg(all(feature = "postgres", feature = "tokio-postgres"))]

use crate::common::pg::{Driver, Pretence, RUNTIME, assert_more_than_one_is_tried, both};
use crate::common::pg_fake::{
    done, flood, message, notice, request, serve, serve_on, startup, welcome,
};
use crate::common::{PLENTY, ROOM, eventually};
use caliburn::adapters::postgres::{AsyncPostgresManager, PostgresManager};
use caliburn::{GetError, Pool, error::Phase};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
#[cfg(target_os = "linux")]
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_millis(1_500);

/// A server in order.
fn good() -> u16 {
    serve(|stream| {
        welcome(stream)?;
        while request(stream).is_ok_and(|(tag, _)| tag != b'X') {
            done(stream)?;
        }
        Ok(())
    })
}

/// Until the client hangs up.
fn fall_silent(stream: &mut TcpStream) -> std::io::Result<()> {
    while stream.read(&mut [0; 64])? > 0 {}
    Ok(())
}

/// Packets to it vanish: its system has no room for another connection. With what keeps it so.
fn black_hole() -> (u16, Vec<TcpStream>, tokio::net::TcpListener) {
    RUNTIME.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut kept = Vec::new();
        let patience = Duration::from_millis(100);
        while let Ok(stream) = TcpStream::connect_timeout(&address, patience) {
            kept.push(stream);
        }
        (address.port(), kept, listener)
    })
}

fn assert_served<D: Driver>(first: u16, mode: &str, what: &str) {
    let second = good();
    for port in [format!("{first},{second}"), format!("{first},{second},{second}")] {
        let hosts = vec!["127.0.0.1"; port.split(',').count()].join(",");
        let dsn = format!("host={hosts} port={port} user=app sslmode={mode}");
        let manager = D::open(&dsn);
        let manager = if mode == "disable" { manager } else { manager.secured_by(Pretence) };
        let pool = manager.builder().max_size(1).connect_timeout(LIMIT).build().unwrap();
        let begun = Instant::now();
        let mut client =
            pool.get_timeout(LIMIT + ROOM).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(begun.elapsed() < LIMIT + ROOM, "{what}: {:?}", begun.elapsed());
        D::ask(&mut client, "SELECT").unwrap();
    }
}

both! {
    fn a_first_host_whose_packets_vanish_does_not_keep_the_second_from_serving<D: Driver>() {
        let (port, ..) = &black_hole();
        assert_served::<D>(*port, "disable", "vanish");
    }

    fn a_first_host_that_accepts_and_stays_mute_does_not_keep_the_second_from_serving<D: Driver>() {
        let mute = serve(fall_silent);
        assert_served::<D>(mute, "disable", "mute");
        let mute_later = serve(|stream| {
            startup(stream)?;
            stream.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 0])?;
            fall_silent(stream)
        });
        assert_served::<D>(mute_later, "disable", "mute after the authentication");
        let chatty = serve(|stream| {
            startup(stream)?;
            flood(stream, &notice());
            Ok(())
        });
        assert_served::<D>(chatty, "disable", "talks without end");
    }
}

both! {
    fn a_mute_server_after_a_socket_that_is_a_file_is_given_up_at_the_limit<D: Driver>() {
        let mute = serve(fall_silent);
        let dsn = format!("host=/nonexistent,127.0.0.1 port={mute} user=app");
        let limit = Duration::from_millis(300);
        let pool = D::open(&dsn).builder().max_size(1).connect_timeout(limit).build().unwrap();
        pool.get_timeout(3 * limit).unwrap_err();
        assert_more_than_one_is_tried(&pool);
        eventually("nothing is stuck", || pool.stats().quarantined == 0);
    }
}

/// The same with a server that is mute at such a socket itself.
#[cfg(target_os = "linux")]
#[test]
fn a_mute_server_at_a_socket_that_is_a_file_is_given_up_at_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            kept.push(stream);
        }
    });
    let limit = Duration::from_millis(300);
    let manager = PostgresManager::open(&format!("host={} user=app", folder.path().display()));
    let pool = manager.builder().max_size(1).connect_timeout(limit).build().unwrap();
    pool.get_timeout(3 * limit).unwrap_err();
    assert_more_than_one_is_tried(&pool);
    eventually("nothing is stuck", || pool.stats().quarantined == 0);
}

/// The one will not have us; the other is about to come back.
#[test]
fn a_host_that_a_hook_has_added_may_yet_let_us_in() {
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = first.local_addr().unwrap().port();
    serve_on(first, |stream| {
        startup(stream)?;
        stream.write_all(&message(b'E', b"SFATAL\0VFATAL\0C28000\0Mno entry\0\0"))
    });
    let dsn = format!("host=127.0.0.2 port={port} user=app");
    let manager = PostgresManager::open(&dsn).before_connect(move |config| {
        config.host("127.0.0.1").port(port);
    });
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let waiting = std::thread::spawn({
        let pool = pool.clone();
        move || pool.get_timeout(PLENTY).map(drop)
    });
    eventually("it was refused", || pool.stats().connect_failures > 0);
    serve_on(TcpListener::bind(("127.0.0.2", port)).unwrap(), |stream| {
        welcome(stream)?;
        while request(stream).is_ok_and(|(tag, _)| tag != b'X') {
            done(stream)?;
        }
        Ok(())
    });
    waiting.join().unwrap().unwrap();
}

/// Where the stream is the driver's alone, the socket is what keeps the limit.
#[cfg(target_os = "linux")]
mod at_the_question_for_tls {
    use super::*;

    /// The second has none.
    fn scenario<D: Driver>() {
        let second = serve(|stream| {
            startup(stream)?;
            stream.write_all(b"N")?;
            welcome(stream)?;
            while request(stream).is_ok_and(|(tag, _)| tag != b'X') {
                done(stream)?;
            }
            Ok(())
        });
        let mute = serve(fall_silent);
        let dsn = format!("host=127.0.0.1,127.0.0.1 port={mute},{second} user=app sslmode=prefer");
        let manager = D::open(&dsn).secured_by(Pretence);
        let pool = manager.builder().max_size(1).connect_timeout(LIMIT).build().unwrap();
        let begun = Instant::now();
        let client = pool.get_timeout(LIMIT + ROOM);
        client.map(drop).unwrap_or_else(|error| panic!("{error}"));
        assert!(begun.elapsed() < LIMIT + ROOM, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_mute_host_does_not_keep_threads_from_the_second() {
        scenario::<PostgresManager>();
    }

    #[test]
    fn a_mute_host_does_not_keep_tasks_from_the_second() {
        scenario::<AsyncPostgresManager>();
    }

    #[test]
    fn a_lone_mute_host_is_given_up_at_the_limit_by_threads() {
        let mute = serve(fall_silent);
        let dsn = format!("host=127.0.0.1 port={mute} user=app sslmode=require");
        let manager = PostgresManager::open(&dsn).secured_by(Pretence);
        let limit = Duration::from_millis(300);
        let pool = manager.builder().max_size(1).connect_timeout(limit).build().unwrap();
        let error = pool.get_timeout(3 * limit).unwrap_err();
        assert!(
            matches!(error, GetError::TimedOut { phase: Phase::Connect | Phase::Wait, .. }),
            "{error}"
        );
        assert_more_than_one_is_tried(&pool);
        eventually("nothing is stuck", || pool.stats().quarantined == 0);
    }
}
