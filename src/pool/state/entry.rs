//! A connection and what is known of it.

use crate::clock::Tick;
use crate::data::ConnectionData;
use crate::health::{ConnectionInfo, EvictionCause, Validity};
use crate::manager::Manager;
use crate::stats::Ledger;
use crate::sync::{Arc, Relaxed};
use std::time::Duration;

/// Until when a connection need not be judged: the strategy's [`Validity`], as moments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fit {
    until: Tick,
    /// In transitions of the slot's ledger.
    until_transition: u64,
    /// The pool's.
    epoch: u64,
}

impl Fit {
    /// As judged after `transitions`; to be looked at again by that of `limit`.
    pub(crate) fn of(
        info: &ConnectionInfo,
        validity: Validity,
        transitions: u64,
        limit: u64,
        epoch: u64,
    ) -> Self {
        let from = transitions.next_multiple_of(2);
        // A loan and a return each.
        let valid = validity.uses.saturating_mul(2).saturating_add(from);
        Self {
            until: Tick(info.now.0.saturating_add(validity.time)),
            until_transition: valid.min(limit),
            epoch,
        }
    }

    /// After `transitions`, in that epoch of the pool.
    #[inline(always)]
    pub(crate) fn holds(&self, now: Tick, transitions: u64, epoch: u64) -> bool {
        now < self.until && transitions < self.until_transition && epoch == self.epoch
    }
}

/// For how long a connection stays prepared for a borrower that did not take it.
const PREPARED_FOR: Duration = Duration::from_secs(1);

/// See the [module](self).
pub(crate) struct Entry<M: Manager> {
    pub(crate) connection: M::Connection,
    /// Which opened it, and looks after it to its end.
    pub(crate) manager: Arc<M>,
    pub(crate) fit: Fit,
    /// The connection must be pinged before its next loan, whatever the strategy says then.
    pub(crate) ping_due: bool,
    /// The connection must be reset, besides what the hooks do after a loan.
    pub(crate) reset_due: bool,
    /// When the hooks before a loan last ran on it, if there are any, and the slot's transitions at
    /// that time. Boxed, as few pools have such hooks.
    prepared: Option<Box<(Tick, u64)>>,
    /// The user's, beside the connection.
    pub(crate) data: ConnectionData,
    /// This loan is measured: the ledger has the very moment when it began.
    pub(crate) is_measured: bool,
    /// Its last ping took unusually long: it is lent after all others.
    pub(crate) is_slow: bool,
    /// Up to date only once [refreshed](Self::refresh).
    pub(crate) info: ConnectionInfo,
    /// Checkouts of the slot before this connection was opened in it.
    checkouts_before: u64,
    /// The last attempt to replace it.
    pub(crate) replacement: Option<Arc<Attempt>>,
}

/// A connection that was just opened.
pub(crate) struct Fresh<M: Manager> {
    pub(crate) connection: M::Connection,
    pub(crate) manager: Arc<M>,
    pub(crate) data: ConnectionData,
}

/// An attempt to replace a connection ahead of its end, as the connection's entry knows it.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Why it is to be replaced.
    pub(crate) cause: EvictionCause,
    stage: Relaxed<u32>,
}

/// How far an [`Attempt`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Stage {
    UnderWay,
    /// The attempt failed.
    Over,
    /// The replacement is there: the old connection goes when it comes back.
    Made,
    /// There is no room for both, so the old connection goes first, when it comes back and few do.
    NoRoom,
}

impl Attempt {
    pub(crate) fn new(cause: EvictionCause) -> Self {
        Self { cause, stage: Relaxed::<u32>::new(Stage::UnderWay as u32) }
    }

    pub(crate) fn is_at(&self, stage: Stage) -> bool {
        self.stage.get() == stage as u32
    }

    /// Its stage is what comes of it, unless something has.
    pub(crate) fn end(&self, stage: Stage) {
        self.stage.exchange(Stage::UnderWay as u32, stage as u32);
    }
}

impl<M: Manager> Entry<M> {
    /// A connection opened `now` in a pool of that `generation`; `chance`, from 0 to 1, is its
    /// jitter for life.
    pub(crate) fn newborn(
        fresh: Fresh<M>,
        ledger: &Ledger,
        now: Tick,
        generation: u64,
        chance: f64,
    ) -> Self {
        ledger.begin(now);
        let luck = (chance * f64::from(u32::MAX)) as u32;
        Self {
            connection: fresh.connection,
            manager: fresh.manager,
            fit: Fit::default(),
            ping_due: false,
            reset_due: false,
            prepared: None,
            data: fresh.data,
            is_measured: false,
            is_slow: false,
            info: ConnectionInfo::newborn(now, generation, luck),
            checkouts_before: ledger.checkouts(),
            replacement: None,
        }
    }

    /// Begins to replace it, unless that is done.
    pub(crate) fn replace(&mut self, cause: EvictionCause) -> Option<Arc<Attempt>> {
        if self.replacement.as_ref().is_some_and(|attempt| !attempt.is_at(Stage::Over)) {
            return None;
        }
        let attempt = Arc::new(Attempt::new(cause));
        self.replacement = Some(Arc::clone(&attempt));
        Some(attempt)
    }

    /// Whether `attempt` is the one to replace it.
    pub(crate) fn is_replaced_by(&self, attempt: &Arc<Attempt>) -> bool {
        self.replacement.as_ref().is_some_and(|own| Arc::ptr_eq(own, attempt))
    }

    /// Why it should go now that it is not lent, if it should; `few` do.
    pub(crate) fn retires(&self, few: bool) -> Option<EvictionCause> {
        let attempt = self.replacement.as_ref()?;
        let retires = attempt.is_at(Stage::Made) || few && attempt.is_at(Stage::NoRoom);
        retires.then_some(attempt.cause)
    }

    /// Has it pinged before its next loan.
    pub(crate) fn suspect(&mut self) {
        self.ping_due = true;
        self.fit = Fit::default();
    }

    /// A ping, sent in a pool of that `generation`, has been answered.
    pub(crate) fn has_answered(&mut self, ledger: &Ledger, now: Tick, generation: u64) {
        self.was_reset(ledger, now);
        self.info.generation = generation;
        self.ping_due = false;
        self.fit = Fit::default();
    }

    /// A reset has succeeded.
    pub(crate) fn was_reset(&mut self, ledger: &Ledger, now: Tick) {
        self.info.last_checked = now;
        self.info.uses_when_checked = self.uses(ledger);
    }

    /// The hooks before a loan have been run.
    pub(crate) fn was_prepared(&mut self, ledger: &Ledger, now: Tick) {
        self.prepared = Some(Box::new((now, ledger.transitions())));
    }

    /// Whether they have been, since its last loan and a moment ago.
    pub(crate) fn is_prepared(&self, ledger: &Ledger, now: Tick) -> bool {
        self.prepared.as_deref().is_some_and(|&(then, transitions)| {
            now.since(then) < PREPARED_FOR && transitions == ledger.transitions()
        })
    }

    /// When it last showed that it works: it answered, or hooks were run on it for a loan.
    pub(crate) fn last_proven(&self) -> Tick {
        let prepared = self.prepared.as_deref().map_or(Tick::default(), |&(then, _)| then);
        self.info.last_checked.max(prepared)
    }

    fn uses(&self, ledger: &Ledger) -> u64 {
        ledger.checkouts() - self.checkouts_before
    }

    /// Whether it has never been lent.
    pub(crate) fn is_unused(&self, ledger: &Ledger) -> bool {
        self.uses(ledger) == 0
    }

    /// Brings what is known up to date, in place.
    pub(crate) fn refresh(
        &mut self,
        ledger: &Ledger,
        pool_generation: u64,
        now: Tick,
    ) -> &ConnectionInfo {
        let before = self.checkouts_before;
        bring_up_to_date(&mut self.info, before, ledger, pool_generation, now);
        &self.info
    }

    /// The same as a copy, for a reader that must not write.
    pub(crate) fn info_at(
        &self,
        ledger: &Ledger,
        pool_generation: u64,
        now: Tick,
    ) -> ConnectionInfo {
        let mut info = self.info.clone();
        bring_up_to_date(&mut info, self.checkouts_before, ledger, pool_generation, now);
        info
    }
}

/// What changes with time: the slot's ledger knows its uses, the pool its generation.
fn bring_up_to_date(
    info: &mut ConnectionInfo,
    checkouts_before: u64,
    ledger: &Ledger,
    pool_generation: u64,
    now: Tick,
) {
    info.now = now;
    info.last_used = ledger.last_changed();
    info.uses = ledger.checkouts() - checkouts_before;
    info.pool_generation = pool_generation;
}
