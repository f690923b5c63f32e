//! Shedding waiters while the [line is slow](super::flow).

use super::flow::{Flow, Shedding};
use super::room::Queue;
use super::standing::Standing;
use super::waiter::SHED;
use super::wakes::Wakes;
use super::{PoolHooks, RawPool};

impl<H: PoolHooks> RawPool<H> {
    /// A slot is there: takes the waiter that it is for out of the line. If the line is slow, sheds
    /// those that are late; but not the last of all, as none would gain by it.
    #[cold]
    #[inline(never)]
    pub(super) fn pop_in_time(
        &self,
        queue: &mut Queue,
        terms: Shedding,
        wakes: &mut Wakes,
    ) -> Option<Standing> {
        let now = H::now(&self.context);
        while let Some((class, first)) = queue.line.next() {
            let is_late = now.saturating_sub(first.terms.since) > terms.target;
            queue.flow.observe(is_late, now, terms.interval);
            if !is_late || !matches!(queue.flow, Flow::Slow(_)) || !queue.line.has_several() {
                break;
            }
            let Some(waiter) = queue.line.pop(class) else { break };
            if waiter.settle(SHED) {
                self.room.left(&waiter.terms);
                wakes.add(waiter.take_waker());
            }
        }
        let newest_first = terms.newest_first && matches!(queue.flow, Flow::Slow(_));
        let (class, _) = queue.line.next()?;
        if newest_first { queue.line.pop_newest(class) } else { queue.line.pop(class) }
    }
}
