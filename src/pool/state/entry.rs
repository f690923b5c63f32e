//! A connection and what is known of it.

use crate::clock::Tick;
use crate::health::{ConnectionInfo, Validity};
use crate::stats::Ledger;
use crate::sync::Weak;

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
    /// As judged after `transitions`.
    pub(crate) fn of(
        info: &ConnectionInfo,
        validity: Validity,
        transitions: u64,
        epoch: u64,
    ) -> Self {
        let from = transitions.next_multiple_of(2);
        Self {
            until: Tick(info.now.0.saturating_add(validity.time)),
            // A loan and a return each.
            until_transition: validity.uses.saturating_mul(2).saturating_add(from),
            epoch,
        }
    }

    /// After `transitions`, in that epoch of the pool.
    #[inline(always)]
    pub(crate) fn holds(&self, now: Tick, transitions: u64, epoch: u64) -> bool {
        now < self.until && transitions < self.until_transition && epoch == self.epoch
    }
}

/// See the [module](self).
pub(crate) struct Entry<C> {
    pub(crate) connection: C,
    pub(crate) fit: Fit,
    /// It must be pinged before its next loan, whatever the strategy says then.
    pub(crate) ping_due: bool,
    /// Up to date only once [refreshed](Self::refresh).
    pub(crate) info: ConnectionInfo,
    /// Checkouts of the slot before this connection was opened in it.
    checkouts_before: u64,
    /// Upgradable as long as a replacement is being opened.
    pub(crate) replacement: Weak<()>,
}

impl<C> Entry<C> {
    /// A connection opened `now` in a pool of that `generation`; `chance`, from 0 to 1, is its
    /// jitter for life.
    pub(crate) fn newborn(
        connection: C,
        ledger: &Ledger,
        now: Tick,
        generation: u64,
        chance: f64,
    ) -> Self {
        ledger.begin(now);
        let luck = (chance * f64::from(u32::MAX)) as u32;
        Self {
            connection,
            fit: Fit::default(),
            ping_due: false,
            info: ConnectionInfo::newborn(now, generation, luck),
            checkouts_before: ledger.checkouts(),
            replacement: Weak::new(),
        }
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
