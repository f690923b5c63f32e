//! Chance.

use crate::sync::Relaxed;

/// A random number, evenly distributed from 0 to 1. `std` gives each hasher other keys, which is
/// random enough here.
pub(crate) fn share() -> f64 {
    share_of(bits())
}

/// A random number.
pub(crate) fn bits() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0u8)
}

fn share_of(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// Numbers from 0 to 1 that keep away from each other, beginning anywhere.
///
/// Each is the golden ratio more than the one before, without its whole part: an additive
/// recurrence, or Weyl (Kronecker) sequence. Whatever is drawn next falls into one of the widest
/// gaps that are left, so any few in a row are spread more evenly than chance would have it (H.
/// Weyl, *Über die Gleichverteilung von Zahlen mod. Eins*, 1916; D. E. Knuth, *The Art of Computer
/// Programming*, volume 3, section 6.4, theorem S).
#[derive(Debug)]
pub(crate) struct Spread(Relaxed<u64>);

impl Spread {
    pub(crate) fn new() -> Self {
        Self(Relaxed::<u64>::new(bits()))
    }

    /// Draws the next.
    pub(crate) fn draw(&self) -> f64 {
        /// The fraction of the golden ratio, of 2^64.
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        share_of(self.0.add(GOLDEN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenth_has_about_a_tenth_of_any_hundred_draws_in_a_row() {
        let spread = Spread::new();
        for _ in 0..100 {
            let mut tenths = [0; 10];
            (0..100).for_each(|_| tenths[(spread.draw() * 10.0) as usize] += 1);
            assert!(tenths.iter().all(|n| (8..=12).contains(n)), "{tenths:?}");
        }
    }
}
