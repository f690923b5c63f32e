//! What hooks before a loan have set the borrower finds, and what they have left open it does not.
#![cfg(all(unix, feature = "mysql", feature = "redis"))]

use crate::common::PLENTY;
use crate::common::servers::{mariadb, redis};
use caliburn::Pool;
use caliburn::adapters::mysql::MysqlManager;
use caliburn::adapters::redis::RedisManager;
use mysql::prelude::Queryable;

#[test]
#[ignore = "needs Redis"]
fn a_database_that_a_hook_selects_is_the_borrowers_and_a_transaction_is_not() {
    let server = redis::Redis::start(&[]);
    for leaves_open in [false, true] {
        let pool = Pool::builder(RedisManager::new(server.url()).unwrap())
            .max_size(1)
            .before_acquire(move |conn, _| {
                ::redis::cmd("SELECT").arg(5).exec(conn)?;
                if leaves_open {
                    ::redis::cmd("MULTI").exec(conn)?;
                }
                Ok(())
            })
            .build()
            .unwrap();
        for _ in 0..3 {
            let mut conn = pool.get_timeout(PLENTY).unwrap();
            let info: String = ::redis::cmd("CLIENT").arg("INFO").query(&mut *conn).unwrap();
            assert!(info.contains("multi=-1"), "{info}");
            assert!(leaves_open || info.contains("db=5"), "{info}");
        }
        assert_eq!(pool.stats().evictions.total(), 0);
    }
}

#[test]
#[ignore = "needs MariaDB"]
fn a_database_that_a_hook_uses_is_the_borrowers_for_one_loan_and_a_transaction_is_not() {
    let server = mariadb::MariaDb::start(&[]);
    let pool = Pool::builder(MysqlManager::from_url(&server.url()).unwrap())
        .max_size(1)
        .before_acquire(|conn, metadata| {
            if metadata.info().uses() % 2 == 0 {
                conn.query_drop("USE information_schema")?;
                conn.query_drop("BEGIN")?;
            }
            Ok(())
        })
        .build()
        .unwrap();
    for uses in 0..4 {
        let mut conn = pool.get_timeout(PLENTY).unwrap();
        let found: Option<(String, u8)> =
            conn.query_first("SELECT DATABASE(), @@in_transaction").unwrap();
        let database = if uses % 2 == 0 { "information_schema" } else { mariadb::DATABASE };
        assert_eq!(found, Some((database.to_owned(), 0)), "after {uses}");
    }
    assert_eq!(pool.stats().evictions.total(), 0);
}
