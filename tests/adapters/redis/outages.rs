//! The Redis adapters when Redis goes away, stands still, or has no room.
#![cfg(all(feature = "redis", feature = "redis-tokio"))]

use crate::common::redis_faces::*;
use crate::common::servers::redis::Redis;
use crate::common::{PLENTY, ROOM, eventually};
use caliburn::health::{AgeEviction, PingOnBorrow};
use caliburn::{ErrorClass, GetError, Manager};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

for_threads_and_tasks!(
    #[ignore = "needs Redis (redis-server)"]
    a_server_killed_and_restarted_costs_each_connection_one_command_and_no_slot,
    #[ignore = "needs Redis (redis-server)"]
    a_frozen_server_keeps_no_borrower_beyond_its_limit_and_serves_again_once_thawed,
    #[ignore = "needs Redis (redis-server)"]
    sessions_killed_while_idle_are_seen_by_no_borrower_who_has_them_pinged,
    #[ignore = "needs Redis (redis-server)"]
    idle_connections_go_round_while_others_take_up_all_the_server_has,
    #[ignore = "needs Redis (redis-server)"]
    the_server_never_has_more_sessions_than_allowed_and_none_after_the_close,
);

fn a_server_killed_and_restarted_costs_each_connection_one_command_and_no_slot<A: Adapter>() {
    const SIZE: usize = 8;
    let mut server = Redis::start(&[]);
    let pool = pool::<A>(&server, SIZE, |builder| builder.checkout_timeout(PLENTY));
    let tally = Arc::new(Tally::default());
    let join = A::swarm(&pool, 64, &tally);
    for _ in 0..2 {
        tally.go_on();
        eventually("all are open", || pool.stats().size == SIZE);
        let before = tally.failed_commands.load(SeqCst);
        server.kill();
        eventually("connects fail", || pool.stats().size == 0);
        thread::sleep(ms(300));
        server.restart();
        let back = Instant::now();
        while pool.stats().size < SIZE {
            assert!(back.elapsed() < ms(2000) + ROOM, "{}", pool.stats());
            thread::sleep(ms(5));
        }
        tally.go_on();
        let failed = tally.failed_commands.load(SeqCst) - before;
        assert!((1..=SIZE).contains(&failed), "{failed} failed commands");
    }
    tally.is_over.store(true, SeqCst);
    join();
    assert_eq!(tally.failed_gets.load(SeqCst), 0);
    assert_eq!(tally.foreign_answers.load(SeqCst), 0);
    let mut all = all(&pool);
    all.iter_mut().for_each(|conn| assert_echo::<A>(conn, "whole"));
    drop(all);
    eventually("all are at rest", || pool.stats().idle == SIZE);
}

fn a_frozen_server_keeps_no_borrower_beyond_its_limit_and_serves_again_once_thawed<A: Adapter>() {
    const LIMIT: Duration = ms(2000);
    let server = Redis::start(&[]);
    let pool = pool::<A>(&server, 4, |builder| {
        builder
            .health(PingOnBorrow::always())
            .ping_timeout(ms(600))
            .reset_timeout(ms(600))
            .connect_timeout(ms(900))
    });
    drop(all(&pool));
    server.freeze();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let begun = Instant::now();
                let error = pool.get_timeout(LIMIT).unwrap_err();
                assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
                let limit = LIMIT * 21 / 20 + ROOM;
                assert!(begun.elapsed() < limit, "{:?}: {error}", begun.elapsed());
            });
        }
    });
    server.thaw();
    let thawed = Instant::now();
    let mut conn = pool.get_timeout(PLENTY).unwrap();
    assert!(thawed.elapsed() < ms(1000) + ROOM, "{:?}", thawed.elapsed());
    assert_echo::<A>(&mut conn, "awake");
    drop(conn);
    all(&pool).iter_mut().for_each(|conn| assert_echo::<A>(conn, "whole"));
}

fn sessions_killed_while_idle_are_seen_by_no_borrower_who_has_them_pinged<A: Adapter>() {
    const SIZE: usize = 4;
    let server = Redis::start(&[]);
    let mut eye = server.eye();
    let pool = pool::<A>(&server, SIZE, |builder| builder.health(PingOnBorrow::always()));
    for _ in 0..10 {
        drop(all(&pool));
        eventually("all are idle", || pool.stats().idle == SIZE && eye.others() == SIZE);
        assert_eq!(eye.ask("CLIENT KILL TYPE normal"), format!(":{SIZE}"));
        thread::scope(|scope| {
            for _ in 0..2 * SIZE {
                scope.spawn(|| assert_echo::<A>(&mut pool.get_timeout(PLENTY).unwrap(), "alive"));
            }
        });
    }
}

fn idle_connections_go_round_while_others_take_up_all_the_server_has<A: Adapter>() {
    let server = Redis::start(&["--maxclients", "12"]);
    let mut eye = server.eye();
    let pool = pool::<A>(&server, 8, |builder| builder.checkout_timeout(PLENTY));
    drop((pool.get().unwrap(), pool.get().unwrap(), pool.get().unwrap()));
    eventually("some are open", || pool.stats().idle >= 3 && pool.stats().opening == 0);
    let open = pool.stats().idle;
    let others: Vec<_> =
        (open + 1..12).map(|_| TcpStream::connect(("127.0.0.1", server.port)).unwrap()).collect();
    eventually("the server is full", || eye.others() == 11);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_echo::<A>(&mut pool.get().unwrap(), "round");
                }
            });
        }
    });
    let held: Vec<_> = (0..open).map(|_| pool.get().unwrap()).collect();
    let error = pool.get_timeout(ms(300)).unwrap_err();
    assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
    assert_eq!(pool.manager().classify(root(&error)), ErrorClass::Transient, "{error}");
    assert!(format!("{error:#}").contains("max number of clients"), "{error:#}");
    drop(others);
    let rest = all_but(&pool, open);
    assert_eq!(held.len() + rest.len(), 8);
}

fn the_server_never_has_more_sessions_than_allowed_and_none_after_the_close<A: Adapter>() {
    const SIZE: usize = 6;
    let server = Redis::start(&[]);
    let mut eye = server.eye();
    let pool = pool::<A>(&server, SIZE, |builder| {
        builder.health(AgeEviction::unlimited().max_uses(5)).checkout_timeout(PLENTY)
    });
    let tally = Arc::new(Tally::default());
    let join = A::swarm(&pool, 32, &tally);
    let mut most = 0;
    while tally.loans.load(SeqCst) < 2000 {
        most = most.max(eye.others());
    }
    tally.is_over.store(true, SeqCst);
    join();
    assert_eq!(most, SIZE);
    assert!(pool.stats().closes > 100, "{}", pool.stats());
    let spoilt = [&tally.failed_gets, &tally.failed_commands, &tally.foreign_answers];
    assert!(spoilt.iter().all(|count| count.load(SeqCst) == 0), "{tally:?}");
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete(), "{report}");
    assert_eq!(eye.others(), 0);
}
