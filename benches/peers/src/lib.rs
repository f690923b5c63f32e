//! What the programs in `bin/` share: the pools behind one trait, and the drivers or the servers
//! that all of them are given.

pub mod driver;
pub mod late;
pub mod line;
pub mod options;
pub mod pools;
pub mod postgres;
pub mod server;
pub mod servers;
pub mod side_by_side;
pub mod sleepy;
pub mod table;
pub mod timer;
