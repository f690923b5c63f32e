//! The work on slots that are out of service: the calls into the manager, and the workers that make
//! them.

pub(crate) mod calls;
pub(crate) mod launch;
pub(crate) mod opening;
pub(crate) mod perform;
pub(crate) mod shared;
pub(crate) mod worker;
