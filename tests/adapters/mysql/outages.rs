//! The adapters for MySQL and MariaDB when servers come and go, against MariaDB itself. Each
//! harness is played twice: with the driver for threads, whose callers are threads, and with the
//! driver for tasks.
#![cfg(all(feature = "mysql", feature = "mysql_async"))]

use crate::common::my::*;
use crate::common::servers::mariadb::MariaDb;
use crate::common::{PLENTY, ROOM};
use caliburn::GetError;
use caliburn::adapters::mysql::{AsyncMysqlManager, MysqlManager};
use caliburn::health::{AgeEviction, PingOnBorrow};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

harnesses! {
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_server_killed_and_restarted_under_64_callers_costs_one_query_for_each_connection
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_frozen_server_keeps_nobody_beyond_the_limit_and_serves_within_a_second_after
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    sessions_killed_by_the_server_are_noticed_by_a_ping_before_they_are_lent
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    idle_connections_flow_while_others_have_taken_all_that_the_server_allows
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    the_server_has_no_more_sessions_than_the_pool_may_and_none_after_the_close
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    threads_and_tasks_share_a_pool
}

async fn a_server_killed_and_restarted_under_64_callers_costs_one_query_for_each_connection<
    A: Adapter,
>() {
    let mut server = MariaDb::start(&[]);
    let pool = A::builder(A::manager(&server.url())).max_size(8).build().unwrap();
    let [served, failed] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let is_over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..64)
        .map(|caller| {
            let (pool, served, failed) = (pool.clone(), served.clone(), failed.clone());
            let is_over = is_over.clone();
            A::spawn(async move {
                while !is_over.load(SeqCst) {
                    let mut conn = A::get(&pool).await.unwrap_or_else(|error| panic!("{error}"));
                    match echo::<A>(&mut conn, caller).await {
                        Ok(()) => served.fetch_add(1, SeqCst),
                        Err(_) => failed.fetch_add(1, SeqCst),
                    };
                }
            })
        })
        .collect();
    for round in 1..=2 {
        let before = served.load(SeqCst);
        soon("all are at work", || served.load(SeqCst) > before + 500 && pool.stats().size == 8)
            .await;
        server.kill();
        soon("all is still", || pool.stats().size == 0 && pool.stats().waiting == 64).await;
        server.restart();
        let back = Instant::now();
        soon("all connections are open again", || pool.stats().size == 8).await;
        let took = back.elapsed();
        assert!(took < Duration::from_secs(4), "2 s are asked for: {took:?}");
        println!("round {round}: whole after {took:?}, {} queries failed", failed.load(SeqCst));
        assert!(failed.load(SeqCst) <= round * 8, "{} queries failed", failed.load(SeqCst));
    }
    is_over.store(true, SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    whole(&pool).await;
    close(&pool);
    soon("no session is left", || server.sessions().is_empty()).await;
}

/// A connection that has answered within a tenth of a second is not pinged again.
async fn no_longer_fresh() {
    tokio::time::sleep(Duration::from_millis(150)).await;
}

async fn a_frozen_server_keeps_nobody_beyond_the_limit_and_serves_within_a_second_after<
    A: Adapter,
>() {
    let limit = Duration::from_secs(2);
    let server = MariaDb::start(&[]);
    let pool = A::builder(A::manager(&server.url()))
        .max_size(8)
        .min_size(4)
        .checkout_timeout(limit)
        .health(PingOnBorrow::always())
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    no_longer_fresh().await;
    server.freeze();
    let waits = all::<A, _, _>(16, |_| {
        let pool = pool.clone();
        async move {
            let begun = Instant::now();
            let error = A::get(&pool).await.expect_err("the server is frozen");
            (begun.elapsed(), matches!(error, GetError::TimedOut { .. }))
        }
    })
    .await;
    let longest = waits.iter().map(|(wait, _)| *wait).max().unwrap();
    println!("longest wait {longest:?}");
    assert!(waits.iter().all(|(_, is_timeout)| *is_timeout));
    assert!(longest < limit + ROOM, "2.1 s are asked for: {longest:?}");
    server.thaw();
    let back = Instant::now();
    let mut conn = A::get(&pool).await.unwrap();
    echo::<A>(&mut conn, 1).await.unwrap();
    println!("served after {:?}", back.elapsed());
    assert!(back.elapsed() < Duration::from_secs(2), "1 s is asked for: {:?}", back.elapsed());
    drop(conn);
    whole(&pool).await;
    close(&pool);
}

async fn sessions_killed_by_the_server_are_noticed_by_a_ping_before_they_are_lent<A: Adapter>() {
    let server = MariaDb::start(&[]);
    let pool = A::builder(A::manager(&server.url()))
        .max_size(8)
        .min_size(8)
        .health(PingOnBorrow::always())
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    for round in 1..=3 {
        soon("eight sessions", || server.sessions().len() == 8).await;
        no_longer_fresh().await;
        server.kill_sessions();
        let failures = all::<A, _, _>(32, |caller| {
            let pool = pool.clone();
            async move {
                let mut conn = A::get(&pool).await.unwrap();
                echo::<A>(&mut conn, caller).await.err().map(|error| error.to_string())
            }
        })
        .await;
        assert!(failures.iter().all(Option::is_none), "{failures:?}");
        soon("all are replaced", || pool.stats().ping_failures >= round).await;
        soon("eight are open", || pool.stats().idle == 8).await;
    }
    close(&pool);
}

async fn idle_connections_flow_while_others_have_taken_all_that_the_server_allows<A: Adapter>() {
    use mysql::Conn;
    let server = MariaDb::start(&["--max-connections=10"]);
    let pool = A::builder(A::manager(&server.url()))
        .max_size(8)
        .min_size(4)
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    let opts = mysql::Opts::from_url(&server.url()).unwrap();
    let opts = mysql::OptsBuilder::from_opts(opts).prefer_socket(false);
    let mut others = Vec::new();
    // One session may still be that of somebody who has gone.
    soon("all others have come", || {
        others.extend(Conn::new(opts.clone()).ok());
        others.len() == 6
    })
    .await;
    let refused = Conn::new(opts).unwrap_err();
    assert_eq!(MysqlManager::server_code(&refused), Some(1040), "{refused}");
    all::<A, _, _>(16, |caller| {
        let pool = pool.clone();
        async move {
            for _ in 0..10 {
                let mut conn = A::get(&pool).await.unwrap();
                echo::<A>(&mut conn, caller).await.unwrap();
            }
        }
    })
    .await;
    // One who finds no idle connection has more opened, in vain.
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(A::get(&pool).await.unwrap());
    }
    let refused = pool.stats().connect_failures;
    let waiting = A::spawn({
        let pool = pool.clone();
        async move { A::get(&pool).await.map(drop) }
    });
    soon("a connect is refused", || pool.stats().connect_failures > refused).await;
    // A transient error: one may wait for better times.
    soon("somebody waits", || pool.stats().waiting == 1).await;
    drop(others);
    waiting.await.unwrap().unwrap();
    close_all(held, &pool).await;
}

async fn the_server_has_no_more_sessions_than_the_pool_may_and_none_after_the_close<A: Adapter>() {
    use mysql::prelude::Queryable;
    const SIZE: usize = 6;
    let server = MariaDb::start(&[]);
    let mut eye = root(&server);
    let mut count = |what: &str| {
        let sql = format!("SHOW GLOBAL STATUS LIKE '{what}'");
        eye.query_first::<(String, usize), _>(sql).unwrap().unwrap().1 - 1
    };
    for uses in [u64::MAX, 20] {
        soon("nobody else is there", || count("Threads_connected") == 0).await;
        server.ask("FLUSH STATUS");
        soon("nobody else is there", || count("Threads_connected") == 0).await;
        let pool = A::builder(A::manager(&server.url()))
            .max_size(SIZE)
            .health(AgeEviction::default().max_uses(uses))
            .build()
            .unwrap();
        all::<A, _, _>(24, |caller| {
            let pool = pool.clone();
            async move {
                for _ in 0..50 {
                    let mut conn = A::get(&pool).await.unwrap();
                    echo::<A>(&mut conn, caller).await.unwrap();
                }
            }
        })
        .await;
        close(&pool);
        soon("no session is left", || count("Threads_connected") == 0).await;
        let (most, opened) = (count("Max_used_connections"), pool.stats().connects);
        println!("{opened} sessions, at most {most} at once");
        if uses == u64::MAX {
            assert_eq!((opened as usize, most), (SIZE, SIZE));
        } else {
            // The goodbye to an old session may be on its way yet when the next one is opened: one
            // for each worker.
            assert!(opened >= 50 && most <= SIZE + 4, "{opened} sessions, {most} at once");
        }
    }
}

async fn threads_and_tasks_share_a_pool<A: Adapter>() {
    let server = MariaDb::start(&[]);
    let pool = A::builder(A::manager(&server.url())).max_size(4).build().unwrap();
    let threads = all::<MysqlManager, _, _>(8, |_| {
        let pool = pool.clone();
        async move {
            for n in 0..20 {
                let mut conn = pool.get().unwrap();
                echo::<A>(&mut conn, n).await.unwrap();
            }
        }
    });
    let tasks = all::<AsyncMysqlManager, _, _>(8, |_| {
        let pool = pool.clone();
        async move {
            for n in 0..20 {
                let mut conn = pool.get_async().await.unwrap();
                echo::<A>(&mut conn, n).await.unwrap();
            }
        }
    });
    tokio::join!(threads, tasks);
    whole(&pool).await;
    close(&pool);
}
