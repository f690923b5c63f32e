//! Requests to MySQL that nobody waits for any more, and answers that come too late, against
//! MariaDB itself.
#![cfg(all(feature = "mysql", feature = "mysql_async"))]

use crate::common::PLENTY;
use crate::common::my::*;
use crate::common::servers::mariadb::MariaDb;
use caliburn::adapters::mysql::{AsyncMysqlManager, MysqlConnection, MysqlManager};
use caliburn::{EvictionCause, Pool};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
async fn no_answer_of_20_000_belongs_to_a_request_that_was_dropped() {
    use mysql_async::prelude::Queryable;
    let server = MariaDb::start(&[]);
    let manager = AsyncMysqlManager::from_url(&server.url()).unwrap();
    let pool = Pool::builder_async(manager).max_size(8).build().unwrap();
    let dropped = Arc::new(AtomicUsize::new(0));
    all::<AsyncMysqlManager, _, _>(16, |caller| {
        let (pool, dropped) = (pool.clone(), dropped.clone());
        async move {
            for n in 0..1_250 {
                let number = caller * 10_000 + n;
                let mut conn = pool.get_async().await.unwrap();
                let answer = async {
                    match n % 3 {
                        0 => conn.query_first(format!("SELECT {number}")).await,
                        1 => conn.exec_first("SELECT ?", (number,)).await,
                        // Two answers, of which only the first is looked at.
                        _ => conn.query_first(format!("SELECT {number}; SELECT 'second'")).await,
                    }
                };
                if n % 5 == 0 {
                    tokio::select! {
                        biased;
                        answer = answer => assert_eq!(answer.unwrap(), Some(number)),
                        // From before the request is sent till after its answer has come.
                        () = linger(n / 5 % 4) => drop(dropped.fetch_add(1, SeqCst)),
                    }
                } else {
                    assert_eq!(answer.await.unwrap(), Some(number), "somebody else's answer");
                }
            }
        }
    })
    .await;
    let dropped = dropped.load(SeqCst);
    println!(
        "{dropped} dropped, {} connects, {} resets",
        pool.stats().connects,
        pool.stats().resets
    );
    assert!(dropped > 500, "only {dropped} were dropped");
    whole(&pool).await;
    close(&pool);
    soon("no session is left", || server.sessions().is_empty()).await;
}

/// Ready after it was polled so many times.
async fn linger(polls: usize) {
    for _ in 0..polls {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
async fn a_request_dropped_after_the_driver_tidied_up_for_it_leaves_no_answer_to_the_next() {
    use mysql_async::prelude::Queryable;
    let server = MariaDb::start(&[]);
    let manager = AsyncMysqlManager::from_url(&server.url()).unwrap();
    let pool = Pool::builder_async(manager).max_size(1).build().unwrap();
    for untidy in ["a transaction", "a second result"] {
        let mut conn = pool.get_async().await.unwrap();
        if untidy == "a transaction" {
            drop((**conn).start_transaction(Default::default()).await.unwrap());
        } else {
            drop((**conn).query_iter("SELECT 1; SELECT 2").await.unwrap());
        }
        // The driver first does what was left to do, and then forgets that a request is under way.
        let mut request = Box::pin((**conn).query_first::<String, _>("SELECT SLEEP(1), 'mine'"));
        let is_running = async {
            let sql = "SELECT COUNT(*) FROM information_schema.processlist \
                       WHERE info LIKE 'SELECT SLEEP%'";
            while server.ask(sql) != "1" {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            answer = &mut request => panic!("{answer:?}"),
            () = is_running => {}
        }
        drop(request);
        assert!(!conn.is_disconnected(), "the driver has become wiser");
        drop(conn);
        let mut conn = pool.get_async().await.unwrap();
        let answer: Option<String> = conn.query_first("SELECT 'theirs'").await.unwrap();
        assert_eq!(answer.as_deref(), Some("theirs"), "after {untidy}");
    }
    close(&pool);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
async fn an_answer_left_unread_by_a_task_is_read_before_the_next_loan() {
    use mysql_async::prelude::Queryable;
    let server = MariaDb::start(&[]);
    let manager = AsyncMysqlManager::from_url(&server.url()).unwrap();
    let pool = Pool::builder_async(manager).max_size(1).build().unwrap();
    let mut conn = pool.get_async().await.unwrap();
    let mut rows = conn.query_iter("SELECT seq FROM seq_1_to_10000").await.unwrap();
    rows.next().await.unwrap();
    drop(rows);
    drop(conn);
    let mut conn = pool.get_async().await.unwrap();
    assert_eq!(conn.query_first("SELECT 'theirs'").await.unwrap(), Some("theirs".to_owned()));
    drop(conn);
    assert_eq!((pool.stats().connects, pool.stats().resets), (1, 1));
    close(&pool);
}

#[test]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
fn after_a_read_timeout_no_thread_is_given_the_answer_that_came_too_late() {
    use mysql::prelude::Queryable;
    let server = MariaDb::start(&[]);
    let pool = impatient(&server);
    for (n, (what, eviction, misuse)) in MISUSES.into_iter().enumerate() {
        let before = pool.stats().evictions.by(eviction);
        let mut conn = pool.get().unwrap();
        misuse(&mut conn, SLOW);
        drop(conn);
        let mut conn = pool.get_timeout(PLENTY).unwrap();
        let answer: Option<String> = conn.query_first("SELECT 'theirs'").unwrap();
        assert_eq!(answer.as_deref(), Some("theirs"), "{what}");
        drop(conn);
        let stats = pool.stats();
        assert_eq!(stats.evictions.by(eviction), before + 1, "{what}: {stats}");
        assert_eq!(stats.connects as usize, n + 2, "{what}: {stats}");
    }
    close(&pool);
}

#[test]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
fn after_a_read_timeout_the_same_loan_is_given_no_answer_that_came_too_late() {
    use mysql::prelude::Queryable;
    let server = MariaDb::start(&[]);
    let pool = impatient(&server);
    for (what, _, misuse) in MISUSES {
        let mut conn = pool.get_timeout(PLENTY).unwrap();
        misuse(&mut conn, SLOW);
        for _ in 0..6 {
            let answer = conn.query_first::<String, _>("SELECT 'another'");
            assert!(answer.is_err(), "{what}: {answer:?}");
        }
    }
    close(&pool);
}

const SLOW: &str = "SELECT CONCAT('mine', SLEEP(0.3))";

type Misuse = (&'static str, EvictionCause, fn(&mut MysqlConnection, &str));

const MISUSES: [Misuse; 3] = {
    use mysql::prelude::Queryable;
    [
        ("seen", EvictionCause::Broken, |conn, sql| {
            conn.query_drop(sql).unwrap_err();
        }),
        ("out of sight", EvictionCause::ResetFailed, |conn, sql| {
            (**conn).query_drop(sql).unwrap_err();
        }),
        // A row arrives in time, the next one does not; the driver swallows the error.
        ("swallowed", EvictionCause::ResetFailed, |conn, _| {
            let rows = "SELECT REPEAT('mine', 100), SLEEP(seq DIV 2000 * 0.3) FROM seq_1_to_2000";
            drop((**conn).query_iter(rows).unwrap());
        }),
    ]
};

/// Of one, that waits for an answer for less than [`SLOW`] takes.
fn impatient(server: &MariaDb) -> Pool<MysqlManager> {
    let opts = mysql::OptsBuilder::from_opts(mysql::Opts::from_url(&server.url()).unwrap());
    let opts = opts.read_timeout(Some(Duration::from_millis(200)));
    Pool::builder(MysqlManager::new(opts)).max_size(1).build().unwrap()
}

#[test]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
fn connections_for_tasks_live_on_the_runtime_they_were_given() {
    let server = MariaDb::start(&[]);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let told = AsyncMysqlManager::from_url(&server.url()).unwrap();
    let told = told.runtime(runtime.handle().clone());
    let handle = runtime.handle().clone();
    let spawned = AsyncMysqlManager::from_url(&server.url()).unwrap();
    for pool in [
        Pool::builder_async(told).build().unwrap(),
        Pool::builder_async(spawned).spawner(move |task| drop(handle.spawn(task))).build().unwrap(),
    ] {
        let mut conn = pool.get_timeout(PLENTY).unwrap();
        runtime.block_on(echo::<AsyncMysqlManager>(&mut conn, 5)).unwrap();
        drop(conn);
        close(&pool);
    }
}
