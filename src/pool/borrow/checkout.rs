//! A checkout that needs more than one step: a future that a task awaits and a thread drives by
//! parking.

use super::failure::{self, phase};
use super::guard::PooledConnection;
use super::last_look::look;
use super::step::{Step, judge, judge_or_claim, lend};
use super::wait::Wait;
use super::{nested, terms};
use crate::clock::Tick;
use crate::config::{Fairness, PingOn, Settings};
use crate::error::GetError;
use crate::manager::{Face, Manager};
use crate::no_unwind::no_unwind;
use crate::observe::WaitOutcome;
use crate::pool::service::enqueue;
use crate::pool::state::classes::ORDINARY;
use crate::pool::state::job::{Job, Reservation};
use crate::pool::state::pooled::{Pooled, Raw, Slot};
use crate::pool::supply::{speed, tries};
use crate::pool::work::calls::check;
use crate::pool::work::shared::Shared;
use crate::pool::work::worker;
use crate::raw::waiter::{Outcome, Terms, Ticket};
use crate::sync::{Arc, Relaxed};
use std::future::poll_fn;
use std::num::NonZeroU64;
use std::panic::Location;
use std::task::{Context, Poll};
use std::time::Duration;

/// See the [module](self).
pub(crate) struct Checkout<'a, M: Manager> {
    raw: &'a Arc<Raw<M>>,
    face: Face,
    borrower: &'static Location<'static>,
    begun: Tick,
    deadline: Tick,
    // The settings that matter to a wait, as they were when the checkout began.
    max_waiters: usize,
    fairness: Fairness,
    class: u8,
    fail_fast: bool,
    /// Whether it waits for a ping rather than in line; the error tells when time runs out.
    is_pinging: &'a Relaxed<bool>,
    /// A connection that was pinged for it since then was not taken in time.
    pinged_in_vain: Option<Tick>,
    wait: Wait<'a, M>,
    /// Its number among the borrowers that hold a connection, if it does.
    nested: Option<NonZeroU64>,
    /// See [`part_of_many`](Self::part_of_many).
    is_part: bool,
}

/// A thread whose time is up drops its checkout half-way.
impl<M: Manager> Drop for Checkout<'_, M> {
    fn drop(&mut self) {
        self.end_nested();
    }
}

impl<'a, M: Manager> Checkout<'a, M> {
    /// For a borrower of that `face`, within `timeout` or else the settings' `checkout_timeout`.
    #[inline(always)]
    pub(crate) fn begin(
        raw: &'a Arc<Raw<M>>,
        face: Face,
        timeout: Option<Duration>,
        borrower: &'static Location<'static>,
        is_pinging: &'a Relaxed<bool>,
    ) -> Self {
        let state = raw.context();
        let settings = state.settings.load();
        let Settings { checkout_timeout, max_waiters, fairness, fail_fast, .. } = **settings;
        let begun = state.clock.now();
        Self {
            raw,
            face,
            borrower,
            begun,
            deadline: begun + timeout.unwrap_or(checkout_timeout),
            max_waiters,
            fairness: if state.hands_over_only() { Fairness::Fifo } else { fairness },
            class: ORDINARY,
            fail_fast,
            is_pinging,
            pinged_in_vain: None,
            wait: Wait::new(raw, face, borrower),
            nested: None,
            is_part: false,
        }
    }

    pub(crate) fn of_class(mut self, class: u8) -> Self {
        self.class = class;
        self
    }

    /// It is one of several of a borrower, which keeps what it has until it has all. The borrower
    /// counts as one that waits; its parts do not.
    pub(crate) fn part_of_many(mut self) -> Self {
        self.is_part = true;
        self.max_waiters = usize::MAX;
        self
    }

    pub(crate) fn deadline(&self) -> Tick {
        self.deadline
    }

    pub(crate) fn begun(&self) -> Tick {
        self.begun
    }

    /// Runs the checkout to its end, from `step` on.
    pub(crate) async fn run(
        mut self,
        step: Step<M>,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        let (borrower, face) = (self.borrower, self.face);
        self.find(step).await.map(|slot| lend(slot, borrower, face))
    }

    /// As [`run`](Self::run), up to the loan.
    pub(crate) async fn find(&mut self, mut step: Step<M>) -> Result<Slot<M>, GetError<M::Error>> {
        let (mut evicted, mut dead) = (0, 0);
        let capacity = self.raw.capacity();
        loop {
            let next = match step {
                Step::Lend(slot) => {
                    // It does not wait any more, before it holds one more.
                    self.end_nested();
                    self.wait.note_loan();
                    self.wait.end(WaitOutcome::Served);
                    return Ok(slot);
                }
                Step::Ping(slot) => self.ping(slot, true).await,
                Step::Prepare(slot) => self.ping(slot, false).await,
                Step::Wait => self.wait(self.begun, false).await,
                Step::Again => self.retry(false).await,
                Step::Dead => {
                    dead += 1;
                    self.retry(dead <= capacity).await
                }
                Step::Evicted(born) => {
                    evicted += 1;
                    let max_size = self.raw.context().settings.load().max_size;
                    if evicted > max_size && born >= self.begun {
                        Err(failure::all_evicted(self.raw, evicted))
                    } else {
                        self.retry(evicted <= capacity).await
                    }
                }
            };
            step = next.inspect_err(|error| self.wait.end(failure::outcome_of(error)))?;
        }
    }

    /// Looks again, ahead of borrowers that came later. `at_any_time`: also if its time is up, as
    /// another connection may be idle.
    async fn retry(&mut self, at_any_time: bool) -> Result<Step<M>, GetError<M::Error>> {
        let now = self.raw.context().clock.now();
        if now >= self.deadline && !at_any_time {
            return Err(self.timed_out());
        }
        worker::grow(self.raw);
        match judge_or_claim(self.raw, None) {
            Step::Wait => self.wait(now, true).await,
            step => Ok(step),
        }
    }

    /// Waits in line until a slot is handed over. `ahead`: it has stood in line before.
    async fn wait(&mut self, now: Tick, ahead: bool) -> Result<Step<M>, GetError<M::Error>> {
        self.is_pinging.set(false);
        if self.raw.is_closed() {
            return Err(GetError::Closed);
        }
        failure::look_for_hope(self.raw, now, self.fail_fast)?;
        if self.deadline <= now {
            worker::grow(self.raw);
            if self.deadline <= self.begun {
                tries::note(self.raw);
            }
            return Err(self.timed_out());
        }
        failure::ask_for_leave_to_wait(self.raw, self.face)?;
        if self.raw.context().admits_by_deadline.get() && !ahead && !self.is_part {
            failure::look_for_time(self.raw, self.class, now, self.begun, self.deadline)?;
        }
        if self.raw.context().identifies {
            self.look_for_circle()?;
        }
        match self.stand_in_line(ahead, now).await? {
            Outcome::Granted(slot) => Ok(judge(self.raw, self.unless_closed(slot)?)),
            Outcome::Closed => Err(GetError::Closed),
            // If no cause is known, a connect has succeeded meanwhile.
            Outcome::Failed => failure::cannot_connect(self.raw).map_or(Ok(Step::Again), Err),
            Outcome::Expired => Err(self.timed_out()),
            Outcome::Shed => Err(failure::shed(self.raw, self.begun)),
            Outcome::Lapsed => Ok(Step::Again),
        }
    }

    fn end_nested(&mut self) {
        if let Some(number) = self.nested.take() {
            nested::end(self.raw, number);
        }
    }

    /// Fails if all connections are held by borrowers that wait, as this one is about to.
    #[cold]
    #[inline(never)]
    fn look_for_circle(&mut self) -> Result<(), GetError<M::Error>> {
        if !self.is_part && self.nested.is_none() {
            self.nested = nested::begin(self.raw, self.face, self.borrower)?;
        }
        Ok(())
    }

    /// A pool that was closed meanwhile lends nothing.
    fn unless_closed(&self, slot: Slot<M>) -> Result<Slot<M>, GetError<M::Error>> {
        if self.raw.is_closed() { Err(GetError::Closed) } else { Ok(slot) }
    }

    fn terms(&self, ahead: bool, now: Tick) -> Terms {
        let terms = terms::of(self.face, self.fairness, self.begun, self.deadline, ahead, now);
        Terms { class: self.class, is_part: self.is_part, ..terms }
    }

    async fn stand_in_line(
        &mut self,
        ahead: bool,
        now: Tick,
    ) -> Result<Outcome<Pooled<M>>, GetError<M::Error>> {
        let raw = self.raw;
        let (terms, fairness) = (self.terms(ahead, now), self.fairness);
        let mut ticket: Option<Ticket<'_, Pooled<M>>> = None;
        poll_fn(|cx| {
            if let Some(ticket) = &mut ticket {
                let Poll::Ready(outcome) = ticket.poll(cx) else {
                    ask_anew(raw, fairness);
                    return Poll::Pending;
                };
                return Poll::Ready(Ok(outcome));
            }
            speed::arrive(raw, now);
            let Ok(new) = raw.enroll(cx.waker(), terms, self.max_waiters) else {
                return Poll::Ready(Err(failure::refused(raw)));
            };
            if !self.is_part {
                self.wait.begin(now);
            }
            let ticket = ticket.insert(new);
            if ticket.is_settled() {
                return ticket.poll(cx).map(Ok);
            }
            // Again: those in line may have been failed just before this one came.
            failure::look_for_hope(raw, now, self.fail_fast)?;
            // The thread that vacates a slot later asks for growth itself.
            if raw.has_vacant() {
                worker::grow(raw);
            }
            // It has left the waker of this very poll.
            Poll::Pending
        })
        .await
    }

    /// Lends the connection once it has answered, if a ping `is_due`, and the hooks have been run;
    /// unless the last look finds it dead.
    async fn ping(
        &mut self,
        mut slot: Slot<M>,
        is_due: bool,
    ) -> Result<Step<M>, GetError<M::Error>> {
        let now = self.raw.context().clock.now();
        let outcome = if self.has_answered_before(&slot) {
            Outcome::Granted(slot)
        } else {
            slot.value_mut().ping_due |= is_due;
            self.have_pinged(slot, now).await?
        };
        match outcome {
            Outcome::Granted(slot) => {
                Ok(look(self.unless_closed(slot)?).map_or(Step::Dead, Step::Lend))
            }
            Outcome::Closed => Err(GetError::Closed),
            Outcome::Lapsed => {
                self.pinged_in_vain = Some(now);
                Ok(Step::Again)
            }
            Outcome::Failed | Outcome::Expired | Outcome::Shed => Ok(Step::Again),
        }
    }

    /// Has the connection pinged: here if the manager is of this face's kind and there is time for
    /// a whole ping, else by a worker, which finishes the ping even if this checkout must leave.
    async fn have_pinged(
        &self,
        slot: Slot<M>,
        now: Tick,
    ) -> Result<Outcome<Pooled<M>>, GetError<M::Error>> {
        self.is_pinging.set(true);
        if self.deadline <= now {
            enqueue::ping(slot, None);
            return Err(self.timed_out());
        }
        match (self.may_ping_itself(now), self.face) {
            (true, Face::Blocking) => {
                let checked = check(self.raw, Job::own_ping(slot, None)).await;
                Ok(checked.map_or(Outcome::Failed, Outcome::Granted))
            }
            (true, Face::Async) => self.ping_here(slot, now).await,
            (false, _) => {
                if let Err(error) = failure::ask_for_leave_to_wait(self.raw, self.face) {
                    enqueue::ping(slot, None);
                    return Err(error);
                }
                self.reserve(slot).await
            }
        }
    }

    /// Pings the connection in this future. If that is not polled, others finish the ping.
    async fn ping_here(
        &self,
        slot: Slot<M>,
        now: Tick,
    ) -> Result<Outcome<Pooled<M>>, GetError<M::Error>> {
        let (raw, terms) = (self.raw, self.terms(true, now));
        let mut ticket = poll_fn(|cx| Poll::Ready(raw.reservation(cx.waker(), terms))).await;
        let job = Job::own_ping(slot, Some(Reservation::with(ticket.waiter())));
        let mut ping = Shared::new(raw, job);
        let kept = poll_fn(|cx| {
            ping.poll(cx);
            ticket.poll(cx)
        });
        // Others may have taken the ping over, and need longer.
        raw.context().timeout(self.deadline, kept).await.ok_or_else(|| self.timed_out())
    }

    /// Whether the connection was pinged for this borrower, which did not take it in time. If the
    /// pool pinged it again, a borrower that is always polled late would never be served.
    fn has_answered_before(&self, slot: &Slot<M>) -> bool {
        let entry = slot.value();
        let is_fresh = self.pinged_in_vain.is_some_and(|since| entry.last_proven() >= since);
        is_fresh && !entry.is_used_since_check(slot.ledger()) && !entry.ping_due
    }

    /// Whether the driver is of this face's kind, trusted, and at ease on this thread, and there is
    /// time for a whole ping.
    fn may_ping_itself(&self, now: Tick) -> bool {
        let state = self.raw.context();
        let settings = state.settings.load();
        let is_trusted = self.face == Face::Async || settings.ping_on == PingOn::Borrower;
        state.driver.kind() == self.face
            && is_trusted
            && now + settings.ping_timeout <= self.deadline
            && no_unwind(|| state.manager.load().may_ping_here()).unwrap_or(false)
    }

    /// Waits for a worker to ping `slot` and hand it over.
    async fn reserve(&self, slot: Slot<M>) -> Result<Outcome<Pooled<M>>, GetError<M::Error>> {
        let (raw, state) = (self.raw, self.raw.context());
        // A call that blocks may go on for longer; this borrower does not wait for that.
        let now = state.clock.now();
        let limit = now + state.settings.load().ping_timeout;
        let (mut slot, mut ticket) = (Some(slot), None);
        let kept = poll_fn(|cx: &mut Context<'_>| {
            let ticket =
                ticket.get_or_insert_with(|| raw.reservation(cx.waker(), self.terms(true, now)));
            if let Some(slot) = slot.take() {
                enqueue::ping(slot, Some(Reservation::with(ticket.waiter())));
                worker::start(raw);
            }
            ticket.poll(cx)
        });
        match state.timeout(limit.min(self.deadline), kept).await {
            Some(outcome) => Ok(outcome),
            None if state.clock.now() >= self.deadline => Err(self.timed_out()),
            None => Ok(Outcome::Expired),
        }
    }

    fn timed_out(&self) -> GetError<M::Error> {
        let now = self.raw.context().clock.now();
        failure::timed_out(self.raw, phase(self.is_pinging), now.since(self.begun))
    }
}

/// A borrower was polled, and waits on. No connect was begun for it as long as another connection
/// was idle, which a newcomer may have taken.
#[cold]
#[inline(never)]
fn ask_anew<M: Manager>(raw: &Arc<Raw<M>>, fairness: Fairness) {
    if fairness != Fairness::Fifo && raw.has_vacant() {
        worker::grow(raw);
    }
}
