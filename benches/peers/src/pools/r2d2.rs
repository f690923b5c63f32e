//! r2d2. It has one limit, that of `get`; connects run on its own three threads, checks on the
//! caller's.

use super::{BoxFuture, Got, Limits, Peer, Refusal};
use crate::driver::Blocking;
use r2d2::{ManageConnection, NopErrorHandler, Pool};
use std::error::Error;
use std::io;
use std::sync::Arc;

struct Adapter<D>(D);

impl<D: Blocking> ManageConnection for Adapter<D> {
    type Connection = D::Connection;
    type Error = io::Error;

    fn connect(&self) -> io::Result<D::Connection> {
        self.0.connect()
    }

    fn is_valid(&self, connection: &mut D::Connection) -> io::Result<()> {
        self.0.ping(connection)
    }

    fn has_broken(&self, connection: &mut D::Connection) -> bool {
        self.0.has_broken(connection)
    }
}

struct Threads<D: Blocking> {
    pool: Pool<Adapter<D>>,
    driver: D,
}

pub(super) fn pool<D: Blocking>(
    limits: Limits,
    driver: D,
) -> Result<Arc<dyn Peer>, Box<dyn Error>> {
    let pool = Pool::builder()
        .max_size(limits.max as u32)
        .min_idle(Some(limits.idle as u32))
        .connection_timeout(limits.get)
        .test_on_check_out(limits.check.is_some())
        .error_handler(Box::new(NopErrorHandler))
        .build(Adapter(driver.clone()))?;
    Ok(Arc::new(Threads { pool, driver }))
}

impl<D: Blocking> Peer for Threads<D> {
    fn turn<'a>(&'a self, got: Got<'a>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let mut connection = match self.pool.get() {
                Ok(connection) => connection,
                Err(error) => {
                    // It has no source; the driver's last error, if any, follows a colon.
                    let text = error.to_string();
                    got(Err(Refusal { has_cause: text.contains(": "), text }));
                    return Ok(());
                }
            };
            got(Ok(()));
            self.driver.query(&mut connection)
        })
    }
}
