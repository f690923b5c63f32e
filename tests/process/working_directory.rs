//! A process that changes its working directory.
#![cfg(feature = "rusqlite")]

use crate::alone;
use crate::common::PLENTY;
use caliburn::Pool;
use caliburn::adapters::sqlite::SqliteManager;
use caliburn::health::PingOnBorrow;
use std::env::{current_dir, set_current_dir};

#[test]
fn a_relative_path_leads_to_the_same_database_wherever_the_process_goes() {
    let _alone = alone();
    let home = current_dir().unwrap();
    let [there, elsewhere] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    set_current_dir(there.path()).unwrap();
    let paths: &[_] = if cfg!(unix) { &["one.db", "file:two.db"] } else { &["one.db"] };
    let pools = paths.iter().map(|path| {
        let builder = Pool::builder(SqliteManager::file(path)).max_size(2);
        let pool = builder.health(PingOnBorrow::always()).build().unwrap();
        let conn = pool.get_timeout(PLENTY).unwrap();
        conn.execute_batch("CREATE TABLE song (title TEXT)").unwrap();
        pool.clone()
    });
    let pools: Vec<_> = pools.collect();
    set_current_dir(elsewhere.path()).unwrap();
    for pool in &pools {
        let (one, other) = (pool.get_timeout(PLENTY).unwrap(), pool.get_timeout(PLENTY).unwrap());
        for conn in [one, other] {
            conn.execute("INSERT INTO song VALUES ('Nimue')", []).unwrap();
        }
        assert_eq!(pool.stats().connects, 2, "the first is in its place");
    }
    set_current_dir(home).unwrap();
}
