//! Python's face of caliburn: pools of connections of any thread-safe DB-API 2.0 driver.
//!
//! What needs to be fast, or must not be in Python when the interpreter ends or forks, is here; the
//! rest is Python, in `lib/caliburn`. From the ground up:
//!
//! - `gate`: when a thread of the pool may run Python code, and how that ends with the interpreter;
//! - `held`, `look`: a reference to an object, and a connection's socket;
//! - `errors`: what goes wrong, as Python's exceptions;
//! - `callbacks`, `connection`, `manager`: what the core is told of a driver;
//! - `loans`, `park`: who has what, and how a thread waits;
//! - `pool`, `loan`, `wait`: the classes. `report` makes their figures.

mod callbacks;
mod connection;
mod errors;
mod gate;
mod held;
mod loan;
mod loans;
mod look;
mod manager;
mod park;
mod pool;
mod report;
mod wait;

use pyo3::prelude::*;

/// The native part of caliburn; use the package.
#[pymodule(gil_used = true)]
fn _caliburn(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<pool::Pool>()?;
    module.add_class::<loan::Loan>()?;
    module.add_class::<wait::Wait>()?;
    module.add_function(wrap_pyfunction!(gate::close_all, module)?)?;
    module.add_function(wrap_pyfunction!(gate::before_fork, module)?)?;
    module.add_function(wrap_pyfunction!(gate::after_fork_in_parent, module)?)?;
    module.add_function(wrap_pyfunction!(gate::after_fork_in_child, module)?)?;
    module.add_function(wrap_pyfunction!(gate::note_main_thread, module)?)
}
