//! What a driver must offer.

use crate::clock::Deadline;
use crate::role::{RoleDoubt, RoleReport};
use std::future::Future;
use std::pin::Pin;

#[cfg(test)]
pub(crate) mod nothing;

/// What a pool needs to know of connections of one kind. Implement it together with
/// [`BlockingManager`] or [`AsyncManager`].
///
/// | method | is called once | on |
/// |---|---|---|
/// | [`has_broken`] | before each loan, and after it | the borrower's thread |
/// | [`needs_reset`] | after each loan, unless the connection has broken | the returning thread |
/// | | after the hooks [after a connect] or a renewed session, if any | a worker |
/// | [`needs_reset_after_hook`] | after hooks [before a loan] or [on return] | any of these |
/// | [`needs_ping`] | before each loan, unless a ping is due | the borrower's thread |
/// | [`may_ping_here`] | before each ping that a borrower could make | the borrower's thread |
/// | [`may_wait_here`] | before each wait and each switch | the caller's thread |
/// | [`renews_session`] | after each reset, if there are hooks after a connect | a worker |
/// | [`classify`] | for each connect that fails with an error | a worker |
/// | [`ping_is_cancel_safe`] | for each ping dropped half-way | the thread that dropped it |
/// | [`tell_doubts`] | when a router begins to use the manager | a thread of the router |
///
/// [`has_broken`]: Self::has_broken
/// [`needs_reset`]: Self::needs_reset
/// [after a connect]: crate::Builder::after_connect
/// [`needs_reset_after_hook`]: Self::needs_reset_after_hook
/// [before a loan]: crate::Builder::before_acquire
/// [on return]: crate::Builder::on_return
/// [`needs_ping`]: Self::needs_ping
/// [`may_ping_here`]: Self::may_ping_here
/// [`may_wait_here`]: Self::may_wait_here
/// [`renews_session`]: Self::renews_session
/// [`tell_doubts`]: Self::tell_doubts
/// [`classify`]: Self::classify
/// [`ping_is_cancel_safe`]: Self::ping_is_cancel_safe
///
/// No method may block. The pool acts on each answer and never asks for it again, so an answer that
/// the driver gives only once, such as [`TcpStream::take_error`](std::net::TcpStream::take_error),
/// is not lost. A panic in any method costs the connection, nothing else.
///
/// ```
/// # mod driver {
/// #     pub struct Session;
/// #     pub type Error = std::io::Error;
/// #     impl Session {
/// #         pub fn is_closed(&self) -> bool { false }
/// #         pub fn is_in_transaction(&self) -> bool { false }
/// #         pub fn is_in_doubt(&self) -> bool { false }
/// #     }
/// # }
/// use caliburn::{ErrorClass, Face, Manager};
///
/// struct MyManager { renews: bool }
///
/// impl Manager for MyManager {
///     type Connection = driver::Session;
///     type Error = driver::Error;
///
///     fn has_broken(&self, session: &mut driver::Session) -> bool {
///         session.is_closed()
///     }
///
///     fn needs_reset(&self, session: &mut driver::Session) -> bool {
///         self.renews || session.is_in_transaction()
///     }
///     fn renews_session(&self) -> bool {
///         self.renews
///     }
///
///     fn classify(&self, error: &driver::Error) -> ErrorClass {
///         match error.kind() {
///             std::io::ErrorKind::PermissionDenied => ErrorClass::Permanent,
///             _ => ErrorClass::Transient,
///         }
///     }
///
///     // Variables that hooks have set stay.
///     fn needs_reset_after_hook(&self, session: &mut driver::Session) -> bool {
///         session.is_in_transaction()
///     }
///
///     fn needs_ping(&self, session: &mut driver::Session) -> bool {
///         session.is_in_doubt()
///     }
///
///     // The driver tells answers apart, also those to requests that were dropped.
///     fn ping_is_cancel_safe(&self) -> bool {
///         true
///     }
///
///     // The driver blocks on its own runtime, which panics on a thread of another runtime.
///     fn may_ping_here(&self) -> bool {
///         tokio::runtime::Handle::try_current().is_err()
///     }
///     fn may_wait_here(&self, face: Face) -> bool {
///         face == Face::Async || tokio::runtime::Handle::try_current().is_err()
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no manager of connections",
    label = "does not implement `caliburn::Manager`",
    note = "managers for databases are in `caliburn::adapters`, each behind a feature",
    note = "managers written for r2d2, bb8 or deadpool need a bridge: `caliburn::adapters::bridges`"
)]
pub trait Manager: Send + Sync + 'static {
    /// The connection type that is pooled.
    type Connection: Send + 'static;
    /// The driver's error type.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Returns whether the driver knows, without waiting for I/O, that the connection is unusable.
    /// Default: `false`.
    ///
    /// The pool asks before each loan, after the strategy and after a ping if there was one. If the
    /// answer is `true`, it closes the connection, the borrower goes on to the next one, and older
    /// connections become [suspect](crate::health::PingAfterFailure). It asks once more after the
    /// loan. What only an answer of the server can tell is a matter of
    /// [`needs_ping`](Self::needs_ping).
    fn has_broken(&self, connection: &mut Self::Connection) -> bool {
        let _ = connection;
        false
    }

    /// Returns whether the connection must be [reset](BlockingManager::reset) before its next loan,
    /// for example because a transaction is open. Default: `false`.
    ///
    /// The pool asks once after each loan, on the thread that returns the connection, unless the
    /// connection [has broken](Self::has_broken). It also asks once after the
    /// [hooks](crate::Builder::after_connect) of a new connection or of a
    /// [renewed](Self::renews_session) session have run, if there are any: what they have set is
    /// how the connection is meant to be.
    fn needs_reset(&self, connection: &mut Self::Connection) -> bool {
        let _ = connection;
        false
    }

    /// Returns whether hooks that [accompany a loan](crate::Builder::before_acquire) have left
    /// something open, a transaction or a dropped request, so that the connection must be
    /// [reset](BlockingManager::reset) once more. Default: the answer of [`needs_reset`].
    ///
    /// Override it if `needs_reset` also looks at settings: what hooks have set is meant for the
    /// borrower.
    ///
    /// [`needs_reset`]: Self::needs_reset
    fn needs_reset_after_hook(&self, connection: &mut Self::Connection) -> bool {
        self.needs_reset(connection)
    }

    /// Returns whether the connection must be pinged before this loan, whatever the strategy says.
    /// Default: `false`.
    ///
    /// The pool asks once before each loan for which no ping is due. Return `true` if only an
    /// answer of the server tells whether the connection is usable on the calling thread; do not
    /// wait for the answer here. [`try_get`](crate::Pool::try_get) does not lend such a connection,
    /// but has it pinged for later attempts.
    fn needs_ping(&self, connection: &mut Self::Connection) -> bool {
        let _ = connection;
        false
    }

    /// Returns whether a [reset](BlockingManager::reset) makes the session as good as new, and so
    /// undoes what the [hooks](crate::Builder::after_connect) of new connections did. If so, they
    /// run again after each reset. Default: `false`.
    fn renews_session(&self) -> bool {
        false
    }

    /// Returns whether an error in connecting is transient or permanent. Default: transient.
    fn classify(&self, error: &Self::Error) -> ErrorClass {
        let _ = error;
        ErrorClass::Transient
    }

    /// Returns whether a ping that was dropped half-way leaves the connection usable. If not, the
    /// pool replaces the connection. Default: `false`.
    fn ping_is_cancel_safe(&self) -> bool {
        false
    }

    /// Returns whether a borrower on the calling thread may make a ping itself. If not, a worker
    /// makes it. Default: `true`.
    ///
    /// The pool asks before each such ping. Return `false` where the driver would panic: if it
    /// brings its own runtime, on a thread that drives another one.
    fn may_ping_here(&self) -> bool {
        true
    }

    /// Returns whether a borrower may wait on the calling thread for a connection to be opened,
    /// pinged or returned. If not, its `get` returns [`GetError::WrongThread`](crate::GetError). So
    /// does [`switch_manager`](crate::Pool::switch_manager), which asks the new manager. Default:
    /// `true`.
    ///
    /// The pool asks before each wait. If connections make progress only while the calling thread
    /// does, return `false` to a borrower that would block it. For a task, note its runtime here.
    fn may_wait_here(&self, face: Face) -> bool {
        let _ = face;
        true
    }

    /// Takes a handle by which to tell a [`Router`](crate::Router) that the server may have another
    /// [role](BlockingManager::role) than it last said: when it refused a write, for example. The
    /// router then asks at once. [`RoleDoubt`] has an [example](RoleDoubt). Default: tells nothing,
    /// so that the router learns of it when it next asks.
    fn tell_doubts(&self, doubt: RoleDoubt) {
        let _ = doubt;
    }
}

/// See [`Manager::classify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The error may go away by itself: the pool tries again, and waiters go on waiting.
    Transient,
    /// The error does not go away by itself (a wrong password, a missing database): all waiters
    /// fail at once.
    Permanent,
}

/// A driver whose calls block the thread.
///
/// Each call gets a [`Deadline`] and must honour it. `connect`, `reset` and `close` run on the
/// pool's worker threads; `ping` runs there or, if it [may](Manager::may_ping_here), on the
/// borrower's thread. For each connection the pool calls `connect` once and `close` at most once,
/// `ping` as often as the strategy says, and `reset` after each loan that
/// [needs it](Manager::needs_reset).
///
/// ```
/// use caliburn::{BlockingManager, Deadline, Manager, RoleReport};
/// use std::net::{SocketAddr, TcpStream};
///
/// struct Tcp(SocketAddr);
///
/// impl Manager for Tcp {
///     type Connection = TcpStream;
///     type Error = std::io::Error;
/// }
///
/// impl BlockingManager for Tcp {
///     fn connect(&self, deadline: &Deadline) -> std::io::Result<TcpStream> {
///         TcpStream::connect_timeout(&self.0, deadline.remaining())
///     }
///     fn ping(&self, stream: &mut TcpStream, _: &Deadline) -> std::io::Result<()> {
///         stream.take_error()?.map_or(Ok(()), Err)
///     }
///     // Called only if `needs_reset` says so, which by default it never does.
///     fn reset(&self, stream: &mut TcpStream, deadline: &Deadline) -> std::io::Result<()> {
///         stream.set_read_timeout(Some(deadline.remaining()))
///     }
///     fn close(&self, stream: TcpStream, _: &Deadline) {
///         let _ = stream.shutdown(std::net::Shutdown::Both);
///     }
///     // Called only by a router.
///     fn role(&self, _: &mut TcpStream, _: &Deadline) -> std::io::Result<RoleReport> {
///         Ok(RoleReport::replica(None))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no manager of a blocking driver",
    label = "does not implement `BlockingManager`",
    note = "a manager whose calls are futures goes with `Pool::builder_async` or `Pool::new_async`",
    note = "a manager written for r2d2 goes into an `R2d2Manager` (feature `r2d2`)"
)]
pub trait BlockingManager: Manager {
    /// Opens a connection.
    fn connect(&self, deadline: &Deadline) -> Result<Self::Connection, Self::Error>;

    /// Asks the server whether the connection still works.
    fn ping(
        &self,
        connection: &mut Self::Connection,
        deadline: &Deadline,
    ) -> Result<(), Self::Error>;

    /// Makes a connection that [needs it](Manager::needs_reset) as good as new, for example with a
    /// rollback. Default: does nothing.
    fn reset(
        &self,
        connection: &mut Self::Connection,
        deadline: &Deadline,
    ) -> Result<(), Self::Error> {
        let _ = (connection, deadline);
        Ok(())
    }

    /// Closes the connection gracefully. Default: drops it. A
    /// [broken](crate::EvictionCause::is_broken) connection is always just dropped, as its server
    /// would not hear of the close.
    fn close(&self, connection: Self::Connection, deadline: &Deadline) {
        let _ = deadline;
        drop(connection);
    }

    /// Asks the server for its role among the [endpoints](crate::Router) of a router, which calls
    /// this each [`probe_interval`](crate::RouterBuilder::probe_interval) and more often when
    /// something has changed. The connection goes back to the pool as from a borrower; if this
    /// fails, the pool closes it. Default: [`Role::Unknown`](crate::Role), and so the role with
    /// which the endpoint was declared.
    fn role(
        &self,
        connection: &mut Self::Connection,
        deadline: &Deadline,
    ) -> Result<RoleReport, Self::Error> {
        let _ = (connection, deadline);
        Ok(RoleReport::default())
    }
}

/// A driver whose calls are futures. The pool drops a future at its deadline.
///
/// The futures run where [`Builder::spawner`](crate::Builder::spawner) puts them. Without a spawner
/// they run on the pool's worker threads, which suits drivers that need no runtime.
///
/// ```
/// use caliburn::{AsyncManager, Deadline, Manager};
/// use tokio::net::TcpStream;
///
/// struct Tcp(std::net::SocketAddr);
///
/// impl Manager for Tcp {
///     type Connection = TcpStream;
///     type Error = std::io::Error;
/// }
///
/// impl AsyncManager for Tcp {
///     async fn connect(&self, _: &Deadline) -> std::io::Result<TcpStream> {
///         TcpStream::connect(self.0).await
///     }
///     async fn ping(&self, stream: &mut TcpStream, _: &Deadline) -> std::io::Result<()> {
///         stream.take_error()?.map_or(Ok(()), Err)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no manager of an asynchronous driver",
    label = "does not implement `AsyncManager`",
    note = "a manager whose calls block goes with `Pool::builder` or `Pool::new`",
    note = "a manager written for bb8 or deadpool goes into a bridge (features `bb8`, `deadpool`)"
)]
pub trait AsyncManager: Manager {
    /// Opens a connection.
    fn connect(
        &self,
        deadline: &Deadline,
    ) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// Asks the server whether the connection still works.
    fn ping(
        &self,
        connection: &mut Self::Connection,
        deadline: &Deadline,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// As [`BlockingManager::reset`].
    fn reset(
        &self,
        connection: &mut Self::Connection,
        deadline: &Deadline,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = (connection, deadline);
        async { Ok(()) }
    }

    /// As [`BlockingManager::close`].
    fn close(
        &self,
        connection: Self::Connection,
        deadline: &Deadline,
    ) -> impl Future<Output = ()> + Send {
        let _ = deadline;
        async move { drop(connection) }
    }

    /// As [`BlockingManager::role`].
    fn role(
        &self,
        connection: &mut Self::Connection,
        deadline: &Deadline,
    ) -> impl Future<Output = Result<RoleReport, Self::Error>> + Send {
        let _ = (connection, deadline);
        async { Ok(RoleReport::default()) }
    }
}

/// How a call waits: which of the two traits a manager implements, and which kind of method a
/// borrower called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// It blocks its thread: [`BlockingManager`], [`Pool::get`](crate::Pool::get).
    Blocking,
    /// It is a future: [`AsyncManager`], [`Pool::get_async`](crate::Pool::get_async).
    Async,
}

/// A future in a box, which any thread may poll.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
