//! The pool, as `lib/caliburn/pool.py` builds it: what is fast, what waits, and what Python lacks.

use crate::callbacks::Callbacks;
use crate::connection::State;
use crate::loan::Loan;
use crate::loans::{Lent, Loans};
use crate::manager::Driver;
use crate::wait::Wait;
use crate::{errors, gate, park, report};
use caliburn::{GetError, PoolConfig, PooledConnection};
use pyo3::PyTraverseError;
use pyo3::exceptions::{
    PyException, PyOverflowError, PyResourceWarning, PyTypeError, PyValueError,
};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyType};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What is done to a connection that comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reset {
    Never,
    /// If a transaction is open, or may be.
    IfOpen,
    Always,
}

/// For how long a call waits for the initial connections if it does not say.
const READY: Duration = Duration::from_secs(30);

/// What a borrower gets of the core.
pub(crate) type Lending = Result<PooledConnection<Driver>, GetError<crate::errors::DriverError>>;

/// The native part of `caliburn.Pool`.
#[pyclass(subclass, frozen, weakref, module = "caliburn._caliburn")]
pub(crate) struct Pool {
    pub(crate) core: Arc<caliburn::Pool<Driver>>,
    callbacks: Arc<Callbacks>,
    pub(crate) loans: Loans,
    looks: park::Looks,
    reset: Reset,
    resets_in_background: bool,
    notes_locations: bool,
    /// In which process it was built.
    forks: u32,
}

fn wrong(value: &Bound<'_, PyAny>, name: &str, what: &str) -> PyErr {
    let kind = value.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
    PyTypeError::new_err(format!("{name} must be {what}, not {kind}"))
}

/// A parameter `timeout` in seconds.
fn limit(timeout: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let is_huge = |error: &PyErr| error.is_instance_of::<PyOverflowError>(timeout.py());
    let seconds = match timeout.extract::<f64>() {
        _ if timeout.is_instance_of::<PyBool>() => None,
        Ok(seconds) => Some(seconds),
        Err(error) if is_huge(&error) => Some(if timeout.lt(0)? { -1.0 } else { f64::INFINITY }),
        Err(_) => None,
    };
    let Some(seconds) = seconds else {
        return Err(wrong(timeout, "timeout", "a number of seconds"));
    };
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(format!("timeout must be 0 or more, not {timeout}")));
    }
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// The same, but `None` is the pool's own.
fn limit_if_any(timeout: &Bound<'_, PyAny>) -> PyResult<Option<Duration>> {
    if timeout.is_none() { Ok(None) } else { limit(timeout).map(Some) }
}

/// A parameter `blocking`.
fn blocks(blocking: &Bound<'_, PyAny>) -> PyResult<bool> {
    blocking.extract().map_err(|_| wrong(blocking, "blocking", "a bool"))
}

impl Pool {
    /// Borrows a connection: at once if one is idle, and then without giving up the GIL.
    #[inline]
    pub(crate) fn lend(
        &self,
        py: Python<'_>,
        blocking: bool,
        timeout: Option<Duration>,
    ) -> PyResult<PooledConnection<Driver>> {
        if !blocking {
            return self.lend_now(py);
        }
        match timeout {
            None => self.drive(py, pin!(self.core.get_async())),
            Some(timeout) => self.drive(py, pin!(self.core.get_timeout_async(timeout))),
        }
    }

    #[inline]
    fn drive<F: Future<Output = Lending> + Send>(
        &self,
        py: Python<'_>,
        mut future: Pin<&mut F>,
    ) -> PyResult<PooledConnection<Driver>> {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(guard)) => Ok(guard),
            Poll::Ready(Err(error)) => Err(errors::of_get(py, &error)),
            Poll::Pending => self.wait(py, future),
        }
    }

    #[cold]
    #[inline(never)]
    fn wait<F: Future<Output = Lending> + Send>(
        &self,
        py: Python<'_>,
        future: Pin<&mut F>,
    ) -> PyResult<PooledConnection<Driver>> {
        self.bring_home_lost(py)?;
        let lending = self.park(py, future)?;
        lending.map_err(|error| errors::of_get(py, &error))
    }

    /// Waits without the GIL. Whoever waits may be the one that looks for losses.
    fn park<F: Future<Output: Send> + Send>(
        &self,
        py: Python<'_>,
        future: Pin<&mut F>,
    ) -> PyResult<F::Output> {
        park::wait(py, future, &self.looks, || self.bring_home_lost(py))
    }

    fn lend_now(&self, py: Python<'_>) -> PyResult<PooledConnection<Driver>> {
        self.core.try_get().or_else(|_| {
            self.bring_home_lost(py)?;
            self.core.try_get().map_err(|error| errors::of_try_get(py, error))
        })
    }

    /// Notes a loan. The answer is the driver's object, and the loan's number.
    #[inline]
    pub(crate) fn hand_over(
        &self,
        py: Python<'_>,
        guard: PooledConnection<Driver>,
        is_tied: bool,
    ) -> PyResult<(Py<PyAny>, u64)> {
        let object = guard.object().map(|object| object.clone_ref(py));
        let Some(object) = object else { return Err(errors::closed(py)) };
        let location = self.notes_locations.then(|| report::location(py)).flatten();
        Ok((object, self.loans.add(guard, is_tied, location)))
    }

    /// Takes a connection back that a borrower is done with.
    #[inline]
    pub(crate) fn take_back(&self, py: Python<'_>, lent: Lent, background: bool) -> PyResult<()> {
        let mut guard = lent.guard;
        if self.is_inherited() {
            // It is the parent's, whose server must not hear of it.
            drop(guard);
            return Ok(());
        }
        let result = self.settle(py, &mut guard, background || self.resets_in_background);
        guard.rests();
        drop(guard);
        result
    }

    /// Ends what the borrower has left open.
    #[inline]
    fn settle(
        &self,
        py: Python<'_>,
        guard: &mut PooledConnection<Driver>,
        background: bool,
    ) -> PyResult<()> {
        let is_due = match guard.state(py) {
            State::Dead => {
                guard.is_dead = true;
                return Ok(());
            }
            State::Clean => self.reset == Reset::Always,
            State::Open => self.reset != Reset::Never,
        };
        if !is_due {
            return Ok(());
        }
        if background {
            guard.reset_due = true;
            return Ok(());
        }
        let arguments = (guard.object(),).into_pyobject(py)?;
        let Err(error) = self.callbacks.call(py, "reset", &arguments) else { return Ok(()) };
        guard.is_dead = true;
        if error.is_instance_of::<PyException>(py) {
            self.callbacks.log(py, "a connection could not be reset, and is closed", error);
            return Ok(());
        }
        Err(error)
    }

    pub(crate) fn is_inherited(&self) -> bool {
        self.forks != gate::forks()
    }

    /// Takes back what borrowers have lost.
    fn bring_home_lost(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_inherited() {
            return Ok(());
        }
        let mut result = Ok(());
        for lent in self.loans.take_lost(py) {
            let place = lent.location.clone();
            let warned = warn_of_loss(py, place.as_deref());
            result = result.and(self.take_back(py, lent, true)).and(warned);
        }
        result
    }

    fn lost<T>(&self, py: Python<'_>, found: Option<T>) -> PyResult<T> {
        found.ok_or_else(|| {
            errors::new(py, "NotLent", "this connection is not on loan from this pool")
        })
    }

    fn take(&self, connection: &Bound<'_, PyAny>) -> PyResult<Lent> {
        self.lost(connection.py(), self.loans.take(connection.as_ptr() as usize, None))
    }
}

/// Says that a borrower has lost a connection.
pub(crate) fn warn_of_loss(py: Python<'_>, location: Option<&str>) -> PyResult<()> {
    let of = location.map_or(String::new(), |location| format!(", borrowed at {location}"));
    let text = format!("a connection was not returned to its pool before it was collected{of}");
    let text = std::ffi::CString::new(text).unwrap_or_default();
    PyErr::warn(py, &py.get_type::<PyResourceWarning>(), &text, 1)
}

#[pymethods]
impl Pool {
    #[new]
    fn new(
        py: Python<'_>,
        driver: Py<PyAny>,
        config: &str,
        reset: &str,
        resets_in_background: bool,
        notes_locations: bool,
    ) -> PyResult<Self> {
        let config = read(config)?;
        let callbacks = Arc::new(Callbacks::new(driver));
        let builder = caliburn::Pool::builder(Driver::new(Arc::clone(&callbacks))).config(&config);
        // Not attached: the threads that begin to work must be.
        let core = py.detach(|| builder.build()).map_err(|error| errors::of_build(py, &error))?;
        let core = Arc::new(core);
        gate::enroll(&core);
        let reset = match reset {
            "never" => Reset::Never,
            "always" => Reset::Always,
            _ => Reset::IfOpen,
        };
        let forks = gate::forks();
        Ok(Self {
            core,
            callbacks,
            loans: Loans::default(),
            looks: park::Looks::default(),
            reset,
            resets_in_background,
            notes_locations,
            forks,
        })
    }

    /// For annotations: `Pool[sqlite3.Connection]`.
    #[classmethod]
    fn __class_getitem__<'py>(
        class: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        class.py().import("types")?.getattr("GenericAlias")?.call1((class, item))
    }

    #[pyo3(signature = (*, blocking = true, timeout = None))]
    fn connection(
        slf: Bound<'_, Self>,
        #[pyo3(from_py_with = blocks)] blocking: bool,
        #[pyo3(from_py_with = limit_if_any)] timeout: Option<Duration>,
    ) -> Loan {
        Loan::new(slf.unbind(), blocking, timeout)
    }

    #[pyo3(signature = (*, blocking = true, timeout = None))]
    fn getconn(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = blocks)] blocking: bool,
        #[pyo3(from_py_with = limit_if_any)] timeout: Option<Duration>,
    ) -> PyResult<Py<PyAny>> {
        let guard = self.lend(py, blocking, timeout)?;
        self.hand_over(py, guard, false).map(|(object, _)| object)
    }

    #[pyo3(signature = (connection, *, background = false))]
    fn putconn(&self, connection: &Bound<'_, PyAny>, background: bool) -> PyResult<()> {
        let lent = self.take(connection)?;
        self.take_back(connection.py(), lent, background)
    }

    fn discard(&self, connection: &Bound<'_, PyAny>) -> PyResult<()> {
        let lent = self.take(connection)?;
        if !self.is_inherited() {
            PooledConnection::discard(lent.guard);
        }
        Ok(())
    }

    fn detach(&self, connection: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let py = connection.py();
        if self.is_inherited() {
            return Err(errors::of_get(py, &GetError::Forked));
        }
        let lent = self.take(connection)?;
        Ok(PooledConnection::detach(lent.guard).into_object(py))
    }

    fn suspect(&self, connection: &Bound<'_, PyAny>) -> PyResult<()> {
        let address = connection.as_ptr() as usize;
        let suspected = self.loans.with(address, |lent| PooledConnection::suspect(&mut lent.guard));
        self.lost(connection.py(), suspected)
    }

    fn set_label(&self, connection: &Bound<'_, PyAny>, label: String) -> PyResult<()> {
        let address = connection.as_ptr() as usize;
        let labelled = self.loans.with(address, |lent| lent.label = Some(label));
        self.lost(connection.py(), labelled)
    }

    fn is_lent(&self, connection: &Bound<'_, PyAny>) -> bool {
        self.loans.with(connection.as_ptr() as usize, |_| ()).is_some()
    }

    fn _info<'py>(&self, connection: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let py = connection.py();
        let address = connection.as_ptr() as usize;
        let info = self.loans.with(address, |lent| PooledConnection::info(&lent.guard));
        report::info(py, &self.lost(py, info)?)
    }

    /// A wait for asyncio. `notify` is called on any thread when it is worth another look.
    #[pyo3(signature = (notify, *, timeout = None))]
    fn _wait(
        slf: Bound<'_, Self>,
        notify: Py<PyAny>,
        #[pyo3(from_py_with = limit_if_any)] timeout: Option<Duration>,
    ) -> Wait {
        Wait::new(slf, notify, timeout)
    }

    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.bring_home_lost(py)?;
        let stats = py.detach(|| self.core.stats());
        report::stats(py, &stats)
    }

    fn _holders<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.bring_home_lost(py)?;
        report::holders(py, &self.loans)
    }

    fn _settings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        report::settings(py, &self.core.settings())
    }

    fn _set(&self, py: Python<'_>, config: &str) -> PyResult<()> {
        let settings = read(config)?.settings().map_err(|error| errors::of_config(py, &error))?;
        py.detach(|| self.core.set(settings)).map_err(|error| errors::of_config(py, &error))
    }

    #[getter]
    fn capacity(&self) -> usize {
        self.core.capacity()
    }

    #[getter]
    fn closed(&self) -> bool {
        self.core.is_closed()
    }

    #[pyo3(signature = (timeout = READY))]
    fn wait_ready(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = limit)] timeout: Duration,
    ) -> PyResult<()> {
        let ready = self.park(py, pin!(self.core.ready_async(timeout)))?;
        ready.map_err(|error| errors::of_not_ready(py, &error))
    }

    fn sweep(&self, py: Python<'_>) {
        py.detach(|| self.core.sweep());
    }

    #[pyo3(signature = (timeout = Duration::ZERO))]
    fn invalidate(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = limit)] timeout: Duration,
    ) -> PyResult<usize> {
        self.park(py, pin!(self.core.invalidate_async(timeout)))
    }

    fn pause(&self, py: Python<'_>) {
        py.detach(|| self.core.pause());
    }

    fn resume(&self, py: Python<'_>) {
        py.detach(|| self.core.resume());
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.core.close());
    }

    fn _close_within<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = limit)] timeout: Duration,
    ) -> PyResult<Bound<'py, PyDict>> {
        let report = self.park(py, pin!(self.core.close_within_async(timeout)))?;
        report::close(py, &report)
    }

    /// The pool is garbage.
    fn _finalize(&self) {
        self.callbacks.hide();
        self.core.close();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if self.is_inherited() {
            // The connections are not to be finalized here.
            return Ok(());
        }
        self.callbacks.traverse(visit)
    }

    fn __clear__(&self) {
        self.core.close();
        self.callbacks.clear();
    }
}

fn read(config: &str) -> PyResult<PoolConfig> {
    serde_json::from_str(config).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// What is still lent stays with its borrowers, who have the only references then.
impl Drop for Pool {
    fn drop(&mut self) {
        for lent in self.loans.take_all() {
            if self.is_inherited() || gate::is_shut() {
                std::mem::forget(lent.guard);
                continue;
            }
            let connection = PooledConnection::detach(lent.guard);
            gate::attached(|py| drop(connection.into_object(py)));
        }
    }
}
