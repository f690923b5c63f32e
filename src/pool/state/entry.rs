//! A connection and what is known of it.

use crate::clock::Tick;
use crate::data::ConnectionData;
use crate::health::{ConnectionInfo, EvictionCause, Luck, Record, Validity};
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
    /// The user's, beside the connection.
    pub(crate) data: ConnectionData,
    /// This loan is measured: the ledger has the very moment when it began.
    pub(crate) is_measured: bool,
    /// Its last ping took unusually long: it is lent after all others.
    pub(crate) is_slow: bool,
    luck: Luck,
    pub(crate) record: Record,
    /// Checkouts of the slot before this connection was opened in it.
    checkouts_before: u64,
    seldom: Option<Box<Seldom>>,
}

/// What few connections have. Beside each of them it would take a cache line more.
#[derive(Default)]
struct Seldom {
    /// When a borrower last reported an error; zero: none has.
    last_error: Tick,
    /// When the hooks before a loan last ran on it, and the slot's transitions at that time.
    prepared: Option<(Tick, u64)>,
    /// The last attempt to replace it.
    replacement: Option<Arc<Attempt>>,
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
        Self {
            connection: fresh.connection,
            manager: fresh.manager,
            fit: Fit::default(),
            ping_due: false,
            reset_due: false,
            data: fresh.data,
            is_measured: false,
            is_slow: false,
            luck: Luck::of(chance),
            record: Record::newborn(now, generation),
            checkouts_before: ledger.checkouts(),
            seldom: None,
        }
    }

    /// Begins to replace it, unless that is done.
    pub(crate) fn replace(&mut self, cause: EvictionCause) -> Option<Arc<Attempt>> {
        if self.replacement().is_some_and(|attempt| !attempt.is_at(Stage::Over)) {
            return None;
        }
        let attempt = Arc::new(Attempt::new(cause));
        self.seldom().replacement = Some(Arc::clone(&attempt));
        Some(attempt)
    }

    /// Whether `attempt` is the one to replace it.
    pub(crate) fn is_replaced_by(&self, attempt: &Arc<Attempt>) -> bool {
        self.replacement().is_some_and(|own| Arc::ptr_eq(own, attempt))
    }

    /// Whether there was ever an attempt to replace it.
    pub(crate) fn may_be_replaced(&self) -> bool {
        self.replacement().is_some()
    }

    fn replacement(&self) -> Option<&Arc<Attempt>> {
        self.seldom.as_deref().and_then(|seldom| seldom.replacement.as_ref())
    }

    fn seldom(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_default()
    }

    /// Why it should go now that it is not lent, if it should; `few` do.
    pub(crate) fn retires(&self, few: bool) -> Option<EvictionCause> {
        let attempt = self.replacement()?;
        let retires = attempt.is_at(Stage::Made) || few && attempt.is_at(Stage::NoRoom);
        retires.then_some(attempt.cause)
    }

    /// A borrower reports an error.
    pub(crate) fn note_error(&mut self, now: Tick) {
        self.seldom().last_error = now.max(Tick(1));
    }

    /// Has it pinged before its next loan.
    pub(crate) fn suspect(&mut self) {
        self.ping_due = true;
        self.fit = Fit::default();
    }

    /// A ping, sent in a pool of that `generation`, has been answered.
    pub(crate) fn has_answered(&mut self, ledger: &Ledger, now: Tick, generation: u64) {
        self.was_reset(ledger, now);
        self.record.generation = generation;
        self.ping_due = false;
        self.fit = Fit::default();
    }

    /// A reset has succeeded.
    pub(crate) fn was_reset(&mut self, ledger: &Ledger, now: Tick) {
        self.record.last_checked = now;
        self.record.uses_when_checked = self.uses(ledger);
    }

    /// The hooks before a loan have been run.
    pub(crate) fn was_prepared(&mut self, ledger: &Ledger, now: Tick) {
        self.seldom().prepared = Some((now, ledger.transitions()));
    }

    /// Whether they have been, since its last loan and a moment ago.
    pub(crate) fn is_prepared(&self, ledger: &Ledger, now: Tick) -> bool {
        self.prepared().is_some_and(|(then, transitions)| {
            now.since(then) < PREPARED_FOR && transitions == ledger.transitions()
        })
    }

    fn prepared(&self) -> Option<(Tick, u64)> {
        self.seldom.as_deref().and_then(|seldom| seldom.prepared)
    }

    /// When it last showed that it works: it answered, or hooks were run on it for a loan.
    pub(crate) fn last_proven(&self) -> Tick {
        let prepared = self.prepared().map_or(Tick::default(), |(then, _)| then);
        self.record.last_checked.max(prepared)
    }

    fn uses(&self, ledger: &Ledger) -> u64 {
        ledger.checkouts() - self.checkouts_before
    }

    /// Whether it has never been lent.
    pub(crate) fn is_unused(&self, ledger: &Ledger) -> bool {
        self.uses(ledger) == 0
    }

    /// Whether it was lent since it last answered.
    pub(crate) fn is_used_since_check(&self, ledger: &Ledger) -> bool {
        self.uses(ledger) != self.record.uses_when_checked
    }

    /// All that is known of it.
    pub(crate) fn info(&self, ledger: &Ledger, pool_generation: u64, now: Tick) -> ConnectionInfo {
        ConnectionInfo {
            record: self.record,
            luck: self.luck,
            now,
            last_used: ledger.last_changed(),
            last_error: self.seldom.as_deref().map_or(Tick(0), |seldom| seldom.last_error),
            uses: self.uses(ledger),
            pool_generation,
        }
    }
}
