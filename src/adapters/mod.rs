//! Managers for drivers that exist, one file per driver crate, each behind a feature of that crate's name.
//!
//! They are written on the public API only, so each is also an example of how to write one.

#[cfg(feature = "rusqlite")]
pub mod rusqlite;
