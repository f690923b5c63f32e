//! What the mechanism calls back, a fork, and a governor.

use super::ground::governor::Called;
use super::service::enqueue;
use super::service::release;
use super::state::State;
use super::state::entry::Entry;
use super::state::kept::give_up;
use super::state::pooled::{Pooled, Raw, Slot};
use crate::clock::Tick;
use crate::fork::Inherited;
use crate::health::EvictionCause;
use crate::manager::Manager;
use crate::raw::PoolHooks;
use crate::raw::flow::Shedding;
use crate::stats::Ledger;
use crate::sync::Arc;

impl<M: Manager> PoolHooks for Pooled<M> {
    type Value = Entry<M>;
    type Ledger = Ledger;
    type Context = State<M>;

    fn on_orphan(slot: Slot<M>) {
        enqueue::close(slot, EvictionCause::PoolClosed);
    }

    #[inline(always)]
    fn on_return(slot: Slot<M>) {
        release::come_back(slot);
    }

    fn now(state: &State<M>) -> u64 {
        state.clock.now().0
    }

    fn weights(state: &State<M>) -> &[u32] {
        state.classes.weights()
    }

    #[inline]
    fn shedding(state: &State<M>) -> Option<Shedding> {
        state.shed.terms()
    }

    fn on_deadline(state: &State<M>, at: u64) {
        state.ring.ring_before(Tick(at));
    }

    fn on_torn_down(state: &State<M>) {
        state.events.post();
        // The housekeeper need not keep it any longer.
        state.ring.ring();
    }
}

impl<M: Manager> Called for Raw<M> {
    fn call(self: Arc<Self>) {
        self.context().ring.ring();
        give_up(self);
    }
}

impl<M: Manager> Inherited for Raw<M> {
    fn leave_to_parent(&self) {
        self.leave_to_parent();
    }
}
