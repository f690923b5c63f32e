//! Managers of other pools, unchanged.

mod bb8;
#[cfg(all(feature = "r2d2", feature = "bb8", feature = "deadpool"))]
mod checks;
mod deadpool;
#[cfg(all(feature = "r2d2", feature = "bb8", feature = "deadpool"))]
mod managers;
mod r2d2;
mod runtimes;
