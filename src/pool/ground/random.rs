//! Chance.

/// Evenly from 0 to 1. `std` seeds each hasher differently, which is all the chance needed here.
pub(crate) fn share() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = RandomState::new().hash_one(0u8);
    (bits >> 11) as f64 / (1u64 << 53) as f64
}
