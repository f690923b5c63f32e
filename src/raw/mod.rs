#![doc = include_str!("README.md")]

pub(crate) mod bitmap;
mod debug;
mod door;
pub(crate) mod era;
pub(crate) mod flow;
pub(crate) mod gauges;
mod grants;
mod inherited;
mod line;
pub(crate) mod requests;
mod room;
mod shed;
pub(crate) mod slots;
mod standing;
mod terms;
pub(crate) mod turn;
pub(crate) mod waiter;
mod waiters;
pub(crate) mod wakes;

use crate::sync::{
    Arc, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering, Relaxed, Witness, forks,
};
use bitmap::Bitmap;
use era::Eras;
use flow::Shedding;
use room::WaitingRoom;
use slots::{Home, Lodging, Occupied, Slot, Vacant};
use terms::Terms;

/// What the pool above the mechanism keeps in it, and is told by it.
pub(crate) trait PoolHooks: Sized + 'static {
    /// What lies in a slot, and is lent.
    type Value: Send;
    /// What belongs to a slot and outlives its values.
    type Ledger: Default + Send + Sync;
    /// What the whole pool shares.
    type Context: Send + Sync;

    /// Takes a value that lies idle in a closed pool. The thread that finds it calls this, perhaps
    /// in a guard's `Drop`: it must not close the value there and then.
    fn on_orphan(slot: Occupied<Self>);

    /// Takes a value whose loan has ended.
    fn on_return(slot: Occupied<Self>);

    /// The time by which waiters' [terms](waiter::Terms) are reckoned.
    fn now(context: &Self::Context) -> u64;

    /// There is something to [expire](RawPool::expire) at that moment.
    fn on_deadline(context: &Self::Context, at: u64);

    /// What share of the slots each class of waiters has. At least one, and the same each time.
    fn weights(_: &Self::Context) -> &[u32] {
        &[1]
    }

    /// When waiters are shed, if they are.
    fn shedding(_: &Self::Context) -> Option<Shedding> {
        None
    }

    /// Called once, when the last slot of a closed pool has been torn down.
    fn on_torn_down(context: &Self::Context);
}

/// The mechanism: slots, bits and the waiting room. See the [module](self).
pub(crate) struct RawPool<H: PoolHooks> {
    idle: Bitmap,
    slots: Box<[Slot<H>]>,
    context: H::Context,
    vacant: Bitmap,
    /// The word of `vacant` at which the next claim begins.
    vacant_turn: Relaxed<usize>,
    retired: Bitmap,
    room: WaitingRoom,
    /// Slots to retire (positive) or to bring back (negative).
    debt: AtomicI64,
    /// Rises when each slot needs a closer look: when there is debt, or when the pool above says
    /// so.
    epoch: AtomicU64,
    eras: Eras,
    door: AtomicU32,
    torn_down: AtomicUsize,
    /// The process, by the number of forks before it.
    born_in: u64,
    witness: Witness,
}

impl<H: PoolHooks> Lodging for H {
    type Value = <H as PoolHooks>::Value;
    type Ledger = <H as PoolHooks>::Ledger;
    type Pool = RawPool<H>;

    #[inline(always)]
    fn on_return(slot: Occupied<Self>) {
        <H as PoolHooks>::on_return(slot);
    }
}

impl<H: PoolHooks> Home<H> for RawPool<H> {
    #[inline(always)]
    fn slots(&self) -> &[Slot<H>] {
        &self.slots
    }

    #[inline(always)]
    fn idle(&self) -> &Bitmap {
        &self.idle
    }

    fn vacant(&self) -> &Bitmap {
        &self.vacant
    }

    fn retired(&self) -> &Bitmap {
        &self.retired
    }

    fn claim(&self) -> Option<Occupied<H>> {
        self.claim()
    }

    fn take_debt(&self) -> bool {
        self.take_debt()
    }

    fn settle_debt(&self) {
        self.settle_debt();
    }

    fn leave_line(&self, terms: &Terms) {
        self.leave_line(terms);
    }

    fn granted(&self) -> &Relaxed<usize> {
        &self.room.granted
    }

    fn wake_some(&self) {
        self.wake_some();
    }

    fn dispatch(&self) {
        self.dispatch();
    }

    fn is_inherited(&self) -> bool {
        self.is_inherited()
    }
}

impl<H: PoolHooks> RawPool<H> {
    /// A pool of `capacity` vacant slots on `stripes` stripes (a power of two, and enough for
    /// them).
    pub(crate) fn build(capacity: u32, stripes: usize, context: H::Context) -> Arc<Self> {
        let idle = Bitmap::new(stripes);
        let slots = (0..capacity).map(|index| Slot::new(index, idle.place(index))).collect();
        // Claims there are not in a hurry.
        let needed = Bitmap::stripes_needed(capacity as usize);
        let room = WaitingRoom::new(H::weights(&context));
        let pool = Arc::new(Self {
            idle,
            slots,
            context,
            vacant: Bitmap::new(needed),
            vacant_turn: Relaxed::default(),
            retired: Bitmap::new(needed),
            room,
            debt: AtomicI64::new(0),
            epoch: AtomicU64::new(0),
            eras: Eras::default(),
            door: AtomicU32::new(0),
            torn_down: AtomicUsize::new(0),
            born_in: forks(),
            witness: Witness::new(),
        });
        slots::take_counts::<H>(&pool);
        (0..capacity).for_each(|index| _ = pool.vacant.put(index));
        pool
    }

    #[inline(always)]
    pub(crate) fn context(&self) -> &H::Context {
        &self.context
    }

    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The ledgers of all slots, in order.
    pub(crate) fn ledgers(&self) -> impl ExactSizeIterator<Item = &H::Ledger> {
        self.slots.iter().map(Slot::ledger)
    }

    /// Takes the lowest idle slot of the thread's home stripe, with one try, if none waits: most
    /// claims end here.
    #[inline(always)]
    pub(crate) fn claim_at_home(&self) -> Option<Occupied<H>> {
        let pick = self.idle.pick(crate::sync::thread_number())?;
        let slot = self.slots.get(pick.index as usize)?;
        pick.take().map(|word| Occupied::claimed(slot, word))
    }

    /// Takes an idle slot, unless a waiter must have it. Wait-free: at most `capacity`
    /// read-modify-writes.
    pub(crate) fn claim(&self) -> Option<Occupied<H>> {
        let home = crate::sync::thread_number();
        self.idle.claim(home).map(|index| Occupied::<H>::adopt(self, index))
    }

    /// Takes the slot `index` if it is idle, past all waiters: for maintenance.
    pub(crate) fn claim_idle_at(&self, index: u32) -> Option<Occupied<H>> {
        self.idle.claim_at(index).then(|| Occupied::<H>::adopt(self, index))
    }

    /// Takes a vacant slot to open a connection in; retires slots on the way as long as there is
    /// debt.
    pub(crate) fn claim_vacant(&self) -> Option<Vacant<H>> {
        if self.is_closed() {
            return None;
        }
        loop {
            // Round the words, the lowest bit of each: so the next slot lies in another stripe of
            // the idle bitmap, and each thread finds connections at home. Two that claim at once
            // may begin at the same word.
            let turn = self.vacant_turn.get();
            self.vacant_turn.set(turn.wrapping_add(1));
            let slot = Vacant::adopt(self, self.vacant.claim_past_flags(turn)?);
            if !self.take_debt() {
                return Some(slot);
            }
            slot.retire();
        }
    }

    /// Whether a vacant slot may be there. If a waiter looks after its [`enroll`](Self::enroll) and
    /// finds none, the next thread to vacate a slot sees the waiter: both have requested a dispatch
    /// (O4) in between.
    pub(crate) fn has_vacant(&self) -> bool {
        !self.vacant.is_empty()
    }

    /// Puts `by` more slots out of use (negative: back into use). Vacant slots follow at once,
    /// others as they come free: their owners ask [`take_debt`](Self::take_debt).
    pub(crate) fn adjust(&self, by: i64) {
        // O9: ordered with every retiring that looks at the debt afterwards.
        self.debt.fetch_add(by, Ordering::AcqRel);
        self.advance_epoch();
        self.settle_debt();
        // The bits that were set are ordered against a close that looks for them (README, "Close").
        self.dispatch();
    }

    /// Rises with whatever concerns each slot. An owner that has looked at its slot closely, and
    /// remembers in which epoch, need not look again in the same.
    #[inline(always)]
    pub(crate) fn epoch(&self) -> u64 {
        // O12: what the epoch rose for is visible to a thread that looks at it after the epoch.
        self.epoch.load(Ordering::Acquire)
    }

    /// Notes that something has happened that concerns each slot.
    pub(crate) fn advance_epoch(&self) {
        // O12
        self.epoch.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn eras(&self) -> &Eras {
        &self.eras
    }

    /// Begins an [era]: from now on values of earlier ones are to be replaced.
    pub(crate) fn begin_era(&self) -> u64 {
        let era = self.eras.begin();
        self.advance_epoch();
        era
    }

    /// From now on values of eras before `era` are not lent any more.
    pub(crate) fn refuse_before(&self, era: u64) {
        self.eras.refuse_before(era);
        // O12: who sees the epoch sees that.
        self.advance_epoch();
    }

    /// Whether slots are still to be retired.
    pub(crate) fn is_in_debt(&self) -> bool {
        // O11: a hint; `take_debt` decides.
        self.debt.load(Ordering::Relaxed) > 0
    }

    /// Takes one unit of the debt, if there is any: then the caller must retire a slot.
    pub(crate) fn take_debt(&self) -> bool {
        // O11: a first guess.
        let mut debt = self.debt.load(Ordering::Relaxed);
        while debt > 0 {
            // O9; on failure another guess (O11).
            match self.debt.compare_exchange(debt, debt - 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => debt = now,
            }
        }
        false
    }

    /// Gives back a unit that [`take_debt`](Self::take_debt) gave, if no slot could be found for
    /// it.
    pub(crate) fn return_debt(&self) {
        // O9
        self.debt.fetch_add(1, Ordering::AcqRel);
        self.advance_epoch();
    }

    /// Retires vacant slots, or brings retired ones back, as far as the debt asks and bits are
    /// there.
    fn settle_debt(&self) {
        // As in the evacuation.
        let mut home = 0;
        loop {
            // O9: a read-modify-write. Either it follows the `adjust` that lowered the debt and
            // sees it, or that `adjust` follows it and sees the retired bit that was set before.
            let debt = self.debt.fetch_add(0, Ordering::AcqRel);
            if debt > 0 {
                if !self.take_debt() {
                    continue;
                }
                let Some(index) = self.vacant.claim_past_flags(home) else {
                    return self.return_debt();
                };
                home = index as usize;
                self.retired.put(index);
            } else if debt < 0 {
                let Some(index) = self.retired.claim_past_flags(home) else {
                    return;
                };
                home = index as usize;
                self.return_debt();
                self.vacant.put(index);
            } else {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    struct Bare;

    impl PoolHooks for Bare {
        type Value = u64;
        type Ledger = u64;
        type Context = ();

        fn on_orphan(slot: Occupied<Self>) {
            drop(slot.vacate());
        }

        fn on_return(slot: Occupied<Self>) {
            drop(slot);
        }

        fn now((): &()) -> u64 {
            0
        }

        fn on_deadline((): &(), _: u64) {}

        fn on_torn_down((): &()) {}
    }

    /// Waiters write to the room all the time; nothing else must lie on its lines.
    #[test]
    fn slots_and_the_waiting_room_share_no_line_with_anything() {
        const LINES: usize = 128;
        assert_eq!((align_of::<Slot<Bare>>(), size_of::<Slot<Bare>>() % LINES), (LINES, 0));
        assert_eq!(offset_of!(RawPool<Bare>, room) % LINES, 0);
        assert_eq!(size_of::<WaitingRoom>() % LINES, 0);
    }
}
