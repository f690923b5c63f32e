//! Chance.

/// A random number, evenly distributed from 0 to 1. `std` gives each hasher other keys, which is
/// random enough here.
pub(crate) fn share() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = RandomState::new().hash_one(0u8);
    (bits >> 11) as f64 / (1u64 << 53) as f64
}
