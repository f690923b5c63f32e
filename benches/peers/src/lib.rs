//! What the two scenarios in `bin/` share: the pools behind one trait, and the drivers that all of them
//! are given.

pub mod driver;
pub mod line;
pub mod options;
pub mod pools;
pub mod server;
pub mod sleepy;
pub mod table;
pub mod timer;
