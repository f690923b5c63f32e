//! Callers who come all at once, as threads or as tasks.

use caliburn::{GetError, Manager, Pool, PooledConnection};
use futures_timer::Delay;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Barrier;
use tokio::task::JoinHandle;

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

    /// Has a caller on a thread of its own, or as a task.
    fn spawn<T: Send + 'static>(
        self,
        handle: &Handle,
        caller: impl Future<Output = T> + Send + 'static,
    ) -> Caller<T> {
        let own = handle.clone();
        let join = match self {
            Self::Threads => handle.spawn_blocking(move || own.block_on(caller)),
            Self::Tasks => handle.spawn(caller),
        };
        Caller(join, handle.clone())
    }

    /// So many callers, each knowing its number, all at once.
    pub fn begin<T, F>(
        self,
        handle: &Handle,
        count: usize,
        caller: impl Fn(usize) -> F,
    ) -> Vec<Caller<T>>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let start = Arc::new(Barrier::new(count));
        let begin = |number| {
            let (start, caller) = (Arc::clone(&start), caller(number));
            self.spawn(handle, async move {
                start.wait().await;
                caller.await
            })
        };
        (0..count).map(begin).collect()
    }

    /// The same, until all have come to their end.
    pub fn all<T, F>(self, handle: &Handle, count: usize, caller: impl Fn(usize) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.begin(handle, count, caller).into_iter().map(Caller::join).collect()
    }
}

/// A caller who has begun.
pub struct Caller<T>(JoinHandle<T>, Handle);

impl<T> Caller<T> {
    /// What it came to.
    pub fn join(self) -> T {
        self.1.block_on(self.0).expect("no caller panics")
    }
}
