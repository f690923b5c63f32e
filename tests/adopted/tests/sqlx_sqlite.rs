//! sqlx's connections to SQLite, which need no server and no runtime's reactor.

use caliburn::Pool;
use caliburn::adapters::sqlx::SqlxManager;
use caliburn::health::PingOnBorrow;
use caliburn_adopted::{of_one_thread, of_threads};
use caliburn_testing::PLENTY;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, Executor as _, Sqlite};
use std::time::Duration;

#[test]
fn transactions_left_open_are_rolled_back_in_one_runtime_after_another() {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(directory.path().join("songs.db"))
        .create_if_missing(true)
        .busy_timeout(Duration::from_secs(20));
    let builder = Pool::builder_async(SqlxManager::<Sqlite>::new(options)).max_size(2);
    let pool = builder.health(PingOnBorrow::always()).build().unwrap();
    of_one_thread().block_on(async {
        let mut conn = pool.get_async().await.unwrap();
        conn.execute("CREATE TABLE song (title TEXT NOT NULL)").await.unwrap();
    });
    for make in [of_one_thread, of_threads] {
        make().block_on(async {
            for forgets in [false, true] {
                let mut conn = pool.get_async().await.unwrap();
                let mut transaction = conn.begin().await.unwrap();
                transaction.execute("INSERT INTO song VALUES ('Mordred')").await.unwrap();
                if forgets {
                    std::mem::forget(transaction)
                } else {
                    drop(transaction)
                }
                drop(conn);
                let mut conn = pool.get_async().await.unwrap();
                let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM song");
                assert_eq!(count.fetch_one(&mut *conn).await.unwrap(), 0);
                assert!(!conn.is_in_transaction());
            }
        });
    }
    assert_eq!(pool.stats().ping_failures, 0);
    assert!(pool.close_within(PLENTY).is_complete());
}
