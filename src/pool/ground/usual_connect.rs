//! How long a connect usually takes: a pure state machine.
//!
//! A running average. One that takes much longer than the others counts as a few times the average,
//! so that it does not spoil it; if all have become slow, that is the usual after some of them.

use std::time::Duration;

/// A connect counts as this many times the average at most.
const CAP: u32 = 4;

/// See the [module](self).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UsualConnect(Option<Duration>);

impl UsualConnect {
    /// A connect has succeeded that `took` so long.
    pub(crate) fn note(&mut self, took: Duration) {
        self.0 = Some(match self.0 {
            None => took,
            // It heals faster than it is spoilt: the first may have been the odd one.
            Some(usual) if took < usual => took + (usual - took) / 2,
            Some(usual) => {
                let most = usual.max(Duration::from_micros(1)).saturating_mul(CAP);
                usual + (took.min(most) - usual) / 4
            }
        });
    }

    /// How long one usually takes, if any has succeeded.
    pub(crate) fn get(&self) -> Option<Duration> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn one_connect_of_thirty_seconds_does_not_spoil_it() {
        let mut usual = UsualConnect::default();
        assert_eq!(usual.get(), None);
        (0..20).for_each(|_| usual.note(20 * MILLI));
        usual.note(30_000 * MILLI);
        assert!(usual.get().unwrap() < 40 * MILLI);
        (0..8).for_each(|_| usual.note(20 * MILLI));
        assert!(usual.get().unwrap() < 21 * MILLI);
    }

    #[test]
    fn if_the_first_is_the_odd_one_a_few_others_mend_it() {
        let mut usual = UsualConnect::default();
        usual.note(30_000 * MILLI);
        (0..14).for_each(|_| usual.note(20 * MILLI));
        assert!(usual.get().unwrap() < 25 * MILLI);
    }

    #[test]
    fn what_all_take_is_usual_after_some_tens_of_them() {
        let mut usual = UsualConnect::default();
        usual.note(Duration::ZERO);
        (0..60).for_each(|_| usual.note(2_000 * MILLI));
        assert!(usual.get().unwrap() > 1_900 * MILLI);
    }

    proptest! {
        #[test]
        fn it_never_leaves_the_range_of_what_was_noted(
            connects in prop::collection::vec(any::<u64>().prop_map(Duration::from_nanos), 1..60),
        ) {
            let mut usual = UsualConnect::default();
            connects.iter().for_each(|took| usual.note(*took));
            let usual = usual.get().unwrap();
            prop_assert!(usual >= *connects.iter().min().unwrap());
            prop_assert!(usual <= *connects.iter().max().unwrap());
        }
    }
}
