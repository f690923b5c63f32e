//! `with pool.connection() as conn`.

use crate::gate;
use crate::pool::{Pool, warn_of_loss};
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// A connection for the length of a `with` block.
#[pyclass(frozen, freelist = 64, module = "caliburn._caliburn")]
pub(crate) struct Loan {
    pool: Py<Pool>,
    blocking: bool,
    timeout: Option<Duration>,
    /// What is lent; zero if nothing is. The GIL orders all accesses.
    address: AtomicUsize,
    number: AtomicU64,
    /// A thread is about to enter, or is inside: set before the wait, in which others run.
    is_entered: AtomicBool,
}

impl Loan {
    pub(crate) fn new(pool: Py<Pool>, blocking: bool, timeout: Option<Duration>) -> Self {
        Self {
            pool,
            blocking,
            timeout,
            address: 0.into(),
            number: 0.into(),
            is_entered: false.into(),
        }
    }

    #[inline]
    fn enter(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let pool = self.pool.get();
        let guard = pool.lend(py, self.blocking, self.timeout)?;
        let address = guard.address();
        let (object, number) = pool.hand_over(py, guard, true)?;
        self.number.store(number, Ordering::Relaxed);
        self.address.store(address, Ordering::Relaxed);
        Ok(object)
    }

    /// Ends the loan, unless the connection has gone back by other ways.
    #[inline]
    fn end(&self, py: Python<'_>, is_lost: bool) -> PyResult<()> {
        let address = self.address.swap(0, Ordering::Relaxed);
        if address == 0 {
            return Ok(());
        }
        let pool = self.pool.get();
        let number = self.number.load(Ordering::Relaxed);
        let Some(lent) = pool.loans.take(address, Some(number)) else { return Ok(()) };
        let warned = if is_lost && !pool.is_inherited() {
            warn_of_loss(py, lent.location.as_deref())
        } else {
            Ok(())
        };
        pool.take_back(py, lent, is_lost).and(warned)
    }
}

#[pymethods]
impl Loan {
    fn __enter__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        // The GIL orders all accesses.
        if self.is_entered.load(Ordering::Relaxed) {
            let text = "this loan is in use; call pool.connection() for each with block";
            return Err(crate::errors::new(py, "Error", text));
        }
        self.is_entered.store(true, Ordering::Relaxed);
        let entered = self.enter(py);
        if entered.is_err() {
            self.is_entered.store(false, Ordering::Relaxed);
        }
        entered
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let ended = self.end(py, false);
        self.is_entered.store(false, Ordering::Relaxed);
        ended
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pool)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if *self.address.get_mut() == 0 {
            return;
        }
        gate::attached(|py| {
            if let Err(error) = self.end(py, true) {
                error.write_unraisable(py, None);
            }
        });
    }
}
