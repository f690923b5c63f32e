//! What the core is told of a driver.

use crate::callbacks::Callbacks;
use crate::connection::{Connection, Kind};
use crate::errors::DriverError;
use crate::gate;
use caliburn::{BlockingManager, Deadline, ErrorClass, Manager};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::sync::Arc;

/// A driver of Python's: its calls run on the pool's threads.
pub(crate) struct Driver {
    callbacks: Arc<Callbacks>,
}

impl Driver {
    pub(crate) fn new(callbacks: Arc<Callbacks>) -> Self {
        Self { callbacks }
    }

    fn open(&self, py: Python<'_>) -> PyResult<Connection> {
        let opened = self.callbacks.call(py, "connect", &PyTuple::empty(py))?;
        let (object, kind, descriptor): (Py<PyAny>, String, Option<i32>) = opened.extract()?;
        Connection::new(object, Kind::named(&kind), descriptor, &self.callbacks).ok_or_else(|| {
            PyValueError::new_err(
                "connect returned a connection that is open in this pool already; it must open a \
                 new one each time",
            )
        })
    }

    /// Calls a method of `_driver.py` for a connection.
    fn ask(&self, method: &str, connection: &Connection) -> Result<(), DriverError> {
        let asked = gate::attached(|py| {
            let object = connection.object().map(|object| object.clone_ref(py));
            let arguments = (object,).into_pyobject(py);
            let answer =
                arguments.and_then(|arguments| self.callbacks.call(py, method, &arguments));
            answer.map(drop).map_err(|error| DriverError::new(py, error, false))
        });
        asked.unwrap_or_else(|| Err(DriverError::ending()))
    }

    fn is_permanent(&self, py: Python<'_>, error: &PyErr) -> bool {
        let arguments = (error.value(py),).into_pyobject(py);
        let answer = arguments
            .and_then(|arguments| self.callbacks.call(py, "is_permanent", &arguments))
            .and_then(|answer| answer.is_truthy());
        answer.unwrap_or_else(|error| {
            self.callbacks.log(py, "is_permanent failed", error);
            false
        })
    }
}

impl Manager for Driver {
    type Connection = Connection;
    type Error = DriverError;

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.is_dead
    }

    fn needs_reset(&self, connection: &mut Connection) -> bool {
        connection.reset_due
    }

    fn needs_ping(&self, connection: &mut Connection) -> bool {
        connection.is_in_doubt()
    }

    fn classify(&self, error: &DriverError) -> ErrorClass {
        if error.is_permanent { ErrorClass::Permanent } else { ErrorClass::Transient }
    }
}

impl BlockingManager for Driver {
    fn connect(&self, _: &Deadline) -> Result<Connection, DriverError> {
        let opened = gate::attached(|py| {
            self.open(py).map_err(|error| {
                let is_permanent = self.is_permanent(py, &error);
                DriverError::new(py, error, is_permanent)
            })
        });
        opened.unwrap_or_else(|| Err(DriverError::ending()))
    }

    fn ping(&self, connection: &mut Connection, _: &Deadline) -> Result<(), DriverError> {
        let answer = self.ask("check", connection);
        connection.rests();
        answer
    }

    fn reset(&self, connection: &mut Connection, _: &Deadline) -> Result<(), DriverError> {
        self.ask("reset", connection)?;
        connection.reset_due = false;
        connection.rests();
        Ok(())
    }

    fn close(&self, connection: Connection, _: &Deadline) {
        connection.close();
    }
}
