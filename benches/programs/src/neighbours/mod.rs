//! What pools cost each other, and how their upkeep grows.

pub mod growth;
pub mod limits;
pub mod many;
