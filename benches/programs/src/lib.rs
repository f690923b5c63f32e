//! What the programs in `bin/` share: the harness, the pools, the scenarios that more than one of
//! them measures, and the servers of the repository's own tests.

pub mod burst;
pub mod common;
pub mod harness;
pub mod idleness;
pub mod pools;
