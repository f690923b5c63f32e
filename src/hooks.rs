//! Code of the user's that is run on each connection: once it is open, before each loan, after each
//! loan.

use crate::data::ConnectionData;
use crate::health::ConnectionInfo;
use crate::manager::{BoxFuture, Manager};
use std::error::Error;
use std::fmt;

/// Why a hook failed: any error, so that `?` works; for a text write `Err("…".into())`. The pool
/// [classifies](Manager::classify) the driver's own error as if the manager had returned it.
pub type HookError = Box<dyn Error + Send + Sync>;

/// What a hook learns of its connection.
///
/// ```
/// # use caliburn::{BlockingManager, Builder};
/// struct Greeted;
///
/// fn greet<M: BlockingManager>(builder: Builder<M>) -> Builder<M> {
///     builder.after_connect(|_, metadata| {
///         metadata.data().insert(Greeted);
///         if metadata.info().uses() > 0 {
///             return Err("that is not new".into());
///         }
///         Ok(())
///     })
/// }
/// ```
#[derive(Debug)]
pub struct Metadata<'a> {
    info: &'a ConnectionInfo,
    data: &'a mut ConnectionData,
}

impl<'a> Metadata<'a> {
    /// Returns what the pool knows of the connection: its age, uses and checks.
    pub fn info(&self) -> &'a ConnectionInfo {
        self.info
    }

    /// Returns the values kept beside the connection.
    pub fn data(&mut self) -> &mut ConnectionData {
        self.data
    }
}

/// A hook of either face: one that blocks is a future that is ready at once.
pub(crate) type Hook<M> = Box<
    dyn for<'a> Fn(
            &'a mut <M as Manager>::Connection,
            Metadata<'a>,
        ) -> BoxFuture<'a, Result<(), HookError>>
        + Send
        + Sync,
>;

/// All hooks of a pool, each kind in the order in which they were added.
pub(crate) struct Hooks<M: Manager> {
    pub(crate) after_connect: Vec<Hook<M>>,
    pub(crate) before_acquire: Vec<Hook<M>>,
    pub(crate) on_return: Vec<Hook<M>>,
}

impl<M: Manager> Hooks<M> {
    pub(crate) const fn new() -> Self {
        Self { after_connect: Vec::new(), before_acquire: Vec::new(), on_return: Vec::new() }
    }

    /// Whether something is to be run with each loan.
    pub(crate) fn accompany_loans(&self) -> bool {
        !self.before_acquire.is_empty() || !self.on_return.is_empty()
    }
}

/// Makes a hook of a function that blocks.
pub(crate) fn blocking<M: Manager>(
    hook: impl Fn(&mut M::Connection, &mut Metadata<'_>) -> Result<(), HookError>
    + Send
    + Sync
    + 'static,
) -> Hook<M> {
    Box::new(move |connection, mut metadata| {
        let outcome = hook(connection, &mut metadata);
        Box::pin(std::future::ready(outcome))
    })
}

/// Runs `hooks` one after the other, until one fails.
pub(crate) async fn run<M: Manager>(
    hooks: &[Hook<M>],
    connection: &mut M::Connection,
    info: &ConnectionInfo,
    data: &mut ConnectionData,
) -> Result<(), HookError> {
    for hook in hooks {
        hook(connection, Metadata { info, data: &mut *data }).await?;
    }
    Ok(())
}

impl<M: Manager> fmt::Debug for Hooks<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("after_connect", &self.after_connect.len())
            .field("before_acquire", &self.before_acquire.len())
            .field("on_return", &self.on_return.len())
            .finish()
    }
}
