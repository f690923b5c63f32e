//! How many sessions a pool has at the server.
#![cfg(all(feature = "postgres", feature = "tokio-postgres"))]

use crate::common::pg::{Driver, both, named, single};
use crate::common::servers::postgres::Postgres;
use crate::common::{Ends, PLENTY};
use caliburn::adapters::postgres::{AsyncPostgresManager, PostgresManager};
use caliburn::health::AgeEviction;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

const THERE: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'it'";
/// Each is replaced as soon as it has been lent.
const LIFETIME: Duration = Duration::from_millis(50);
/// That long it goes on: the load itself.
const LONG: Duration = Duration::from_secs(3);

both! {
    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn there_are_never_more_than_the_pool_holds_while_old_ones_are_replaced<D: Driver>() {
        let server = Postgres::start(&[]);
        let builder = D::open(&named(&server, "it")).builder().max_size(4).min_size(4);
        let health = AgeEviction::default().max_lifetime(LIFETIME);
        let pool = builder.health(health).build().unwrap();
        let watcher = single(PostgresManager::open(&named(&server, "watcher")));
        let mut watcher = watcher.get_timeout(PLENTY).unwrap();
        let is_over = AtomicBool::new(false);
        let most = thread::scope(|scope| {
            let _end = Ends(&is_over);
            for _ in 0..4 {
                scope.spawn(|| {
                    while !is_over.load(SeqCst) {
                        let client = pool.get_timeout(PLENTY);
                        client.map(|mut client| D::ask(&mut client, "SELECT 1")).unwrap().unwrap();
                    }
                });
            }
            let (begun, mut most) = (Instant::now(), 0);
            while begun.elapsed() < LONG {
                most = most.max(watcher.query_one_cached(THERE, &[]).unwrap().get::<_, i64>(0));
            }
            is_over.store(true, SeqCst);
            most
        });
        assert!(pool.stats().closes > 20, "{:?}", pool.stats());
        assert!(most <= 4, "{most} sessions");
    }
}
