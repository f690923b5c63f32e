//! The private servers of the repository's own tests: children of this process, in directories of
//! their own.

#[path = "../../../tests/common/servers/postgres.rs"]
pub mod postgres;
#[path = "../../../tests/common/servers/process.rs"]
pub mod process;
