//! The adapters for MySQL against servers that are mute, trickle, flood, or say too much: every
//! limit holds, and nobody is given another's answer.
#![cfg(all(feature = "mysql", feature = "mysql_async"))]

use crate::common::my::*;
use crate::common::my_fake::{FakeMySql, How, When};
use crate::common::{PLENTY, ROOM};
use caliburn::health::PingOnBorrow;
use caliburn::{EvictionCause, GetError, Pool};
use std::time::{Duration, Instant};

harnesses! {
    a_connect_ends_within_its_limit_whatever_the_server_does
    a_ping_ends_within_its_limit_whatever_the_server_does
    a_return_keeps_no_borrower_and_a_reset_ends_within_its_limit
    a_close_ends_within_its_limit_whatever_the_server_does
    a_borrowers_call_ends_within_the_response_timeout
    an_answer_too_many_reaches_nobody
    what_a_server_says_unasked_costs_it_the_connection
}

const LIMIT: Duration = Duration::from_millis(400);
const ALL: [How; 5] = [How::Mute, How::Trickle, How::Flood, How::Huge, How::Cut];

/// All is over soon after its limit: nothing is in quarantine, though the server goes on.
async fn settles<A: Adapter>(pool: &Pool<A>, what: &str) {
    let begun = Instant::now();
    soon(what, || {
        let stats = pool.stats();
        stats.quarantined == 0 && stats.idle + stats.vacant == stats.capacity
    })
    .await;
    let took = begun.elapsed();
    assert!(took < LIMIT + ROOM, "{what}: {took:?}");
}

/// Of one connection, with the same limit for everything.
fn alone<A: Adapter>(server: &FakeMySql) -> Pool<A> {
    A::builder(A::manager(&server.url()))
        .max_size(1)
        .connect_timeout(LIMIT)
        .reset_timeout(LIMIT)
        .ping_timeout(LIMIT)
        .close_timeout(LIMIT)
        .health(PingOnBorrow::always())
        .build()
        .unwrap()
}

async fn a_connect_ends_within_its_limit_whatever_the_server_does<A: Adapter>() {
    let server = FakeMySql::start();
    for when in [When::Greeting, When::Login, When::Settings] {
        for how in ALL {
            let what = format!("{how:?} at {when:?}");
            server.misbehave(when, how);
            let pool = A::builder(A::manager(&server.url()))
                .max_size(1)
                .connect_timeout(LIMIT)
                .fail_fast(true)
                .build()
                .unwrap();
            let (error, took) = refusal(&pool).await;
            assert!(matches!(error, GetError::Connect { .. }), "{what}: {error}");
            assert!(took < LIMIT + ROOM, "{what}: {took:?}");
            settles(&pool, &what).await;
            close(&pool);
        }
    }
}

async fn a_ping_ends_within_its_limit_whatever_the_server_does<A: Adapter>() {
    let server = FakeMySql::start();
    for how in ALL {
        server.behave();
        let pool = alone::<A>(&server);
        drop(A::get(&pool).await.unwrap());
        tokio::time::sleep(Duration::from_millis(120)).await;
        server.misbehave_so_far(When::Ping, how);
        let begun = Instant::now();
        // It is replaced by one that needs no ping yet. A flood begins with an answer.
        drop(A::get(&pool).await.unwrap_or_else(|error| panic!("{how:?}: {error}")));
        assert!(begun.elapsed() < 2 * LIMIT + ROOM, "{how:?}: {:?}", begun.elapsed());
        settles(&pool, &format!("{how:?}")).await;
        close(&pool);
    }
}

async fn a_return_keeps_no_borrower_and_a_reset_ends_within_its_limit<A: Adapter>() {
    let server = FakeMySql::start();
    for how in ALL {
        server.behave();
        let pool = alone::<A>(&server);
        let mut conn = A::get(&pool).await.unwrap();
        A::ask(&mut conn, "SET @x = 1").await.unwrap();
        server.misbehave(When::Proof, how);
        let begun = Instant::now();
        drop(conn);
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(50), "1 ms is asked for; {how:?}: {took:?}");
        settles(&pool, &format!("{how:?}")).await;
        let stats = pool.stats();
        let evicted = stats.evictions.by(EvictionCause::ResetFailed);
        assert_eq!(evicted, 1, "{how:?}: {stats}");
        close(&pool);
    }
}

async fn a_close_ends_within_its_limit_whatever_the_server_does<A: Adapter>() {
    let server = FakeMySql::start();
    for how in ALL {
        server.behave();
        let pool = alone::<A>(&server);
        drop(A::get(&pool).await.unwrap());
        server.misbehave(When::Goodbye, how);
        let begun = Instant::now();
        let report = pool.close_within(LIMIT + ROOM);
        assert!(report.is_complete(), "{how:?}: {report}");
        assert!(begun.elapsed() < LIMIT + ROOM, "{how:?}: {:?}", begun.elapsed());
    }
}

async fn a_borrowers_call_ends_within_the_response_timeout<A: Adapter>() {
    let server = FakeMySql::start();
    for how in ALL {
        server.behave();
        let manager = A::manager(&server.url()).answering_within(LIMIT);
        let pool = A::builder(manager).max_size(1).build().unwrap();
        let mut conn = A::get(&pool).await.unwrap();
        server.misbehave(When::Query, how);
        let begun = Instant::now();
        A::ask(&mut conn, "SELECT 5").await.unwrap_err();
        let took = begun.elapsed();
        assert!(took < LIMIT + ROOM, "{how:?}: {took:?}");
        let begun = Instant::now();
        drop(conn);
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(50), "1 ms is asked for; {how:?}: {took:?}");
        server.behave();
        echo::<A>(&mut *A::get(&pool).await.unwrap(), 6).await.unwrap();
        settles(&pool, &format!("{how:?}")).await;
        assert_eq!(pool.stats().connects, 2, "{how:?}");
        close(&pool);
    }
}

async fn an_answer_too_many_reaches_nobody<A: Adapter>() {
    let server = FakeMySql::start();
    for when in [When::Query, When::Proof] {
        server.behave();
        let pool = alone::<A>(&server);
        let mut conn = A::get(&pool).await.unwrap();
        server.misbehave_so_far(when, How::Twice);
        A::ask(&mut conn, if when == When::Proof { "SET @x = 1" } else { "SELECT 1" })
            .await
            .unwrap();
        drop(conn);
        settles(&pool, &format!("{when:?}")).await;
        for n in 2..6 {
            // What has answered within a tenth of a second is not pinged, on a clock that may lag.
            tokio::time::sleep(Duration::from_millis(250)).await;
            let mut conn = A::get(&pool).await.unwrap();
            echo::<A>(&mut conn, n).await.unwrap_or_else(|error| panic!("{when:?}: {error}"));
        }
        assert_eq!(pool.stats().connects, 2, "{when:?}");
        close(&pool);
    }
}

async fn what_a_server_says_unasked_costs_it_the_connection<A: Adapter>() {
    let server = FakeMySql::start();
    let pool = A::builder(A::manager(&server.url())).max_size(1).build().unwrap();
    drop(A::get(&pool).await.unwrap());
    server.speak_up();
    tokio::time::sleep(Duration::from_millis(50)).await;
    echo::<A>(&mut *A::get_within(&pool, PLENTY).await.unwrap(), 2).await.unwrap();
    assert_eq!(pool.stats().connects, 2);
    close(&pool);
}

/// A server that never greets, at the first of two addresses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_address_is_tried_while_the_first_is_mute() {
    use caliburn::adapters::mysql::AsyncMysqlManager;
    use std::net::{Ipv4Addr, TcpListener};
    let server = FakeMySql::start();
    let mute = Ipv4Addr::new(127, 0, 0, 2);
    let _mute = TcpListener::bind((mute, server.address().port())).unwrap();
    let opts = mysql_async::Opts::from_url(&server.url()).unwrap();
    let addresses = vec![mute.into(), Ipv4Addr::LOCALHOST.into()];
    let opts = mysql_async::OptsBuilder::from_opts(opts).resolved_ips(Some(addresses));
    let limit = Duration::from_secs(4);
    let pool = Pool::builder_async(AsyncMysqlManager::new(opts)).connect_timeout(limit);
    let pool = pool.max_size(2).build().unwrap();
    for at_most in [limit, limit / 4] {
        let begun = Instant::now();
        let mut conn = pool.get_async().await.unwrap();
        echo::<AsyncMysqlManager>(&mut conn, 7).await.unwrap();
        println!("served after {:?}", begun.elapsed());
        assert!(begun.elapsed() < at_most, "{:?}", begun.elapsed());
        caliburn::PooledConnection::discard(conn);
        settles(&pool, "the other attempt is given up").await;
    }
    close(&pool);
}
