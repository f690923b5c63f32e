//! caliburn beside other pools and beside the physical floor: everybody in one program, by turns.

pub mod crowded;
pub mod handoff;
pub mod shortage;
pub mod sizes;
pub mod sweep;
pub mod uncontended;
