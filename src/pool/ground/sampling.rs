//! Which loans are measured: of each slot one in so many, wherever it was asked for, so that short
//! loans are as likely to be among them as long ones.
//!
//! A loan that goes the fast way out or back is not seen. So no connection is
//! [fit](crate::pool::state::entry::Fit) beyond the next loan that is to be measured.

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampling {
    /// A power of two; `None`: no loan is measured.
    every: Option<u64>,
}

impl Sampling {
    /// One loan in `every`, rounded up to a power of two.
    pub(crate) fn one_in(every: u64) -> Self {
        Self { every: Some(every.min(1 << 62).next_power_of_two()) }
    }

    pub(crate) fn none() -> Self {
        Self { every: None }
    }

    /// Whether the loan before which a slot has made `transitions` is measured.
    pub(crate) fn is_due(self, transitions: u64) -> bool {
        self.every.is_some_and(|every| (transitions / 2).is_multiple_of(every))
    }

    /// The transition by which a connection that is being lent must be seen again: the way back of
    /// this loan, or the next loan that is measured.
    pub(crate) fn after_loan(self, transitions: u64) -> u64 {
        if self.is_due(transitions) { transitions + 1 } else { self.before_loan(transitions) }
    }

    /// The same of one that has come back.
    pub(crate) fn before_loan(self, transitions: u64) -> u64 {
        let Some(every) = self.every else { return u64::MAX };
        transitions.div_ceil(2).checked_next_multiple_of(every).map_or(u64::MAX, |loan| 2 * loan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_loan_in_so_many_is_due_and_none_before_it_is_passed() {
        let sampling = Sampling::one_in(5);
        let due: Vec<_> = (0..40).filter(|loan| sampling.is_due(2 * loan)).collect();
        assert_eq!(due, [0, 8, 16, 24, 32]);
        assert_eq!([0, 2, 14, 16].map(|before| sampling.before_loan(before)), [0, 16, 16, 16]);
        assert_eq!([0, 2, 14, 16].map(|before| sampling.after_loan(before)), [1, 16, 16, 17]);
        assert_eq!(Sampling::none().after_loan(0), u64::MAX);
        assert!(!Sampling::none().is_due(0));
    }
}
