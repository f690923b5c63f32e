//! What a scenario gives to every pool alike.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::task::unconstrained;

/// A driver. Pools for threads block on its futures.
pub trait Driver: Clone + Send + Sync + 'static {
    type Connection: Send + 'static;

    /// Whether the driver knows that the connection is of no more use.
    fn has_broken(&self, _: &mut Self::Connection) -> bool {
        false
    }

    fn connect(&self) -> impl Future<Output = io::Result<Self::Connection>> + Send;

    fn ping(&self, _: &mut Self::Connection) -> impl Future<Output = io::Result<()>> + Send {
        async { Ok(()) }
    }

    fn query(&self, _: &mut Self::Connection) -> impl Future<Output = io::Result<()>> + Send;

    /// Blocks this thread until `call` has come to its end.
    fn block<T>(&self, call: impl Future<Output = T>) -> T {
        // A caller's thread may have a task's budget, which would never be renewed in here.
        pollster::block_on(unconstrained(call))
    }
}

/// The truth about connections, kept by the driver: no pool is asked what it believes.
#[derive(Clone, Debug, Default)]
pub struct Books(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicUsize,
    under_way: AtomicUsize,
    open: AtomicUsize,
}

impl Books {
    /// Attempts to connect, ever.
    pub fn begun(&self) -> usize {
        self.0.begun.load(SeqCst)
    }

    /// Attempts that have not ended.
    pub fn under_way(&self) -> usize {
        self.0.under_way.load(SeqCst)
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.0.open.load(SeqCst)
    }

    /// Counts an attempt, until it is dropped.
    pub fn attempt(&self) -> Attempt {
        self.0.begun.fetch_add(1, SeqCst);
        self.0.under_way.fetch_add(1, SeqCst);
        Attempt(self.clone())
    }
}

/// An attempt to connect, under way.
#[derive(Debug)]
pub struct Attempt(Books);

impl Attempt {
    /// It has succeeded; the connection keeps what this returns.
    pub fn succeeded(self) -> Open {
        self.0.0.open.fetch_add(1, SeqCst);
        Open(self.0.clone())
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.0.under_way.fetch_sub(1, SeqCst);
    }
}

/// Counts as an open connection until it is dropped.
#[derive(Debug)]
pub struct Open(Books);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, SeqCst);
    }
}
