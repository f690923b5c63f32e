//! Whether a borrower that is about to stand in line can be served in time.
//!
//! It is told by its place in line and by how fast that is served. Of a pool that may still grow
//! the better is taken: as it is, or grown after a connect. It is better to let a borrower wait in
//! vain than to refuse one that could be served. The first in line is not refused at all. So if all
//! others are, the line empties, and how fast it is served is learnt anew.

use super::speed;
use crate::clock::Tick;
use crate::manager::Manager;
use crate::pool::state::pooled::Raw;
use std::time::Duration;

/// Loans may take longer than those before: a borrower is to have time for this many times the
/// wait to be expected.
const MARGIN: u32 = 2;

/// The wait to be expected by a borrower of a class that has so much time left, if that is too
/// long.
pub(crate) fn hopeless_wait<M: Manager>(
    raw: &Raw<M>,
    class: u8,
    now: Tick,
    left: Duration,
) -> Option<Duration> {
    let wait = expected_wait(raw, usize::from(class), now)?;
    (wait.saturating_mul(MARGIN) > left).then_some(wait)
}

/// How long it would wait. `None`: that is not known, or it would be the first.
fn expected_wait<M: Manager>(raw: &Raw<M>, class: usize, now: Tick) -> Option<Duration> {
    let (state, supply) = (raw.context(), &raw.context().supply);
    if raw.is_paused() || supply.is_failing() {
        return None;
    }
    let weights = state.classes.weights();
    let turns = if weights.len() > 1 {
        let queues = weights.iter().enumerate().map(|(at, weight)| (raw.share(at).0, *weight));
        turns(queues, class)
    } else {
        raw.waiting()
    };
    if turns == 0 {
        return None;
    }
    speed::look(raw, now);
    let hold = supply.hold()?.as_nanos();
    let open = state.service.open();
    let served_by = |servers: usize, delay: Duration| {
        let nanos = hold.saturating_mul(turns as u128 + 1).checked_div(servers as u128)?;
        Some(delay.saturating_add(Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX))))
    };
    let as_is = served_by(open, Duration::ZERO);
    if !raw.has_vacant() {
        return as_is;
    }
    let grown = open.max(state.settings.load().max_size);
    let grown = served_by(grown, supply.usual_connect().unwrap_or_default());
    as_is.into_iter().chain(grown).min()
}

/// How many are served before one that comes last in the queue of the class `own`: those of its own
/// queue, and of each other as many as have their turn meanwhile, if so many wait. Of each class:
/// how many wait, and its weight. None if none of its own waits.
fn turns(queues: impl Iterator<Item = (usize, u32)> + Clone, own: usize) -> usize {
    let Some((ahead, weight)) = queues.clone().nth(own).filter(|(ahead, _)| *ahead > 0) else {
        return 0;
    };
    let others = queues.enumerate().filter(|(class, _)| *class != own).map(|(_, (waiting, of))| {
        let share = (ahead as u128 + 1) * u128::from(of) / u128::from(weight.max(1));
        waiting.min(share.try_into().unwrap_or(usize::MAX))
    });
    others.fold(ahead, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::turns;

    #[test]
    fn a_class_waits_for_its_own_queue_and_for_the_shares_of_the_others() {
        let queues = [(100, 1), (5, 9), (0, 4)];
        let turns = |own| turns(queues.into_iter(), own);
        // Six of its own kind have their turn while those of weight 1 have less than one.
        assert_eq!(turns(1), 5);
        // The others have more turns than waiters.
        assert_eq!(turns(0), 105);
        assert_eq!(turns(2), 0, "it would be the first");
        assert_eq!(super::turns([(17, 3), (40, 3)].into_iter(), 0), 35);
        assert_eq!(super::turns([(usize::MAX, 1), (usize::MAX, 1_000)].into_iter(), 0), usize::MAX);
    }
}
