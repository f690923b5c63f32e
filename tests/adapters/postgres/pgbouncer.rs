//! The core of what the PostgreSQL adapters promise, with PgBouncer in transaction mode in between:
//! each transaction, and each statement outside of one, may meet another session of the server.
#![cfg(all(feature = "postgres", feature = "tokio-postgres"))]

use crate::common::pg::{Driver, MARK, RUNTIME, ask, assert_unmarked, both, drivers, single};
use crate::common::servers::pgbouncer::PgBouncer;
use crate::common::servers::postgres::Postgres;
use crate::common::{PLENTY, ROOM, eventually};
use caliburn::adapters::postgres::{AsyncPostgresManager, PostgresManager};
use caliburn::health::PingOnBorrow;
use caliburn::{GetError, Pool};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

fn behind(size: usize) -> (Postgres, PgBouncer) {
    let server = Postgres::start(&[]);
    let pooler = PgBouncer::start(&server, size);
    (server, pooler)
}

fn many<D: Driver>(dsn: &str, size: usize) -> Pool<D> {
    D::open(dsn).builder().max_size(size).health(PingOnBorrow::always()).build().unwrap()
}

both! {
    #[ignore = "needs PostgreSQL and PgBouncer (initdb, postgres, pgbouncer)"]
    fn an_open_transaction_is_rolled_back_behind_a_pooler_too<D: Driver>() {
        let (_server, pooler) = behind(1);
        let pool = single(D::open(&pooler.dsn()));
        ask(&pool, "CREATE TABLE song (title TEXT)");
        for begin in ["BEGIN", "BEGIN; SAVEPOINT one"] {
            let mut client = pool.get().unwrap();
            D::ask(&mut client, begin).unwrap();
            D::ask(&mut client, MARK).unwrap();
            D::ask(&mut client, "INSERT INTO song VALUES ('Nimue')").unwrap();
            drop(client);
            assert_unmarked(&pool, begin);
            assert_eq!(ask(&pool, "SELECT count(*) FROM song").as_deref(), Some("0"));
        }
        // Were it still open, the pooler's only session would be taken.
        let other = single(D::open(&pooler.dsn()));
        assert_eq!(ask(&other, "SELECT 1").as_deref(), Some("1"));
        assert_eq!(pool.stats().connects, 1);
    }

    #[ignore = "needs PostgreSQL and PgBouncer (initdb, postgres, pgbouncer)"]
    fn more_connections_than_the_server_has_sessions_all_get_their_own_answers<D: Driver>() {
        let (server, pooler) = behind(3);
        let pool: Pool<D> = many(&pooler.dsn(), 20);
        thread::scope(|scope| {
            for worker in 0..20 {
                let pool = &pool;
                scope.spawn(move || {
                    for n in (worker * 1000)..(worker * 1000 + 100) {
                        let mut client = pool.get_timeout(PLENTY).unwrap();
                        assert_eq!(D::echo_at_once(&mut client, n).unwrap(), n);
                        let answer = D::ask(&mut client, &format!("SELECT {n}")).unwrap();
                        assert_eq!(answer, Some(n.to_string()));
                    }
                });
            }
        });
        let sessions = server.ask(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'",
        );
        // The asker is one of them.
        assert!(sessions.parse::<usize>().unwrap() <= 3 + 1, "{sessions}");
        assert_eq!(pool.stats().connects, 20);
        assert!(pool.close_within(PLENTY).is_complete());
    }

    #[ignore = "needs PostgreSQL and PgBouncer (initdb, postgres, pgbouncer)"]
    fn a_pooler_that_is_killed_or_frozen_is_as_a_server_that_is<D: Driver>() {
        let (_server, mut pooler) = behind(3);
        let pool: Pool<D> = many(&pooler.dsn(), 4);
        pool.change(|settings| settings.ping_timeout = Duration::from_millis(200)).unwrap();
        assert_eq!(ask(&pool, "SELECT 1").as_deref(), Some("1"));
        pooler.kill();
        pooler.restart();
        assert_eq!(ask(&pool, "SELECT 2").as_deref(), Some("2"), "pings weed out the dead");
        // Once lent, they are pinged again, however lately they have answered.
        drop([(); 4].map(|()| pool.get_timeout(PLENTY).unwrap()));
        pooler.freeze();
        let begun = Instant::now();
        let error = pool.get_timeout(Duration::from_secs(1)).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(1) + ROOM);
        let is_late = matches!(error, GetError::TimedOut { .. } | GetError::AllEvicted { .. });
        assert!(is_late, "{error}");
        pooler.thaw();
        assert_eq!(ask(&pool, "SELECT 3").as_deref(), Some("3"));
        eventually("nothing is stuck", || pool.stats().quarantined == 0);
    }

    #[ignore = "needs PostgreSQL and PgBouncer (initdb, postgres, pgbouncer)"]
    fn what_the_pooler_refuses_is_refused_for_good<D: Driver>() {
        let (_server, pooler) = behind(1);
        for (dsn, what) in [
            (pooler.dsn().replace("dbname=postgres", "dbname=no_such_database"), "database"),
            (pooler.dsn().replace("user=postgres", "user=nobody_we_know"), "user"),
        ] {
            let pool = single(D::open(&dsn));
            let begun = Instant::now();
            let error = pool.get_timeout(PLENTY).unwrap_err();
            let is_refused = matches!(error, GetError::Connect { .. });
            assert!(is_refused, "{what}: {error}: {}", drivers(&error));
            assert!(begun.elapsed() < PLENTY);
        }
    }
}

#[test]
#[ignore = "needs PostgreSQL and PgBouncer (initdb, postgres, pgbouncer)"]
fn a_dropped_future_leaves_nothing_to_the_next_behind_a_pooler_too() {
    let (_server, pooler) = behind(2);
    let pool: Pool<AsyncPostgresManager> = many(&pooler.dsn(), 4);
    let wrong = AtomicU64::new(0);
    thread::scope(|scope| {
        for worker in 0..8 {
            let (pool, wrong) = (&pool, &wrong);
            scope.spawn(move || {
                RUNTIME.block_on(async {
                    for n in (worker * 1000)..(worker * 1000 + 500) {
                        let client = pool.get_async().await.unwrap();
                        if n % 10 == 0 {
                            let sql = format!("BEGIN; {MARK}; SELECT {n}");
                            let limit = Duration::from_micros(n % 300);
                            let _ = tokio::time::timeout(limit, client.batch_execute(&sql)).await;
                            continue;
                        }
                        let sql = format!(
                            "SELECT {n} || coalesce(current_setting('caliburn.mark', true), '')"
                        );
                        let rows = client.simple_query(&sql).await.unwrap();
                        let is_ours = rows.iter().any(|message| match message {
                            tokio_postgres::SimpleQueryMessage::Row(row) => {
                                row.get(0) == Some(&*n.to_string())
                            }
                            _ => false,
                        });
                        wrong.fetch_add(u64::from(!is_ours), SeqCst);
                    }
                });
            });
        }
    });
    assert_eq!(wrong.load(SeqCst), 0);
}
