//! A runtime of the crate's own: for connections of borrowers that are in none, and for what
//! watches over those of others.

use crate::fork::PerProcess;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::{future, thread};
use tokio::runtime::{Builder, Handle};

/// Started once in a process, and never ended.
static BACKGROUND: PerProcess<Mutex<Option<Background>>> = PerProcess::new();

struct Background {
    handle: Handle,
    /// Its thread has the other end.
    thread: Weak<()>,
}

/// Should its thread have ended, another is started.
///
/// # Panics
///
/// If the system has no thread left, as tokio's own do.
pub(super) fn handle() -> Handle {
    let background = BACKGROUND.get();
    let mut background = background.lock().unwrap_or_else(PoisonError::into_inner);
    match &*background {
        Some(it) if it.thread.strong_count() > 0 => it.handle.clone(),
        _ => background.insert(start()).handle.clone(),
    }
}

/// Whether that is it.
pub(super) fn is(runtime: &Handle) -> bool {
    let background = BACKGROUND.get();
    let background = background.lock().unwrap_or_else(PoisonError::into_inner);
    background.as_ref().is_some_and(|it| it.handle.id() == runtime.id())
}

fn start() -> Background {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the system has no room for a runtime");
    let handle = runtime.handle().clone();
    let lives = Arc::new(());
    let thread = Arc::downgrade(&lives);
    let drive = move || {
        let _lives = lives;
        runtime.block_on(future::pending::<()>())
    };
    thread::Builder::new()
        .name("caliburn-runtime".into())
        .spawn(drive)
        .expect("the system has no thread left for a runtime");
    Background { handle, thread }
}
