//! PostgreSQL's adapters before a server that never falls silent: no limit depends on it.
#![cfg(all(feature = "postgres", feature = "tokio-postgres"))]

use crate::common::pg::{Driver, assert_more_than_one_is_tried, both};
use crate::common::pg_fake::{done, flood, notice, notification, request, serve, startup, welcome};
use crate::common::{PLENTY, ROOM, eventually};
use caliburn::adapters::postgres::{AsyncPostgresManager, PostgresManager};
use caliburn::health::PingOnBorrow;
use caliburn::{GetError, Pool};
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// And to what takes no time at all.
const A_MOMENT: Duration = Duration::from_millis(50);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn dsn(port: u16) -> String {
    format!("host=127.0.0.1 port={port} user=app sslmode=disable")
}

/// Answers its first request, and never stops to talk from then on.
fn answer_and_flood(stream: &mut TcpStream, what: &[u8]) -> io::Result<()> {
    welcome(stream)?;
    request(stream)?;
    done(stream)?;
    flood(stream, what);
    Ok(())
}

both! {
    fn a_guard_comes_back_at_once_though_the_server_never_falls_silent<D: Driver>() {
        for what in [notice(), notification()] {
            let port = serve(move |stream| answer_and_flood(stream, &what));
            let pool = D::open(&dsn(port)).builder().max_size(4).build().unwrap();
            let mut clients: Vec<_> = (0..4).map(|_| pool.get_timeout(PLENTY).unwrap()).collect();
            for client in &mut clients {
                D::ask(client, "SELECT").unwrap();
            }
            // The load itself: the floods have come in.
            thread::sleep(ms(20));
            for client in clients {
                let begun = Instant::now();
                drop(client);
                assert!(begun.elapsed() < A_MOMENT, "{:?}", begun.elapsed());
            }
            let begun = Instant::now();
            assert!(pool.close_within(PLENTY).is_complete());
            // Beside the other floods each limit is late by some scheduling.
            assert!(begun.elapsed() < Duration::from_secs(6) + 2 * ROOM, "{:?}", begun.elapsed());
        }
    }

    fn a_reset_a_ping_and_a_close_end_at_their_limits_under_a_flood<D: Driver>() {
        let port = serve(|stream| {
            welcome(stream)?;
            request(stream)?;
            stream.write_all(b"C\0\0\0\x07OK\0Z\0\0\0\x05T")?;
            flood(stream, &notice());
            Ok(())
        });
        let pool = D::open(&dsn(port))
            .builder()
            .max_size(1)
            .reset_timeout(ms(200))
            .ping_timeout(ms(200))
            .close_timeout(ms(200))
            .health(PingOnBorrow::always())
            .build()
            .unwrap();
        let mut client = pool.get_timeout(PLENTY).unwrap();
        D::ask(&mut client, "BEGIN").unwrap();
        let begun = Instant::now();
        drop(client);
        assert!(begun.elapsed() < A_MOMENT, "{:?}", begun.elapsed());
        drop(pool.get_timeout(PLENTY).unwrap());
        assert!(begun.elapsed() < ms(400) + ROOM, "reset and close: {:?}", begun.elapsed());
        // Lent once, and so pinged before its next loan; nobody answers.
        drop(pool.get_timeout(PLENTY));
        eventually("nothing is stuck", || pool.stats().quarantined == 0);
    }

    fn a_server_that_talks_without_end_as_it_starts_up_is_heard_for_a_moment_only<D: Driver>() {
        use crate::common::pg_fake::message;
        for what in [notice(), message(b'S', b"a\0b\0"), message(b'N', &[0])] {
            let said = Arc::new(AtomicUsize::new(0));
            let port = serve({
                let said = said.clone();
                move |stream| {
                    startup(stream)?;
                    stream.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 0])?;
                    said.fetch_max(flood(stream, &what), SeqCst);
                    Ok(())
                }
            });
            let builder = D::open(&dsn(port)).builder().max_size(1);
            let pool = builder.connect_timeout(PLENTY).build().unwrap();
            let begun = Instant::now();
            let error = pool.get_timeout(ms(3_000)).unwrap_err();
            assert!(begun.elapsed() < ms(3_000) + ROOM, "{:?}", begun.elapsed());
            let cause = format!("{error:#}");
            assert!(cause.contains("before it was ready"), "{cause}");
            eventually("it has counted what it said", || said.load(SeqCst) > 0);
            // Most of that has stayed in the system's buffers.
            assert!(said.load(SeqCst) < 32 << 20, "{} bytes", said.load(SeqCst));
        }
    }

    fn a_message_as_long_as_no_greeting_is_refused_at_its_head<D: Driver>() {
        let port = serve(|stream| {
            startup(stream)?;
            stream.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 0])?;
            stream.write_all(&[b'N', 0x40, 0, 0, 0, b'S'])?;
            // Until the client hangs up.
            while request(stream).is_ok() {}
            Ok(())
        });
        let builder = D::open(&dsn(port)).builder().max_size(1);
        let pool = builder.connect_timeout(PLENTY).build().unwrap();
        let error = pool.get_timeout(ms(3_000)).unwrap_err();
        assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
        assert!(format!("{error:#}").contains("before it was ready"), "{error:#}");
    }

    fn a_greeting_that_trickles_ends_at_the_limit<D: Driver>() {
        let port = serve(|stream| {
            startup(stream)?;
            stream.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 0])?;
            loop {
                stream.write_all(&notice())?;
                // The load itself.
                thread::sleep(ms(20));
            }
        });
        let builder = D::open(&dsn(port)).builder().max_size(1);
        let pool = builder.connect_timeout(ms(300)).build().unwrap();
        let begun = Instant::now();
        pool.get_timeout(ms(1_000)).map(drop).unwrap_err();
        assert!(begun.elapsed() < ms(1_000) + ROOM, "{:?}", begun.elapsed());
        assert_more_than_one_is_tried(&pool);
        assert_eq!(pool.stats().quarantined, 0);
    }
}

/// Outside of the runtime, whose driver is in the midst of the flood: of some tries, as a busy
/// machine may keep any of them, but not all.
#[test]
fn a_task_s_guard_comes_back_within_a_millisecond_where_there_is_no_task() {
    for what in [notice(), notification()] {
        let port = serve(move |stream| answer_and_flood(stream, &what));
        let took = (0..5).map(|_| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (_pool, client) = runtime.block_on(async {
                let manager = AsyncPostgresManager::from_url(&dsn(port)).unwrap();
                let pool: Pool<_> = Pool::builder_async(manager).max_size(1).build().unwrap();
                let client = pool.get_async().await.unwrap();
                client.batch_execute("SELECT").await.unwrap();
                // The load itself.
                tokio::time::sleep(ms(50)).await;
                (pool, client)
            });
            let begun = Instant::now();
            drop(client);
            begun.elapsed()
        });
        let quickest = took.min().unwrap();
        assert!(quickest < ms(1), "{quickest:?}");
    }
}
