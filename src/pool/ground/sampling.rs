//! Which loans are measured: of each slot one in so many, chosen by chance, so that short loans are
//! as likely to be among them as long ones, whatever pattern there is in their order.
//!
//! A loan that goes the fast way out or back is not seen. So no connection is
//! [fit](crate::pool::state::entry::Fit) beyond the next loan that is to be measured.

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampling {
    /// A power of two; `None`: no loan is measured.
    every: Option<u64>,
}

/// Tells slots apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u64);

impl Seed {
    /// The slot's, by a thing that lies in it.
    pub(crate) fn of<T>(thing: &T) -> Self {
        Self(std::ptr::from_ref(thing).addr() as u64)
    }

    /// A number for each round, as good as random (the finalizer of SplitMix64).
    fn mix(self, round: u64) -> u64 {
        let mut mixed = self.0 ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

impl Sampling {
    /// One loan in `every`, rounded up to a power of two.
    pub(crate) fn one_in(every: u64) -> Self {
        Self { every: Some(every.min(1 << 62).next_power_of_two()) }
    }

    pub(crate) fn none() -> Self {
        Self { every: None }
    }

    /// Whether any loan is measured.
    pub(crate) fn is_on(self) -> bool {
        self.every.is_some()
    }

    /// Whether the loan before which a slot has made `transitions` is measured.
    pub(crate) fn is_due(self, transitions: u64, seed: Seed) -> bool {
        self.every.is_some() && self.before_loan(transitions, seed) == transitions
    }

    /// The transition by which a connection that is being lent must be seen again: the way back of
    /// this loan, or the next loan that is measured.
    pub(crate) fn after_loan(self, transitions: u64, seed: Seed) -> u64 {
        match self.before_loan(transitions, seed) {
            due if due == transitions => transitions + 1,
            due => due,
        }
    }

    /// The same of one that has come back.
    pub(crate) fn before_loan(self, transitions: u64, seed: Seed) -> u64 {
        let Some(every) = self.every else { return u64::MAX };
        let loan = transitions.div_ceil(2);
        let of_round = |round: u64| {
            let place = seed.mix(round) & (every - 1);
            round.checked_mul(every).and_then(|first| first.checked_add(place))
        };
        let round = loan / every;
        let due = of_round(round).filter(|due| *due >= loan).or_else(|| of_round(round + 1));
        due.and_then(|loan| loan.checked_mul(2)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_loan_of_each_round_is_due_and_none_before_it_is_passed() {
        let sampling = Sampling::one_in(5);
        let seed = Seed(7);
        let due: Vec<_> = (0..80).filter(|loan| sampling.is_due(2 * loan, seed)).collect();
        assert_eq!(
            due.iter().map(|loan| loan / 8).collect::<Vec<_>>(),
            (0..10).collect::<Vec<_>>()
        );
        for loan in 0..due[9] {
            let next = *due.iter().find(|due| **due >= loan).unwrap();
            assert_eq!(sampling.before_loan(2 * loan, seed), 2 * next);
            let seen = if next == loan { 2 * loan + 1 } else { 2 * next };
            assert_eq!(sampling.after_loan(2 * loan, seed), seen);
        }
        assert_eq!(Sampling::none().after_loan(0, seed), u64::MAX);
        assert!(!Sampling::none().is_due(0, seed));
        assert_eq!(Sampling::one_in(u64::MAX).before_loan(u64::MAX - 1, seed), u64::MAX);
    }

    #[test]
    fn each_second_loan_is_measured_as_often_as_the_others() {
        for every in [2, 8, 1024] {
            let sampling = Sampling::one_in(every);
            let loans = 0..200 * every;
            let due = loans.filter(|loan| sampling.is_due(2 * loan, Seed(1)));
            let even = due.filter(|loan| loan % 2 == 0).count();
            assert!((60..140).contains(&even), "{even} of 200, one in {every}");
        }
    }

    #[test]
    fn the_first_loan_of_a_slot_is_measured_in_few_of_them() {
        let sampling = Sampling::one_in(64);
        let slots = 0..64_u64 * 64;
        let due = slots.filter(|slot| sampling.is_due(0, Seed(slot * 256))).count();
        assert!((20..160).contains(&due), "{due}");
    }
}
