//! The way out: claim, judge, perhaps wait, perhaps ping.
//!
//! There is one checkout. [`swift`] is its first step and, when an idle connection is fit, its last;
//! [`Slow`] is a future that a task awaits and a thread drives by parking.

use super::guard::PooledConnection;
use super::job::{Errand, Job, OutOfService, Reservation};
use super::quarantine::Late;
use super::shared::{Pooled, Raw, Shared, Slot, stats};
use super::tend::check;
use super::within::within;
use super::{connector, growth, verdict};
use crate::clock::Tick;
use crate::config::{Fairness, PingOn, Settings};
use crate::error::{GetError, ManagerError, Phase, TryGetError};
use crate::health::Verdict;
use crate::manager::{Kind, Manager};
use crate::raw::waiter::{NEVER, Outcome, Terms, Ticket};
use crate::sync::{Arc, AtomicBool, Ordering};
use std::future::poll_fn;
use std::panic::Location;
use std::task::{Context, Poll};
use std::time::Duration;

/// The first step of every checkout: an idle connection from close by that need not be judged, or what was taken
/// instead. Wait-free.
///
/// What every checkout pays for stands here. All else is out of line, in one function of the caller's choice:
/// what a call site has to hold ready for several ways out costs stores and room even if they are not taken.
#[inline(always)]
pub(crate) fn swift<M: Manager>(
    raw: &Raw<M>,
    borrower: &'static Location<'static>,
) -> Result<PooledConnection<M>, Option<Slot<M>>> {
    let Some(mut slot) = raw.claim_at_home() else { return Err(None) };
    let now = raw.context().clock.tick();
    let (entry, ledger) = slot.parts();
    let transitions = ledger.transitions();
    if entry.fit.holds(now, transitions, raw.epoch()) {
        ledger.lend(transitions, borrower, now);
        Ok(PooledConnection::new(slot.into()))
    } else {
        Err(Some(slot))
    }
}

/// Why a connection was not lent.
pub(crate) enum Detour<M: Manager> {
    /// This one must be pinged first.
    NeedsPing(Slot<M>),
    /// It, born at that moment, was evicted; there may be others.
    Evicted(Tick),
}

/// The second step: what the strategy says about what [`swift`] has taken or, if that is nothing, about a
/// connection from farther away. `None`: there is none, or others wait for it.
pub(crate) fn second<M: Manager>(
    raw: &Raw<M>,
    taken: Option<Slot<M>>,
    borrower: &'static Location<'static>,
) -> Option<Result<PooledConnection<M>, Detour<M>>> {
    let slot = taken.or_else(|| raw.claim())?;
    Some(judge_and_lend(slot, raw, borrower))
}

fn judge_and_lend<M: Manager>(
    mut slot: Slot<M>,
    raw: &Raw<M>,
    borrower: &'static Location<'static>,
) -> Result<PooledConnection<M>, Detour<M>> {
    let now = raw.context().clock.tick();
    let (entry, ledger) = slot.parts();
    match verdict::on_borrow(entry, ledger, raw, now) {
        Verdict::Keep => Ok(lend(slot, borrower, now)),
        Verdict::Ping => Err(Detour::NeedsPing(slot)),
        Verdict::Evict(cause) => {
            let born = slot.value().info.born;
            Job::close(slot, cause);
            Err(Detour::Evicted(born))
        }
    }
}

/// The last step of every checkout.
fn lend<M: Manager>(
    slot: Slot<M>,
    borrower: &'static Location<'static>,
    now: Tick,
) -> PooledConnection<M> {
    slot.ledger().lend(slot.ledger().transitions(), borrower, now);
    PooledConnection::new(slot.into())
}

/// Where a checkout stands, told to whoever drops it.
#[derive(Default)]
pub(crate) struct PhaseCell(AtomicBool);

impl PhaseCell {
    fn set(&self, phase: Phase) {
        // O11: read by the thread that wrote it.
        self.0.store(phase == Phase::Ping, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Phase {
        // O11
        if self.0.load(Ordering::Relaxed) { Phase::Ping } else { Phase::Wait }
    }
}

/// The settings that matter to a wait, as they were when the checkout began.
pub(crate) struct Rules {
    max_waiters: usize,
    fairness: Fairness,
    fail_fast: bool,
}

impl Rules {
    pub(crate) fn of(settings: &Settings) -> Self {
        let Settings { max_waiters, fairness, fail_fast, .. } = *settings;
        Self { max_waiters, fairness, fail_fast }
    }
}

/// One checkout that cannot be done in one step.
pub(crate) struct Slow<'a, M: Manager> {
    pub(crate) raw: &'a Arc<Raw<M>>,
    pub(crate) face: Kind,
    pub(crate) borrower: &'static Location<'static>,
    pub(crate) begun: Tick,
    pub(crate) deadline: Tick,
    pub(crate) rules: Rules,
    /// Where it stands, for the error when time runs out.
    pub(crate) phase: &'a PhaseCell,
}

/// A wait, counted and timed however it ends: a thread whose time is up drops its checkout half-way.
struct Waiting<'a, M: Manager> {
    shared: &'a Shared<M>,
    since: Tick,
}

impl<'a, M: Manager> Waiting<'a, M> {
    fn begin(shared: &'a Shared<M>, since: Tick) -> Self {
        shared.counters.waits.add();
        Self { shared, since }
    }
}

impl<M: Manager> Drop for Waiting<'_, M> {
    fn drop(&mut self) {
        self.shared.counters.wait_time.record(self.shared.clock.now().since(self.since));
    }
}

/// What one attempt to get a slot came to.
enum Attempt<M: Manager> {
    /// This connection, to be judged.
    Slot(Slot<M>),
    /// This connection, fresh from a ping.
    Checked(Slot<M>),
    /// One, born at that moment, that the strategy would not have; try again, ahead of those who came later.
    Evicted(Tick),
    /// Nothing; the same.
    Again,
}

impl<M: Manager> Slow<'_, M> {
    /// The whole of it, after [`swift`] has taken nothing (`None`), or something that could not be lent.
    pub(crate) async fn run(
        self,
        detour: Option<Detour<M>>,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        let mut evicted = 0;
        let mut attempt = match detour {
            None => self.wait(self.begun, false).await?,
            Some(Detour::NeedsPing(slot)) => self.ping(slot).await?,
            Some(Detour::Evicted(born)) => Attempt::Evicted(born),
        };
        loop {
            attempt = match attempt {
                Attempt::Checked(slot) | Attempt::Slot(slot) if self.raw.is_closed() => {
                    drop(slot);
                    return Err(GetError::Closed);
                }
                Attempt::Checked(slot) => {
                    return Ok(lend(slot, self.borrower, self.raw.context().clock.tick()));
                }
                Attempt::Slot(slot) => match judge_and_lend(slot, self.raw, self.borrower) {
                    Ok(connection) => return Ok(connection),
                    Err(Detour::NeedsPing(slot)) => self.ping(slot).await?,
                    Err(Detour::Evicted(born)) => Attempt::Evicted(born),
                },
                Attempt::Evicted(born) => {
                    evicted += 1;
                    let max_size = self.raw.context().settings.load().max_size;
                    if evicted > max_size && born >= self.begun {
                        let counts = stats(self.raw).counts();
                        return Err(GetError::AllEvicted { evicted, counts });
                    }
                    self.retry().await?
                }
                Attempt::Again => self.retry().await?,
            };
        }
    }

    async fn retry(&self) -> Result<Attempt<M>, GetError<M::Error>> {
        let now = self.raw.context().clock.now();
        if now >= self.deadline {
            return Err(self.timed_out());
        }
        growth::grow(self.raw);
        match self.raw.claim() {
            Some(slot) => Ok(Attempt::Slot(slot)),
            None => self.wait(now, true).await,
        }
    }

    /// Waits in line until somebody hands a slot over. `ahead`: it has stood in line before.
    async fn wait(&self, now: Tick, ahead: bool) -> Result<Attempt<M>, GetError<M::Error>> {
        let (raw, shared) = (self.raw, self.raw.context());
        self.phase.set(Phase::Wait);
        if raw.is_closed() {
            return Err(GetError::Closed);
        }
        self.look_for_hope(now)?;
        if self.deadline <= now {
            growth::grow(raw);
            return Err(self.timed_out());
        }
        let waiting = Waiting::begin(shared, now);
        let outcome = self.stand_in_line(ahead, now).await?;
        drop(waiting);
        match outcome {
            Outcome::Granted(slot) => Ok(Attempt::Slot(slot)),
            Outcome::Closed => Err(GetError::Closed),
            // If no cause is known, a connect has succeeded meanwhile.
            Outcome::Failed => self.cannot_connect().map_or(Ok(Attempt::Again), Err),
            Outcome::Expired => Err(self.timed_out()),
        }
    }

    /// Whether connecting has failed for good, it is too early to try again, and nothing is open.
    fn look_for_hope(&self, now: Tick) -> Result<(), GetError<M::Error>> {
        let shared = self.raw.context();
        if !shared.growth.outage.is_hopeless(now, self.rules.fail_fast) || !growth::is_out(self.raw)
        {
            return Ok(());
        }
        self.cannot_connect().map_or(Ok(()), Err)
    }

    fn terms(&self, ahead: bool, now: Tick) -> Terms {
        // A thread looks at the clock itself; a task is woken by the housekeeper.
        let deadline = if self.face == Kind::Blocking { NEVER } else { self.deadline.0 };
        let patience = match self.rules.fairness {
            Fairness::BoundedBarging(limit) if !ahead => (now + limit).0,
            _ => 0,
        };
        Terms { deadline, patience, ahead }
    }

    async fn stand_in_line(
        &self,
        ahead: bool,
        now: Tick,
    ) -> Result<Outcome<Pooled<M>>, GetError<M::Error>> {
        let (raw, shared) = (self.raw, self.raw.context());
        let terms = self.terms(ahead, now);
        let mut ticket: Option<Ticket<'_, Pooled<M>>> = None;
        poll_fn(|cx| {
            if let Some(ticket) = &mut ticket {
                return ticket.poll(cx).map(Ok);
            }
            let Ok(new) = raw.enroll(cx.waker(), terms, self.rules.max_waiters) else {
                return Poll::Ready(Err(self.refused()));
            };
            let ticket = ticket.insert(new);
            if ticket.is_settled() {
                return ticket.poll(cx).map(Ok);
            }
            // Again: those in line may have been failed just before this one came.
            self.look_for_hope(now)?;
            // Whoever vacates a slot later asks for growth himself.
            if raw.has_vacant() {
                growth::grow(raw);
            }
            shared.ring_before(Tick(terms.deadline));
            // It has left the waker of this very poll.
            Poll::Pending
        })
        .await
    }

    /// Has the connection pinged: here if the manager is of this face's kind and there is time for the whole
    /// of a ping, else by a connector, which finishes it even if this checkout must leave.
    async fn ping(&self, slot: Slot<M>) -> Result<Attempt<M>, GetError<M::Error>> {
        let (raw, shared) = (self.raw, self.raw.context());
        self.phase.set(Phase::Ping);
        let now = shared.clock.now();
        if self.deadline <= now {
            Job::ping(slot, None);
            return Err(self.timed_out());
        }
        let checked = if self.may_ping_itself(now) {
            check(raw, OutOfService::new(slot, Errand::Borrowers)).await
        } else {
            match self.reservation(slot).await? {
                Outcome::Granted(slot) => Some(slot),
                Outcome::Closed => return Err(GetError::Closed),
                Outcome::Failed | Outcome::Expired => None,
            }
        };
        match checked {
            Some(slot) => Ok(Attempt::Checked(slot)),
            None => Ok(Attempt::Again),
        }
    }

    /// The driver is of this face's kind and trusted, and there is time for the whole of a ping.
    fn may_ping_itself(&self, now: Tick) -> bool {
        let shared = self.raw.context();
        let settings = shared.settings.load();
        let is_trusted = self.face == Kind::Async || settings.ping_on == PingOn::Borrower;
        shared.driver.kind() == self.face
            && is_trusted
            && now + settings.ping_timeout <= self.deadline
    }

    async fn reservation(&self, slot: Slot<M>) -> Result<Outcome<Pooled<M>>, GetError<M::Error>> {
        let (raw, shared) = (self.raw, self.raw.context());
        // A call that blocks may go on for longer; nobody waits for that.
        let limit = shared.clock.now() + shared.settings.load().ping_timeout;
        let (mut slot, mut ticket) = (Some(slot), None);
        let kept = poll_fn(|cx: &mut Context<'_>| {
            let ticket = ticket.get_or_insert_with(|| raw.reservation(cx.waker()));
            if let Some(slot) = slot.take() {
                Job::ping(slot, Some(Reservation::with(ticket.waiter())));
                connector::pump(raw);
            }
            ticket.poll(cx)
        });
        match within(shared, limit.min(self.deadline), kept).await {
            Some(outcome) => Ok(outcome),
            None if shared.clock.now() >= self.deadline => Err(self.timed_out()),
            None => Ok(Outcome::Expired),
        }
    }

    fn waited(&self) -> Duration {
        self.raw.context().clock.now().since(self.begun)
    }

    pub(crate) fn timed_out(&self) -> GetError<M::Error> {
        timed_out(self.raw, self.phase.get(), self.waited())
    }

    fn refused(&self) -> GetError<M::Error> {
        self.raw.context().counters.refusals.add();
        GetError::TooManyWaiters { counts: stats(self.raw).counts() }
    }

    fn cannot_connect(&self) -> Option<GetError<M::Error>> {
        let cause = self.raw.context().last_connect_failure.load_full()?;
        Some(GetError::Connect { counts: stats(self.raw).counts(), cause })
    }
}

pub(crate) fn timed_out<M: Manager>(
    raw: &Raw<M>,
    phase: Phase,
    waited: Duration,
) -> GetError<M::Error> {
    let shared = raw.context();
    shared.counters.timeouts.add();
    let counts = stats(raw).counts();
    let is_open = counts.idle + counts.lent + counts.maintenance > 0;
    let is_opening = counts.opening > 0 || Late::now(raw, shared.clock.now()).tending == 0;
    let phase = match phase {
        Phase::Wait if !is_open && is_opening => Phase::Connect,
        phase => phase,
    };
    let last = match phase {
        Phase::Ping => &shared.last_ping_failure,
        _ => &shared.last_connect_failure,
    };
    let under_way = counts.opening + counts.maintenance + counts.quarantined;
    let is_lendable = phase == Phase::Wait && counts.lent + counts.idle > 0;
    let hangs_on_manager = under_way > 0 && !is_lendable;
    let pending = || hangs_on_manager.then(|| Arc::new(ManagerError::Pending));
    GetError::TimedOut { phase, waited, counts, cause: last.load_full().or_else(pending) }
}

/// The rest of a checkout by somebody who will not wait. A connection that must be pinged is: the next attempt
/// may have it. Each round but the last closes a connection, so there are at most `capacity`.
#[cold]
#[inline(never)]
pub(crate) fn try_on<M: Manager>(
    raw: &Raw<M>,
    mut taken: Option<Slot<M>>,
    borrower: &'static Location<'static>,
) -> Result<PooledConnection<M>, TryGetError> {
    for _ in 0..=raw.capacity() {
        match second(raw, taken.take(), borrower) {
            Some(Ok(connection)) => return Ok(connection),
            Some(Err(Detour::Evicted(_))) => {}
            Some(Err(Detour::NeedsPing(slot))) => {
                Job::ping(slot, None);
                break;
            }
            None => break,
        }
    }
    Err(if raw.is_closed() { TryGetError::Closed } else { TryGetError::Empty })
}
