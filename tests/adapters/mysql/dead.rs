//! No MySQL session that is known to be dead is lent, whatever the strategy, against MariaDB
//! itself.
#![cfg(all(feature = "mysql", feature = "mysql_async"))]

use crate::common::PLENTY;
use crate::common::my::*;
use crate::common::servers::mariadb::MariaDb;
use caliburn::Pool;
use caliburn::health::{HealthStrategy, PingAfterFailure, PingOnBorrow};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Barrier;

harnesses! {
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    sessions_that_the_server_has_ended_are_not_lent
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_look_at_the_socket_costs_little
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    sessions_that_a_borrower_has_ended_are_not_lent
}

/// Long enough for a word of the server to have come.
const PAUSE: Duration = Duration::from_millis(500);

fn pool<A: Adapter, H: HealthStrategy>(server: &MariaDb, size: usize, health: H) -> Pool<A> {
    A::builder(A::manager(&server.url()))
        .max_size(size)
        .min_size(size)
        .health(health)
        .wait_ready(PLENTY)
        .build()
        .unwrap()
}

async fn in_turn<A: Adapter>(pool: &Pool<A>, loans: usize) -> usize {
    let mut failed = 0;
    for n in 0..loans {
        failed += usize::from(echo::<A>(&mut *A::get(pool).await.unwrap(), n).await.is_err());
    }
    failed
}

/// All hold theirs until each has one.
async fn at_once<A: Adapter>(pool: &Pool<A>, loans: usize) -> usize {
    let barrier = Arc::new(Barrier::new(loans));
    let failures = all::<A, _, _>(loans, |n| {
        let (pool, barrier) = (pool.clone(), Arc::clone(&barrier));
        async move {
            let mut conn = A::get(&pool).await.unwrap();
            barrier.wait().await;
            usize::from(echo::<A>(&mut conn, n).await.is_err())
        }
    })
    .await;
    failures.into_iter().sum()
}

async fn sessions_that_the_server_has_ended_are_not_lent<A: Adapter>() {
    let mut server = MariaDb::start(&[]);
    for size in [8, 32] {
        for restarts in [false, true] {
            for simultaneous in [false, true] {
                for (name, pool) in [
                    ("()", pool::<A, _>(&server, size, ())),
                    ("PingAfterFailure", pool(&server, size, PingAfterFailure)),
                    ("PingOnBorrow", pool(&server, size, PingOnBorrow::default())),
                ] {
                    let what = format!("{name}, {size}, {restarts}, {simultaneous}");
                    soon("all are open", || pool.stats().idle == size).await;
                    if restarts {
                        server.restart();
                    } else {
                        server.kill_sessions();
                    }
                    tokio::time::sleep(PAUSE).await;
                    let dead = match simultaneous {
                        true => at_once(&pool, size).await,
                        false => in_turn(&pool, size).await,
                    };
                    assert_eq!(dead, 0, "{what}: dead sessions were lent");
                    close(&pool);
                    soon("no session is left", || server.sessions().is_empty()).await;
                }
            }
        }
    }
}

/// The server hangs up after its answer, which may not be heard of at the next loan.
async fn sessions_that_a_borrower_has_ended_are_not_lent<A: Adapter>() {
    const LOANS: usize = 20;
    let server = MariaDb::start(&[]);
    for completion in ["NO_CHAIN", "RELEASE"] {
        server.ask(&format!("SET GLOBAL completion_type = '{completion}'"));
        for (sql, is_executed) in [
            ("COMMIT RELEASE", true),
            ("COMMIT RELEASE", false),
            ("ROLLBACK RELEASE", true),
            ("COMMIT", true),
            ("COMMIT", false),
            ("ROLLBACK", false),
            ("COMMIT AND NO CHAIN", false),
            ("KILL CONNECTION_ID()", false),
        ] {
            let pool = pool::<A, _>(&server, 1, ());
            for n in 0..LOANS {
                let what = format!("{sql}, executed: {is_executed}, {completion}, loan {n}");
                let mut conn = A::get(&pool).await.unwrap();
                echo::<A>(&mut conn, n).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                let _ = match is_executed {
                    true => A::execute(&mut conn, sql).await,
                    false => A::ask(&mut conn, sql).await.map(drop),
                };
            }
            close(&pool);
        }
    }
}

/// Run it in a release build for figures: `cargo test --release … -- --nocapture`.
async fn a_look_at_the_socket_costs_little<A: Adapter>() {
    const LOANS: u32 = 2_000;
    let server = MariaDb::start(&[]);
    let pool = pool::<A, _>(&server, 1, ());
    // Out of a pool of one, one after the other: what was idle for longer is looked at.
    let mut took = [Vec::new(), Vec::new()];
    for n in 0..LOANS {
        let is_looked_at = n % 2 == 0;
        if is_looked_at {
            std::thread::sleep(Duration::from_micros(1_100));
        } else {
            drop(pool.try_get().unwrap());
        }
        let begun = Instant::now();
        let conn = pool.try_get().unwrap();
        took[usize::from(is_looked_at)].push(begun.elapsed());
        drop(conn);
    }
    let [without, with] = took.map(|mut took| {
        took.sort_unstable();
        took[took.len() / 2]
    });
    println!("a loan takes {without:?}, and {with:?} with a look");
    assert!(with < without + Duration::from_micros(50));
    close(&pool);
}
