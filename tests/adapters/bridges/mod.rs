//! Managers of other pools, unchanged.

mod bb8;
mod deadpool;
mod r2d2;
mod runtimes;
