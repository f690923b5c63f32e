//! What the user has given a pool to call, and the connections that came of it.

use crate::errors;
use crate::gate::call;
use crate::held::Held;
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::collections::HashSet;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An object of Python's which makes the calls; see `lib/caliburn/_driver.py`. Called by a pool's
/// threads, and by borrowers.
pub(crate) struct Callbacks {
    /// `None` once the pool was collected as a part of a cycle.
    driver: Mutex<Option<Held>>,
    /// The addresses of all open connections, each of which is held by one reference of the pool.
    open: Mutex<HashSet<usize>>,
    /// The collector is not shown the connections any more.
    hides: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Callbacks {
    pub(crate) fn new(driver: Py<PyAny>) -> Self {
        let driver = Mutex::new(Some(Held::new(driver)));
        Self { driver, open: Mutex::default(), hides: false.into() }
    }

    /// Calls the driver's method of that name.
    pub(crate) fn call<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        arguments: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let driver = lock(&self.driver).as_ref().map(|driver| driver.get().clone_ref(py));
        let Some(driver) = driver else {
            return Err(errors::new(py, "PoolClosed", "the pool was collected"));
        };
        call(&driver.bind(py).getattr(method)?, arguments, None)
    }

    /// Has Python's log say it: nothing that goes wrong there matters.
    pub(crate) fn log(&self, py: Python<'_>, what: &str, error: PyErr) {
        let arguments = (what, error.into_value(py)).into_pyobject(py);
        let _ = arguments.and_then(|arguments| self.call(py, "log", &arguments));
    }

    /// Notes a new connection. False: it is one that is open already.
    pub(crate) fn opened(&self, connection: &Held) -> bool {
        lock(&self.open).insert(connection.address())
    }

    /// Notes that the pool gives up its reference. The thread is attached, so that the collector
    /// does not look just now.
    pub(crate) fn gone(&self, _: Python<'_>, connection: &Held) {
        lock(&self.open).remove(&connection.address());
    }

    /// Shows the collector all that the pool holds. A lock that is taken hides it, which means that
    /// it lives on until the next time.
    #[allow(unsafe_code)]
    pub(crate) fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(driver) = self.driver.try_lock()
            && let Some(driver) = &*driver
        {
            visit.call(driver.get())?;
        }
        let Ok(open) = self.open.try_lock() else { return Ok(()) };
        if self.hides.load(Ordering::Relaxed) {
            return Ok(());
        }
        for &address in &*open {
            let pointer = address as *mut pyo3::ffi::PyObject;
            // SAFETY: the collector runs attached. The pool holds a reference to the object, which
            // it gives up only after `gone`, and that takes the lock. This one is not counted, and
            // so not dropped.
            let connection = unsafe { Bound::from_owned_ptr(Python::assume_attached(), pointer) };
            let connection = ManuallyDrop::new(connection.unbind());
            visit.call(&*connection)?;
        }
        Ok(())
    }

    /// Hides the connections from the collector, which has found the pool to be garbage, and so
    /// them as well. It would clear them, but they are yet to be closed. Hidden, they seem to be in
    /// use.
    pub(crate) fn hide(&self) {
        self.hides.store(true, Ordering::Relaxed);
    }

    /// Gives up the user's callables.
    pub(crate) fn clear(&self) {
        let driver = lock(&self.driver).take();
        drop(driver);
    }
}
