//! Shedding waiters while their [queue is slow](super::flow).

use super::flow::Shedding;
use super::room::Queue;
use super::standing::Standing;
use super::waiter::SHED;
use super::wakes::Wakes;
use super::{PoolHooks, RawPool};

impl<H: PoolHooks> RawPool<H> {
    /// A slot is there: takes the waiter that it is for out of the line. If the queue is slow,
    /// sheds those of the class that are late; but not the last of it, as none would gain by that,
    /// and none while other slots are idle. One that waits for several slots is not judged: it is
    /// late by its nature.
    #[cold]
    #[inline(never)]
    pub(super) fn pop_in_time(
        &self,
        queue: &mut Queue,
        terms: Shedding,
        wakes: &mut Wakes,
    ) -> Option<Standing> {
        let now = H::now(&self.context);
        let line = &mut queue.line;
        let is_late = |waiter: &Standing| {
            !waiter.terms.is_part && now.saturating_sub(waiter.terms.since) > terms.target
        };
        let (class, first) = line.next()?;
        let (mut first_is_late, is_part) = (is_late(first), first.terms.is_part);
        let reverses = terms.newest_first && line.flow(class).is_slow();
        let served_is_late =
            if reverses { line.newest(class).is_some_and(is_late) } else { first_is_late };
        if !is_part {
            line.flow(class).observe(served_is_late, now, terms.interval);
        }
        let is_slow = line.flow(class).is_slow();
        while is_slow && first_is_late && line.has_several(class) && self.idle.is_empty() {
            let Some(waiter) = line.pop(class) else { break };
            self.turn_away(&waiter, SHED, wakes);
            first_is_late = line.first_of(class).is_some_and(is_late);
        }
        if is_slow && terms.newest_first { line.pop_newest(class) } else { line.pop_first(class) }
    }
}
