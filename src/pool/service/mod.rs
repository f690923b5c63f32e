//! In service and out of it: a connection is judged, put back, or queued for a call into the
//! manager.

pub(crate) mod enqueue;
pub(crate) mod flaw;
pub(crate) mod judge;
pub(crate) mod release;
