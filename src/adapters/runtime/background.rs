//! A runtime of the crate's own, for connections of borrowers that are in none.

use super::Home;
use crate::fork::PerProcess;
use std::sync::{Arc, Mutex, PoisonError};
use std::{future, thread};
use tokio::runtime::{Builder, Handle};

/// Started once in a process, and never ended.
static BACKGROUND: PerProcess<Mutex<Option<Arc<Home>>>> = PerProcess::new();

/// # Panics
///
/// If the system has no thread left, as tokio's own do.
pub(super) fn home() -> Arc<Home> {
    let background = BACKGROUND.get();
    let mut home = background.lock().unwrap_or_else(PoisonError::into_inner);
    let home = home.get_or_insert_with(|| Home::of(start()));
    Arc::clone(home)
}

fn start() -> Handle {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the system has no room for a runtime");
    let handle = runtime.handle().clone();
    let thread = thread::Builder::new().name("caliburn-runtime".into());
    thread
        .spawn(move || runtime.block_on(future::pending::<()>()))
        .expect("the system has no thread left for a runtime");
    handle
}
