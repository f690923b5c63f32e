//! What the tests share: a schema, and a pool over a file.

use caliburn::adapters::bridges::R2d2Manager;
use caliburn::{Builder, Pool, PooledConnection};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::ConnectionManager;
use std::path::Path;
use std::time::Duration;

/// Long enough for anything that must happen; a test that waits for so long has failed.
pub const PLENTY: Duration = Duration::from_secs(20);

diesel::table! {
    account (id) {
        id -> Integer,
        owner -> Text,
        balance -> BigInt,
    }
}

pub type Bridge = R2d2Manager<ConnectionManager<SqliteConnection>>;
pub type Guard = PooledConnection<Bridge>;

/// Makes the table, and lets many read and write at once.
pub fn prepare(database: &Path) {
    let mut conn = SqliteConnection::establish(database.to_str().unwrap()).unwrap();
    conn.batch_execute(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE account (
             id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance BIGINT NOT NULL
         );",
    )
    .unwrap();
}

/// diesel's manager, in the bridge.
pub fn bridge(database: &Path) -> Bridge {
    R2d2Manager::new(ConnectionManager::new(database.to_str().unwrap()))
}

/// A pool that is to be built over it.
pub fn builder(database: &Path) -> Builder<Bridge> {
    Pool::builder(bridge(database).customize(Box::new(Patient)))
}

/// Written for r2d2: has statements wait for locks that others hold.
#[derive(Debug)]
pub struct Patient;

impl diesel::r2d2::CustomizeConnection<SqliteConnection, diesel::r2d2::Error> for Patient {
    fn on_acquire(&self, conn: &mut SqliteConnection) -> Result<(), diesel::r2d2::Error> {
        conn.batch_execute("PRAGMA busy_timeout = 20000").map_err(diesel::r2d2::Error::QueryError)
    }
}

/// An account for `owner`.
pub fn open_account(conn: &mut SqliteConnection, owner: &str, balance: i64) -> QueryResult<usize> {
    diesel::insert_into(account::table)
        .values((account::owner.eq(owner), account::balance.eq(balance)))
        .execute(conn)
}

/// How many accounts there are, and what they come to.
pub fn sum(conn: &mut SqliteConnection) -> (usize, i64) {
    let balances: Vec<i64> = account::table.select(account::balance).load(conn).unwrap();
    (balances.len(), balances.iter().sum())
}
