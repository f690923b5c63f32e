//! Runtimes for the tests: see `tests/`.

use tokio::runtime::{Builder, Runtime};

/// One that only a `block_on` drives.
pub fn of_one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// One with threads of its own.
pub fn of_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
