//! deadpool, managed. It has a limit for each stage of `get` and none for the whole, keeps no
//! minimum open, and checks whatever its manager's `recycle` checks.

use super::{BoxFuture, Got, Limits, Peer, Refusal};
use crate::driver::Async;
use deadpool::Runtime;
use deadpool::managed::{Manager, Metrics, Pool, RecycleError, RecycleResult, Timeouts};
use std::error::Error;
use std::io;
use std::sync::Arc;

struct Adapter<D> {
    driver: D,
    checks: bool,
}

impl<D: Async> Manager for Adapter<D> {
    type Type = D::Connection;
    type Error = io::Error;

    async fn create(&self) -> io::Result<D::Connection> {
        self.driver.connect().await
    }

    async fn recycle(
        &self,
        connection: &mut D::Connection,
        _: &Metrics,
    ) -> RecycleResult<io::Error> {
        if self.driver.has_broken(connection) {
            return Err(RecycleError::message("broken"));
        }
        if self.checks {
            self.driver.ping(connection).await?;
        }
        Ok(())
    }
}

struct Tasks<D: Async>(Pool<Adapter<D>>);

pub(super) async fn pool<D: Async>(
    limits: Limits,
    driver: D,
) -> Result<Arc<dyn Peer>, Box<dyn Error>> {
    let timeouts = Timeouts {
        wait: Some(limits.get),
        create: limits.check.map(|check| check.connect),
        recycle: limits.check.map(|check| check.ping),
    };
    let pool: Pool<_> = Pool::builder(Adapter { driver, checks: limits.check.is_some() })
        .max_size(limits.max)
        .timeouts(timeouts)
        .runtime(Runtime::Tokio1)
        .build()?;
    // As nobody else opens the first connections, so many borrowers at once do.
    let mut first = Vec::new();
    for _ in 0..limits.idle {
        let pool = pool.clone();
        first.push(tokio::spawn(async move { pool.get().await }));
    }
    let mut open = Vec::new();
    for borrower in first {
        open.push(borrower.await??);
    }
    drop(open);
    Ok(Arc::new(Tasks(pool)))
}

impl<D: Async> Peer for Tasks<D> {
    fn turn<'a>(&'a self, got: Got<'a>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let mut connection = match self.0.get().await {
                Ok(connection) => connection,
                Err(error) => {
                    got(Err(Refusal::of(&error)));
                    return Ok(());
                }
            };
            got(Ok(()));
            self.0.manager().driver.query(&mut connection).await
        })
    }
}
