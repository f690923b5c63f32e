//! Tasks that borrow connections, in waves: at times more than there are.

use caliburn::adapters::postgres::AsyncPostgresManager;
use caliburn::adapters::sqlite::SqliteManager;
use caliburn::{Manager, Pool, PooledConnection};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::time::sleep;
use tokio_postgres::types::Type;

const TASKS: u64 = 40;
/// From one wave to the next.
const WAVE: Duration = Duration::from_secs(12);
/// The longest that a task keeps a connection, and that it rests afterwards in an ebb.
const WORK: Duration = Duration::from_millis(300);
const REST: Duration = Duration::from_millis(1500);

pub(crate) trait Work: Manager + Sized {
    /// Keeps the connection busy for some `time`. Errors are the pool's to notice.
    fn work(
        conn: PooledConnection<Self>,
        time: Duration,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

impl Work for AsyncPostgresManager {
    async fn work(conn: PooledConnection<Self>, time: Duration) -> Result<(), Self::Error> {
        let seconds = time.as_secs_f64();
        conn.query_typed("SELECT pg_sleep($1)", &[(&seconds, Type::FLOAT8)]).await.map(drop)
    }
}

impl Work for SqliteManager {
    async fn work(conn: PooledConnection<Self>, time: Duration) -> Result<(), Self::Error> {
        sleep(time).await;
        // In memory that takes microseconds.
        conn.query_row("SELECT 1", [], |_| Ok(()))
    }
}

/// A share of `time`: more or less.
fn some(time: Duration, chances: &RandomState, number: u64) -> Duration {
    time.mul_f64((chances.hash_one(number) % 1_000) as f64 / 1_000.0)
}

/// For as long as the runtime lasts.
pub(crate) fn start<M: Work>(pool: &Pool<M>, runtime: &Runtime) {
    let begun = Instant::now();
    for _ in 0..TASKS {
        let (pool, chances) = (pool.clone(), RandomState::new());
        runtime.spawn(async move {
            for number in 0.. {
                // Why a task got no connection is among the events.
                if let Ok(conn) = pool.get_async().await {
                    let _ = M::work(conn, some(WORK, &chances, 2 * number)).await;
                }
                let angle = begun.elapsed().div_duration_f64(WAVE) * std::f64::consts::TAU;
                let ebb = (1.0 + angle.cos()) / 2.0;
                sleep(some(REST.mul_f64(ebb), &chances, 2 * number + 1)).await;
            }
        });
    }
}
