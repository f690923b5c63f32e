//! Borrowers of MySQL connections while sessions are killed and calls are dropped, against MariaDB
//! itself. It lasts for `CALIBURN_LOAD_SECONDS`, or ten.
#![cfg(all(feature = "mysql", feature = "mysql_async"))]

use crate::common::PLENTY;
use crate::common::my::*;
use crate::common::servers::mariadb::{MariaDb, USER};
use caliburn::health::{PeriodicSweep, PingAfterFailure};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

harnesses! {
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    nobody_gets_a_wrong_answer_and_no_session_is_left_whatever_happens
}

const BORROWERS: usize = 24;
const SIZE: usize = 8;

fn duration() -> Duration {
    let seconds = std::env::var("CALIBURN_LOAD_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(10))
}

async fn nobody_gets_a_wrong_answer_and_no_session_is_left_whatever_happens<A: Adapter>() {
    let server = MariaDb::start(&[]);
    let manager = A::manager(&server.url()).answering_within(Duration::from_millis(500));
    let pool = A::builder(manager)
        .max_size(SIZE)
        .health((PingAfterFailure, PeriodicSweep::default()))
        .build()
        .unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let [right, failed, dropped] = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
    let borrowers: Vec<_> = (0..BORROWERS)
        .map(|borrower| {
            let (pool, is_over) = (pool.clone(), is_over.clone());
            let (right, failed, dropped) = (right.clone(), failed.clone(), dropped.clone());
            A::spawn(async move {
                for n in 0.. {
                    if is_over.load(SeqCst) {
                        return;
                    }
                    let number = borrower * 1_000_000 + n;
                    let mut conn = A::get_within(&pool, PLENTY).await.unwrap();
                    if n % 4 == 3 {
                        // Dropped by a task, late for a thread.
                        let slow = format!("SELECT {number}, SLEEP(0.{})", n % 8);
                        let slow = A::execute(&mut conn, &slow);
                        let limit = Duration::from_millis(n as u64 % 3);
                        drop(tokio::time::timeout(limit, slow).await);
                        dropped.fetch_add(1, SeqCst);
                        continue;
                    }
                    match echo::<A>(&mut conn, number).await {
                        Ok(()) => right.fetch_add(1, SeqCst),
                        Err(_) => failed.fetch_add(1, SeqCst),
                    };
                }
            })
        })
        .collect();
    let begun = Instant::now();
    let mut most = 0;
    let mut eye = root(&server);
    while begun.elapsed() < duration() {
        most = most.max(sessions(&mut eye));
        if begun.elapsed().as_millis().is_multiple_of(10) {
            use mysql::prelude::Queryable;
            for session in server.sessions() {
                // It may have ended by itself.
                let _ = eye.query_drop(format!("KILL {session}"));
            }
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    is_over.store(true, SeqCst);
    for borrower in borrowers {
        borrower.await.unwrap();
    }
    whole(&pool).await;
    let stats = pool.stats();
    close(&pool);
    soon("no session is left", || sessions(&mut eye) == 0).await;
    let [right, failed, dropped] = [right, failed, dropped].map(|count| count.load(SeqCst));
    println!(
        "{right} right, {failed} failed, {dropped} dropped; {} connects; at most {most} sessions",
        stats.connects
    );
    assert!(right > 100 && dropped > 10, "{right}, {dropped}");
}

fn sessions(eye: &mut mysql::Conn) -> usize {
    use mysql::prelude::Queryable;
    let sql = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{USER}'");
    eye.query_first(sql).unwrap().unwrap()
}
