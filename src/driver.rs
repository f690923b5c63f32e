//! Both kinds of manager behind one table.

use crate::clock::Deadline;
use crate::manager::{AsyncManager, BlockingManager, BoxFuture, Face, Manager};
use crate::role::RoleReport;
use std::fmt;

/// Both kinds of manager behind one table: a blocking call is a future that is ready at its first
/// poll.
pub(crate) trait Driver<M: Manager>: Send + Sync {
    fn kind(&self) -> Face;
    fn connect<'a>(
        &self,
        manager: &'a M,
        deadline: &'a Deadline,
    ) -> BoxFuture<'a, Result<M::Connection, M::Error>>;
    fn ping<'a>(
        &self,
        manager: &'a M,
        connection: &'a mut M::Connection,
        deadline: &'a Deadline,
    ) -> BoxFuture<'a, Result<(), M::Error>>;
    fn reset<'a>(
        &self,
        manager: &'a M,
        connection: &'a mut M::Connection,
        deadline: &'a Deadline,
    ) -> BoxFuture<'a, Result<(), M::Error>>;
    fn close<'a>(
        &self,
        manager: &'a M,
        connection: M::Connection,
        deadline: &'a Deadline,
    ) -> BoxFuture<'a, ()>;
    fn role<'a>(
        &self,
        manager: &'a M,
        connection: &'a mut M::Connection,
        deadline: &'a Deadline,
    ) -> BoxFuture<'a, Result<RoleReport, M::Error>>;
}

pub(crate) struct Blocking;
pub(crate) struct Async;

/// Writes the table once for both kinds; `$call` turns the manager's answer into the future's.
macro_rules! driver {
    ($driver:ty, $manager:ident, $kind:expr $(, $await:tt)?) => {
        impl<M: $manager> Driver<M> for $driver {
            fn kind(&self) -> Face {
                $kind
            }

            fn connect<'a>(
                &self,
                manager: &'a M,
                deadline: &'a Deadline,
            ) -> BoxFuture<'a, Result<M::Connection, M::Error>> {
                Box::pin(async move { manager.connect(deadline)$(.$await)? })
            }

            fn ping<'a>(
                &self,
                manager: &'a M,
                connection: &'a mut M::Connection,
                deadline: &'a Deadline,
            ) -> BoxFuture<'a, Result<(), M::Error>> {
                Box::pin(async move { manager.ping(connection, deadline)$(.$await)? })
            }

            fn reset<'a>(
                &self,
                manager: &'a M,
                connection: &'a mut M::Connection,
                deadline: &'a Deadline,
            ) -> BoxFuture<'a, Result<(), M::Error>> {
                Box::pin(async move { manager.reset(connection, deadline)$(.$await)? })
            }

            fn close<'a>(
                &self,
                manager: &'a M,
                connection: M::Connection,
                deadline: &'a Deadline,
            ) -> BoxFuture<'a, ()> {
                Box::pin(async move { manager.close(connection, deadline)$(.$await)? })
            }

            fn role<'a>(
                &self,
                manager: &'a M,
                connection: &'a mut M::Connection,
                deadline: &'a Deadline,
            ) -> BoxFuture<'a, Result<RoleReport, M::Error>> {
                Box::pin(async move { manager.role(connection, deadline)$(.$await)? })
            }
        }
    };
}

driver!(Blocking, BlockingManager, Face::Blocking);
driver!(Async, AsyncManager, Face::Async, await);

impl<M: Manager> fmt::Debug for dyn Driver<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind().fmt(f)
    }
}
