//! A manager for tests of the crate's own: whatever it is asked for is done at once.

use super::{BlockingManager, Manager};
use crate::clock::Deadline;
use std::convert::Infallible;

pub(crate) struct Nothing;

impl Manager for Nothing {
    type Connection = ();
    type Error = Infallible;
}

impl BlockingManager for Nothing {
    fn connect(&self, _: &Deadline) -> Result<(), Infallible> {
        Ok(())
    }

    fn ping(&self, (): &mut (), _: &Deadline) -> Result<(), Infallible> {
        Ok(())
    }
}
