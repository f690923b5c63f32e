//! Which pools have called for the housekeeper: a bitmap in two levels, so that it finds them
//! without a look at the others, and a caller takes no lock and allocates nothing.

use crate::sync::{AtomicU64, Ordering};

const WORDS: usize = 1024;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Rung {
    words: [AtomicU64; WORDS],
    /// A bit for each word that may not be zero.
    summary: [AtomicU64; WORDS / 64],
}

impl Rung {
    /// How many pools can be told apart.
    pub(crate) const NUMBERS: usize = WORDS * 64;

    /// The pool of that number has called.
    pub(crate) fn set(&self, number: usize) {
        let number = number % Self::NUMBERS;
        let word = number / 64;
        // O9: what its caller did before is visible to the thread that takes the call. The word
        // first, so that a thread that takes the summary finds it; and the summary always, as an
        // earlier caller may not have come so far yet.
        self.words[word].fetch_or(1 << (number % 64), Ordering::AcqRel);
        self.summary[word / 64].fetch_or(1 << (word % 64), Ordering::AcqRel); // O9
    }

    /// Takes all calls.
    pub(crate) fn take(&self, mut each: impl FnMut(usize)) {
        for (at, summary) in self.summary.iter().enumerate() {
            // O9
            for word in bits(summary.swap(0, Ordering::AcqRel)) {
                let word = at * 64 + word;
                bits(self.words[word].swap(0, Ordering::AcqRel)) // O9
                    .for_each(|bit| each(word * 64 + bit));
            }
        }
    }
}

impl Default for Rung {
    fn default() -> Self {
        Self {
            words: [const { AtomicU64::new(0) }; WORDS],
            summary: [const { AtomicU64::new(0) }; WORDS / 64],
        }
    }
}

/// The positions of the bits that are set.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_taken_once_whatever_its_number() {
        let rung = Rung::default();
        let taken = || {
            let mut taken = Vec::new();
            rung.take(|number| taken.push(number));
            taken
        };
        let numbers = [0, 63, 64, 4_095, 4_096, Rung::NUMBERS - 1];
        numbers.into_iter().rev().for_each(|number| rung.set(number));
        rung.set(63);
        assert_eq!(taken(), numbers);
        assert_eq!(taken(), [0; 0]);
    }
}
