//! What all programs measure with.

pub mod callers;
pub mod contest;
pub mod cores;
pub mod figures;
pub mod floor;
pub mod histogram;
pub mod late;
pub mod near;
pub mod options;
pub mod progress;
pub mod sheet;
pub mod slices;
pub mod table;
pub mod turns;
