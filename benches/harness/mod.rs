//! What the benches share: something to pool, the floor to compare with, borrowers that take turns,
//! and figures.
// Each of them uses a part of it.
#![allow(dead_code)]

pub(crate) mod figures;
pub(crate) mod floor;
pub(crate) mod histogram;
pub(crate) mod length;
pub(crate) mod objects;
pub(crate) mod pause;
pub(crate) mod side_by_side;
pub(crate) mod table;
pub(crate) mod turns;
