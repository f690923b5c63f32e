//! A runtime of the crate's own, for connections of borrowers that are in none, and for what watches
//! over those of others.

use super::Home;
use crate::fork::PerProcess;
use std::sync::{Arc, Mutex, PoisonError};
use std::{future, thread};
use tokio::runtime::{Builder, Handle};

/// Started once in a process, and never ended.
static BACKGROUND: PerProcess<Mutex<Option<Arc<Home>>>> = PerProcess::new();

/// Never one that is lost: should its thread have ended, another is started.
///
/// # Panics
///
/// If the system has no thread left, as tokio's own do.
pub(super) fn home() -> Arc<Home> {
    let background = BACKGROUND.get();
    let mut home = background.lock().unwrap_or_else(PoisonError::into_inner);
    match &*home {
        Some(home) if !home.is_lost() => Arc::clone(home),
        _ => Arc::clone(home.insert(Home::with_thread(start()))),
    }
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
