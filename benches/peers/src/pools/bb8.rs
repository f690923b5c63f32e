//! bb8. It has one limit, that of `get`, which bounds the checks within; its connects, tasks of
//! their own, have none.

use super::{BoxFuture, Got, Limits, Peer, Refusal};
use crate::driver::Async;
use bb8::{ManageConnection, Pool};
use std::error::Error;
use std::io;
use std::sync::Arc;

struct Adapter<D>(D);

impl<D: Async> ManageConnection for Adapter<D> {
    type Connection = D::Connection;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<D::Connection> {
        self.0.connect().await
    }

    async fn is_valid(&self, connection: &mut D::Connection) -> io::Result<()> {
        self.0.ping(connection).await
    }

    fn has_broken(&self, connection: &mut D::Connection) -> bool {
        self.0.has_broken(connection)
    }
}

struct Tasks<D: Async> {
    pool: Pool<Adapter<D>>,
    driver: D,
}

pub(super) async fn pool<D: Async>(
    limits: Limits,
    driver: D,
) -> Result<Arc<dyn Peer>, Box<dyn Error>> {
    let pool = Pool::builder()
        .max_size(limits.max as u32)
        .min_idle(limits.idle as u32)
        .connection_timeout(limits.get)
        .test_on_check_out(limits.check.is_some())
        .build(Adapter(driver.clone()))
        .await?;
    Ok(Arc::new(Tasks { pool, driver }))
}

impl<D: Async> Peer for Tasks<D> {
    fn turn<'a>(&'a self, got: Got<'a>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let mut connection = match self.pool.get().await {
                Ok(connection) => connection,
                Err(error) => {
                    got(Err(Refusal::of(&error)));
                    return Ok(());
                }
            };
            got(Ok(()));
            self.driver.query(&mut connection).await
        })
    }
}
