//! Callers who come all at once, as threads or as tasks.

use caliburn::{GetError, Manager, Pool, PooledConnection};
use futures_timer::Delay;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// Who borrows. Either way a caller is written as a future; that of a thread blocks it, and is
/// never pending for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    Threads,
    Tasks,
}

impl fmt::Display for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Threads => "threads",
            Self::Tasks => "tasks",
        })
    }
}

/// What a `get` comes to.
pub type Got<M> = Result<PooledConnection<M>, GetError<<M as Manager>::Error>>;

impl Face {
    pub async fn get<M: Manager>(self, pool: &Pool<M>) -> Got<M> {
        match self {
            Self::Threads => pool.get(),
            Self::Tasks => pool.get_async().await,
        }
    }

    pub async fn sleep(self, time: Duration) {
        match self {
            Self::Threads => thread::sleep(time),
            Self::Tasks => Delay::new(time).await,
        }
    }

    /// So many callers, each knowing its number, all at once: as tasks, or on threads of their own.
    pub fn begin<T, F>(
        self,
        handle: &Handle,
        count: usize,
        caller: impl Fn(usize) -> F,
    ) -> JoinSet<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (start, mut all) = (Arc::new(Barrier::new(count)), JoinSet::new());
        for number in 0..count {
            let (start, own, caller) = (Arc::clone(&start), handle.clone(), caller(number));
            let caller = async move {
                start.wait().await;
                caller.await
            };
            match self {
                Self::Threads => all.spawn_blocking_on(move || own.block_on(caller), handle),
                Self::Tasks => all.spawn_on(caller, handle),
            };
        }
        all
    }

    /// The same, until all have come to their end.
    pub fn all<T, F>(self, handle: &Handle, count: usize, caller: impl Fn(usize) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        handle.block_on(self.begin(handle, count, caller).join_all())
    }
}
