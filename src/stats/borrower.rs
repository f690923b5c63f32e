//! Who borrows: a thread or a task.

use crate::sync::{Arc, thread};
use std::fmt;

/// A thread or a task that borrows connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Borrower {
    /// A thread, with its name if it has one.
    Thread(thread::ThreadId, Option<Arc<str>>),
    /// A task of tokio, by its id. (With feature `tokio`, or one that needs it.)
    Task(Arc<str>),
}

impl Borrower {
    /// The task that the calling thread runs; else the thread itself, unless `is_async`: a future
    /// may go from thread to thread.
    pub(crate) fn current(is_async: bool) -> Option<Self> {
        if let Some(task) = task() {
            return Some(Self::Task(task));
        }
        if is_async {
            return None;
        }
        let thread = thread::current();
        Some(Self::Thread(thread.id(), thread.name().map(Arc::from)))
    }
}

#[cfg(feature = "tokio")]
fn task() -> Option<Arc<str>> {
    tokio::task::try_id().map(|id| id.to_string().into())
}

#[cfg(not(feature = "tokio"))]
fn task() -> Option<Arc<str>> {
    None
}

impl fmt::Display for Borrower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread(_, Some(name)) => write!(f, "thread {name}"),
            Self::Thread(id, None) => write!(f, "{id:?}"),
            Self::Task(id) => write!(f, "task {id}"),
        }
    }
}

/// What a borrower says of itself, for one loan.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    /// The loan, by the slot's transitions.
    pub(crate) transitions: u64,
    pub(crate) borrower: Option<Borrower>,
    pub(crate) label: Option<Arc<str>>,
}

/// No label is longer than this many bytes.
const LONGEST_LABEL: usize = 256;

/// The label as it is kept.
pub(crate) fn cut(label: &str) -> Arc<str> {
    let most = label.len().min(LONGEST_LABEL);
    let end = (0..=most).rev().find(|end| label.is_char_boundary(*end)).unwrap_or(0);
    label[..end].into()
}
