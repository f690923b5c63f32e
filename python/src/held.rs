//! A reference to a Python object that may be dropped on any thread, at any time.

use crate::gate;
use pyo3::prelude::*;
use std::mem::ManuallyDrop;

/// See the [module](self). The object's destructor runs at once, on the thread that drops this: no
/// list of things to be dropped later is kept, whose lock a forked child could inherit locked. If
/// the interpreter is about to end, the object is left alone.
pub(crate) struct Held(ManuallyDrop<Py<PyAny>>);

impl Held {
    pub(crate) fn new(object: Py<PyAny>) -> Self {
        Self(ManuallyDrop::new(object))
    }

    pub(crate) fn get(&self) -> &Py<PyAny> {
        &self.0
    }

    /// The object's address, which identifies it while it lives.
    pub(crate) fn address(&self) -> usize {
        self.0.as_ptr() as usize
    }
}

impl Drop for Held {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        gate::attached(|_| {
            // SAFETY: dropped once, and not used after it.
            unsafe { ManuallyDrop::drop(&mut self.0) }
        });
    }
}
