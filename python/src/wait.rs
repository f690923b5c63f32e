//! A wait that asyncio awaits: a future of the core, and a waker that tells the event loop.

use crate::errors;
use crate::gate;
use crate::held::Held;
use crate::pool::{Lending, Pool};
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Tells the event loop, on whatever thread a connection comes free.
struct Notify(Held);

impl Wake for Notify {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        gate::attached(|py| {
            // The loop may be closed, and then nothing waits there any more.
            let _ = self.0.get().call0(py);
        });
    }
}

type Lends = Pin<Box<dyn Future<Output = Lending> + Send>>;

/// A borrower in the line.
#[pyclass(frozen, module = "caliburn._caliburn")]
pub(crate) struct Wait {
    pool: Py<Pool>,
    waker: Waker,
    notify: Arc<Notify>,
    /// `None` once it is over.
    future: Mutex<Option<Lends>>,
}

impl Wait {
    pub(crate) fn new(pool: Bound<'_, Pool>, notify: Py<PyAny>, timeout: Option<Duration>) -> Self {
        let core = Arc::clone(&pool.get().core);
        let future: Lends = Box::pin(async move {
            match timeout {
                None => core.get_async().await,
                Some(timeout) => core.get_timeout_async(timeout).await,
            }
        });
        let notify = Arc::new(Notify(Held::new(notify)));
        let waker = Waker::from(Arc::clone(&notify));
        Self { pool: pool.unbind(), waker, notify, future: Mutex::new(Some(future)) }
    }

    fn take(&self) -> Option<Lends> {
        self.future.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, future: Lends) {
        *self.future.lock().unwrap_or_else(PoisonError::into_inner) = Some(future);
    }
}

#[pymethods]
impl Wait {
    /// The connection, or `None`: not yet.
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        // Not under the lock: the poll may run Python, by a waker.
        let Some(mut future) = self.take() else {
            return Err(errors::new(py, "Error", "this wait is over"));
        };
        match future.as_mut().poll(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => {
                self.put(future);
                Ok(None)
            }
            Poll::Ready(Ok(guard)) => {
                self.pool.get().hand_over(py, guard, false).map(|(object, _)| Some(object))
            }
            Poll::Ready(Err(error)) => Err(errors::of_get(py, &error)),
        }
    }

    /// Leaves the line.
    fn cancel(&self) {
        drop(self.take());
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pool)?;
        // The waker is another owner of it, but not of the object.
        visit.call(self.notify.0.get())
    }
}
