//! Maintenance: the housekeeper, its visits to each pool, and the sweep.

pub(crate) mod housekeeper;
pub(crate) mod keeper;
mod leaks;
pub(crate) mod shrink;
pub(crate) mod sweep;
pub(crate) mod usage;
pub(crate) mod visit;
