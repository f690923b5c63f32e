//! What goes wrong, as Python's exceptions; the classes are in `lib/caliburn/errors.py`.

use crate::gate;
use crate::held::Held;
use caliburn::error::{Counts, Phase};
use caliburn::{BuildError, ConfigError, GetError, ManagerError, NotReady, TryGetError};
use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::error::Error;
use std::fmt;

/// An exception that a callback raised, as the core knows it.
pub(crate) struct DriverError {
    exception: Option<Held>,
    text: String,
    pub(crate) is_permanent: bool,
}

impl DriverError {
    pub(crate) fn new(py: Python<'_>, error: PyErr, is_permanent: bool) -> Self {
        let value = error.into_value(py).into_any();
        let bound = value.bind(py);
        let kind = bound.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
        let text = bound.str().map_or_else(|_| String::new(), |text| text.to_string());
        let text = if text.is_empty() { kind } else { format!("{kind}: {text}") };
        Self { exception: Some(Held::new(value)), text, is_permanent }
    }

    /// The interpreter is about to end: nothing is opened or asked any more.
    pub(crate) fn ending() -> Self {
        let text = "the interpreter is about to end".into();
        Self { exception: None, text, is_permanent: true }
    }

    fn exception(&self, py: Python<'_>) -> Option<PyErr> {
        let exception = self.exception.as_ref()?.get().clone_ref(py);
        Some(PyErr::from_value(exception.into_bound(py)))
    }
}

impl fmt::Debug for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for DriverError {}

/// An exception of that class.
pub(crate) fn new(py: Python<'_>, class: &str, text: &str) -> PyErr {
    let made = || -> PyResult<PyErr> {
        let class = py.import("caliburn.errors")?.getattr(class)?;
        Ok(PyErr::from_value(class.call1((text,))?))
    };
    made().unwrap_or_else(|error| error)
}

/// The same, with attributes and a cause.
fn raised(
    py: Python<'_>,
    class: &str,
    text: &str,
    attributes: &[(&str, Py<PyAny>)],
    cause: Option<&ManagerError<DriverError>>,
) -> PyErr {
    let error = new(py, class, text);
    let value = error.value(py);
    for (name, attribute) in attributes {
        // Of an exception that could not be made, it need not have attributes.
        let _ = value.setattr(*name, attribute);
    }
    error.set_cause(py, cause.and_then(|cause| cause_of(py, cause)));
    error
}

/// What callers of Python call `Pool::holders()` is `Pool.holders()`. Of the core's own words only:
/// a driver's are left as they are.
fn in_words_of_python(said: impl fmt::Display) -> String {
    said.to_string().replace("::", ".").replace("the manager", "the driver")
}

/// The words of a cause, the driver's own if it is the driver that has failed.
fn words_of(cause: &ManagerError<DriverError>) -> String {
    match cause {
        ManagerError::Failed(error) => error.text.clone(),
        other => in_words_of_python(format_args!("{other:#}")),
    }
}

fn cause_of(py: Python<'_>, cause: &ManagerError<DriverError>) -> Option<PyErr> {
    match cause {
        ManagerError::Failed(error) => {
            error.exception(py).or_else(|| Some(new(py, "Error", &error.text)))
        }
        ManagerError::Pending => None,
        other => Some(new(py, "Error", &words_of(other))),
    }
}

fn counts(py: Python<'_>, counts: &Counts) -> Py<PyAny> {
    let Counts { max_size, idle, lent, opening, maintenance, quarantined, waiting, .. } = *counts;
    let entries = [
        ("max_size", max_size),
        ("idle", idle),
        ("lent", lent),
        ("opening", opening),
        ("maintenance", maintenance),
        ("quarantined", quarantined),
        ("waiting", waiting),
    ];
    let dict = PyDict::new(py);
    for (name, count) in entries {
        let _ = dict.set_item(name, count);
    }
    dict.into_any().unbind()
}

fn float(py: Python<'_>, number: f64) -> Py<PyAny> {
    number.into_pyobject(py).map_or_else(|_| py.None(), |number| number.into_any().unbind())
}

fn text(py: Python<'_>, text: &str) -> Py<PyAny> {
    text.into_pyobject(py).map_or_else(|_| py.None(), |text| text.into_any().unbind())
}

pub(crate) fn of_get(py: Python<'_>, error: &GetError<DriverError>) -> PyErr {
    let said = in_words_of_python(error);
    match error {
        GetError::TimedOut { phase, waited, counts: at, cause } => {
            let phase = match phase {
                Phase::Connect => "connect",
                Phase::Ping => "check",
                _ => "wait",
            };
            let attributes = [
                ("phase", text(py, phase)),
                ("waited", float(py, waited.as_secs_f64())),
                ("counts", counts(py, at)),
            ];
            raised(py, "PoolTimeout", &said, &attributes, cause.as_deref())
        }
        GetError::Connect { counts: at, cause } => {
            let said = format!("{said}: {}", words_of(cause));
            raised(py, "ConnectError", &said, &[("counts", counts(py, at))], Some(cause))
        }
        GetError::TooManyWaiters { counts: at } => {
            raised(py, "TooManyWaiters", &said, &[("counts", counts(py, at))], None)
        }
        GetError::Shed { waited, counts: at, .. } => {
            let waited = float(py, waited.as_secs_f64());
            let attributes = [("waited", waited), ("counts", counts(py, at))];
            raised(py, "TurnedAway", &said, &attributes, None)
        }
        GetError::AllEvicted { counts: at, .. } => {
            raised(py, "AllEvicted", &said, &[("counts", counts(py, at))], None)
        }
        GetError::Closed => closed(py),
        GetError::Forked => new(py, "PoolForked", &said),
        _ => new(py, "Error", &said),
    }
}

pub(crate) fn of_try_get(py: Python<'_>, error: TryGetError) -> PyErr {
    match error {
        TryGetError::Closed => closed(py),
        TryGetError::Forked => new(py, "PoolForked", &error.to_string()),
        _ => new(py, "PoolEmpty", &error.to_string()),
    }
}

pub(crate) fn closed(py: Python<'_>) -> PyErr {
    if !gate::is_ending() {
        return new(py, "PoolClosed", "the pool is closed");
    }
    let text = "the pool is closed: the interpreter is about to end";
    if gate::is_main_thread(py) {
        return new(py, "PoolClosed", text);
    }
    // A thread that the interpreter does not wait for ends without a word.
    PySystemExit::new_err(text)
}

pub(crate) fn of_config(py: Python<'_>, error: &ConfigError) -> PyErr {
    new(py, "ConfigError", &error.to_string())
}

pub(crate) fn of_not_ready(py: Python<'_>, error: &NotReady<DriverError>) -> PyErr {
    if error.is_closed {
        return closed(py);
    }
    if error.is_forked {
        return new(py, "PoolForked", &error.to_string());
    }
    let said = match &error.cause {
        Some(cause) => format!("{}: {}", in_words_of_python(error), words_of(cause)),
        None => in_words_of_python(error),
    };
    raised(py, "ConnectError", &said, &[], error.cause.as_deref())
}

pub(crate) fn of_build(py: Python<'_>, error: &BuildError<DriverError>) -> PyErr {
    match error {
        BuildError::Config(error) => of_config(py, error),
        BuildError::NotReady(error) => of_not_ready(py, error),
        other => new(py, "Error", &format!("{other:#}")),
    }
}
