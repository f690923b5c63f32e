//! SQLite lives in the process and cannot be killed; a switch does to its pool what a killed server
//! would.

use caliburn::adapters::sqlite::SqliteManager;
use caliburn::{Builder, Pool};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[derive(Clone, Default)]
pub(crate) struct Switch(Arc<AtomicBool>);

impl Switch {
    /// A pool to be, whose connections and connects fail while the switch says so.
    pub(crate) fn builder(&self) -> Builder<SqliteManager> {
        let (on_connect, on_return) = (self.clone(), self.clone());
        Pool::builder(SqliteManager::shared_memory("top"))
            .after_connect(move |_, _| on_connect.check())
            // What was on loan when the database was killed is no good when it comes back.
            .on_return(move |_, _| on_return.check())
    }

    fn check(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if self.0.load(Relaxed) { Err("the database was killed by a key".into()) } else { Ok(()) }
    }

    /// Kills, or heals.
    pub(crate) fn toggle(&self, pool: &Pool<SqliteManager>) {
        if !self.0.fetch_xor(true, Relaxed) {
            pool.evict_where(|_, _| true);
        }
    }
}
