//! A striped bitmap whose set bits are keys to slots, with four flags in each word.
//!
//! The thread that clears a bit alone may touch that slot, until it sets a bit again. The words lie
//! on cache lines of their own; a thread looks at its home stripe first and takes the lowest set
//! bit, so each core keeps reusing the same few slots and the high ones may shrink away.

use crate::sync::{AtomicU64, Ordering, SLOT_BITS, predicted};
use std::num::NonZeroU64;

/// The waiters flag: the line is not empty, or the pool is closed. A releaser must request a
/// dispatch after it has set a bit. It is the sign, which one instruction tests together with "no
/// bit is set".
const WAITERS: u64 = 1 << 63;
/// The hand-off flag: besides, newcomers must not take a bit.
const HAND_OFF: u64 = 1 << 62;
/// The closed flag: the pool is closed, so the other two stay up for good.
const CLOSED: u64 = 1 << 61;
/// The paused flag: the pool is paused, so the first two stay up until it is resumed.
const PAUSED: u64 = 1 << 60;
/// The bits that stand for slots.
const SLOTS: u64 = (1 << SLOT_BITS) - 1;

/// Where a slot's bit lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    stripe: u32,
    bit: u32,
}

impl Place {
    #[inline(always)]
    pub(crate) fn mask(self) -> u64 {
        1 << self.bit
    }
}

/// Whether newcomers may take a bit while others wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Newcomers {
    MustWait,
    MayClaim,
}

/// A bit to try. What the slot behind it needs can be fetched before the read-modify-write; loads
/// after it would have to wait for it.
pub(crate) struct Pick<'a> {
    word: &'a AtomicU64,
    bit: u32,
    pub(crate) index: u32,
}

impl<'a> Pick<'a> {
    /// Claims the bit. The word is for the way back.
    #[inline(always)]
    pub(crate) fn take(self) -> Option<&'a AtomicU64> {
        take(self.word, self.bit).then_some(self.word)
    }
}

/// Clears `bit`; true if it was set. Written so that it tests nothing but its own bit, which makes
/// it a `lock btr` on x86-64 rather than a compare-exchange loop.
#[inline(always)]
fn take(word: &AtomicU64, bit: u32) -> bool {
    let mask = 1 << bit;
    // O1: acquires the slot from its releaser (O2).
    word.fetch_and(!mask, Ordering::Acquire) & mask != 0
}

/// Sets the bit of a slot that the caller owns, in the word where it lies, if the waiters flag is
/// down. `false`: the bit is as it was, the slot is still the caller's, and the waiters flag is up
/// (or the word changed meanwhile): use [`Bitmap::put`].
///
/// This is a compare-exchange and not an add because of what may follow: once the bit is set, the
/// slot no longer keeps the pool's memory alive, so a releaser that must go on to the waiting room
/// has to learn of the waiters flag *before* it lets go.
#[inline(always)]
pub(crate) fn offer(word: &AtomicU64, mask: u64) -> bool {
    // O3: only a guess for the exchange.
    let seen = word.load(Ordering::Relaxed);
    if has_waiters(seen) {
        return false;
    }
    debug_assert_eq!(seen & mask, 0, "a slot was released twice");
    // O2: publishes the slot to its next claimer (O1). O3 on failure: nothing is read.
    word.compare_exchange(seen, seen + mask, Ordering::Release, Ordering::Relaxed).is_ok()
}

#[inline(always)]
fn has_waiters(seen: u64) -> bool {
    seen.cast_signed() < 0
}

/// Stripes per thread that can run at once.
const HOMES: usize = 4;

/// One word alone on its pair of cache lines (x86 fetches lines in pairs).
#[derive(Debug)]
#[repr(align(128))]
struct Stripe(AtomicU64);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Bitmap {
    stripes: Box<[Stripe]>,
    /// The binary logarithm of the number of stripes.
    shift: u32,
}

impl Bitmap {
    /// All bits clear, all flags down. `stripes` must be a power of two.
    pub(crate) fn new(stripes: usize) -> Self {
        debug_assert!(stripes.is_power_of_two());
        let words = (0..stripes).map(|_| Stripe(AtomicU64::new(0)));
        Self { stripes: words.collect(), shift: stripes.trailing_zeros() }
    }

    /// How many stripes a bitmap over `capacity` slots has when `parallelism` threads run at once:
    /// enough for the bits, and four per running thread as long as each stripe keeps four slots.
    /// There are many more threads than run at once, and with one stripe per core two that run have
    /// the same home half of the time (measured with 16 threads on two cores: 3.1 times the floor
    /// with two stripes, 1.75 with eight or more).
    pub(crate) fn stripes_for(capacity: usize, parallelism: usize) -> usize {
        let wanted = (parallelism.max(1) * HOMES).next_power_of_two();
        let useful = (capacity / 4).max(1);
        // The largest power of two that leaves four slots to a stripe.
        let useful = 1 << useful.ilog2();
        Self::stripes_needed(capacity).max(wanted.min(useful))
    }

    /// How many stripes a bitmap over `capacity` slots must have at least.
    pub(crate) fn stripes_needed(capacity: usize) -> usize {
        capacity.div_ceil(SLOT_BITS as usize).next_power_of_two()
    }

    /// Where the bit of slot `index` lies: neighbours lie in different stripes, so that low indices
    /// are low bits everywhere.
    pub(crate) fn place(&self, index: u32) -> Place {
        Place { stripe: index & (self.stripes.len() as u32 - 1), bit: index >> self.shift }
    }

    #[inline(always)]
    fn index(&self, stripe: usize, bit: u32) -> u32 {
        (bit << self.shift) | stripe as u32
    }

    /// The word in which a slot's bit lies.
    pub(crate) fn word_of(&self, place: Place) -> &AtomicU64 {
        self.word(place.stripe as usize)
    }

    #[inline(always)]
    fn word(&self, stripe: usize) -> &AtomicU64 {
        &self.stripes[stripe & (self.stripes.len() - 1)].0
    }

    /// The lowest set bit of the home stripe, if the waiters flag is down: a candidate, not a
    /// claim.
    #[inline(always)]
    pub(crate) fn pick(&self, home: usize) -> Option<Pick<'_>> {
        let stripe = home & (self.stripes.len() - 1);
        let word = self.word(stripe);
        // O3: the claim carries the ordering; a stale look costs a miss, no more.
        let seen = word.load(Ordering::Relaxed);
        if seen.cast_signed() <= 0 {
            return None;
        }
        let bit = predicted(NonZeroU64::new(seen)?.trailing_zeros());
        Some(Pick { word, bit, index: self.index(stripe, bit) })
    }

    /// Clears one set bit and returns its slot; `None` if no bit is set, or if the hand-off flag,
    /// the closed flag or the paused flag is up.
    ///
    /// Wait-free: at most one read-modify-write per bit seen set, so at most `capacity` in all.
    pub(crate) fn claim(&self, home: usize) -> Option<u32> {
        for step in 0..self.stripes.len() {
            let stripe = (home + step) & (self.stripes.len() - 1);
            // O3: as in `pick`.
            let seen = self.word(stripe).load(Ordering::Relaxed);
            if seen & (HAND_OFF | CLOSED | PAUSED) != 0 {
                return None;
            }
            if let Some(index) = self.claim_within(stripe, seen) {
                return Some(index);
            }
        }
        None
    }

    /// Clears one set bit whatever the flags say: for the dispatcher and for maintenance.
    pub(crate) fn claim_past_flags(&self, home: usize) -> Option<u32> {
        (0..self.stripes.len()).find_map(|step| {
            let stripe = (home + step) & (self.stripes.len() - 1);
            // O3: as in `pick`. After `raise_flags` by this thread, coherence shows every bit whose
            // setter did not see the waiters flag.
            self.claim_within(stripe, self.word(stripe).load(Ordering::Relaxed))
        })
    }

    /// The loop of every claim: `seen` only loses bits, so it ends after as many rounds at most.
    #[inline]
    fn claim_within(&self, stripe: usize, seen: u64) -> Option<u32> {
        let mut seen = seen & SLOTS;
        while seen != 0 {
            let bit = seen.trailing_zeros();
            if take(self.word(stripe), bit) {
                return Some(self.index(stripe, bit));
            }
            seen &= !(1 << bit);
            // O3: fresher, but never with a bit that this scan has not seen.
            seen &= self.word(stripe).load(Ordering::Relaxed);
        }
        None
    }

    /// Clears the bit of the slot `index` whatever the flags say; true if it was set.
    pub(crate) fn claim_at(&self, index: u32) -> bool {
        let place = self.place(index);
        take(self.word(place.stripe as usize), place.bit)
    }

    /// Sets the bit of a slot that the caller owns and tells whether the waiters flag is up.
    /// Ownership proves the bit clear, so adding it sets it and returns the flag in one
    /// instruction.
    pub(crate) fn put(&self, index: u32) -> bool {
        let place = self.place(index);
        // O2: as in `offer`.
        let before = self.word(place.stripe as usize).fetch_add(place.mask(), Ordering::Release);
        debug_assert_eq!(before & place.mask(), 0, "a slot was released twice");
        has_waiters(before)
    }

    /// Raises the waiters flag on every stripe, and raises or lowers the hand-off flag. Afterwards
    /// every set bit is visible to the caller's claims, or its setter has seen the waiters flag.
    /// For the dispatcher alone.
    pub(crate) fn raise_flags(&self, newcomers: Newcomers) {
        for Stripe(word) in &self.stripes {
            // O3: coherence of the one word does the work; a bit's data travels by O2 and O1, and a
            // read-modify-write continues the release sequence of the one before it.
            match newcomers {
                Newcomers::MustWait => word.fetch_or(WAITERS | HAND_OFF, Ordering::Relaxed),
                Newcomers::MayClaim => {
                    word.fetch_or(WAITERS, Ordering::Relaxed); // O3
                    word.fetch_and(!HAND_OFF, Ordering::Relaxed) // O3
                }
            };
        }
    }

    /// Lowers the waiters flag and the hand-off flag, but not those of a closed or paused pool. For
    /// the dispatcher alone.
    pub(crate) fn lower_flags(&self) {
        let cleared = |seen| match seen & (CLOSED | PAUSED) {
            0 => Some(seen & !(WAITERS | HAND_OFF)),
            _ => None,
        };
        for Stripe(word) in &self.stripes {
            // O3: as above. Each lost exchange was lost to a claim or a release, which went on.
            let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, cleared);
        }
    }

    /// Raises all flags on every stripe, for good.
    pub(crate) fn close(&self) {
        for Stripe(word) in &self.stripes {
            // O3: as above.
            word.fetch_or(WAITERS | HAND_OFF | CLOSED, Ordering::Relaxed);
        }
    }

    /// Raises the paused flag on every stripe, and with it the waiters flag and the hand-off flag.
    pub(crate) fn pause(&self) {
        for Stripe(word) in &self.stripes {
            // O3: as above.
            word.fetch_or(WAITERS | HAND_OFF | PAUSED, Ordering::Relaxed);
        }
    }

    /// Lowers the paused flag; the dispatcher sees to the other two.
    pub(crate) fn resume(&self) {
        for Stripe(word) in &self.stripes {
            // O3: as above.
            word.fetch_and(!PAUSED, Ordering::Relaxed);
        }
    }

    /// How many bits are set: exact at rest, a mixture of moments while bits move.
    pub(crate) fn count(&self) -> usize {
        self.words().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the bit of the slot `index` is set: exact at rest.
    pub(crate) fn is_set(&self, index: u32) -> bool {
        let place = self.place(index);
        // O3: a gauge.
        self.word(place.stripe as usize).load(Ordering::Relaxed) & place.mask() != 0
    }

    /// No bit was found set: exact at rest.
    pub(crate) fn is_empty(&self) -> bool {
        self.words().all(|word| word == 0)
    }

    /// The slots' bits of each word.
    fn words(&self) -> impl Iterator<Item = u64> {
        // O3: a gauge.
        self.stripes.iter().map(|stripe| stripe.0.load(Ordering::Relaxed) & SLOTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_its_lines_for_itself() {
        assert_eq!((align_of::<Stripe>(), size_of::<Stripe>()), (128, 128));
    }

    #[test]
    fn there_are_homes_for_more_threads_than_run_but_no_more_than_a_quarter_of_the_slots() {
        if SLOT_BITS < 60 {
            // Words are shorter in models.
            return;
        }
        let stripes = |capacity, parallelism| Bitmap::stripes_for(capacity, parallelism);
        assert_eq!([stripes(1, 2), stripes(16, 2), stripes(64, 2), stripes(64, 16)], [1, 4, 8, 16]);
        assert_eq!(stripes(4_096, 2), Bitmap::stripes_needed(4_096));
    }
}
