//! Several connections at once, or none.
//!
//! Callers gather one after the other ([`Turn`](crate::raw::turn::Turn)), as two that hold a part
//! each might wait for each other for ever. The one whose turn it is stands in the ordinary line
//! once for each connection, and keeps what it gets. To others, and in all figures, it is one
//! borrower that waits, from when it first waits for its turn or a connection.

use super::borrow::checkout::Checkout;
use super::borrow::failure::{self, phase};
use super::borrow::guard::PooledConnection;
use super::borrow::nested::Gatherer;
use super::borrow::step::{judge_or_claim, lend};
use super::borrow::wait::Wait;
use super::ground::park::block_on;
use super::handle::Pool;
use super::state::pooled::{Raw, Slot};
use crate::clock::Tick;
use crate::error::{GetError, GetManyError, Phase};
use crate::manager::{Face, Manager};
use crate::observe::WaitOutcome;
use crate::sync::{Arc, Relaxed};
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

/// What comes of it.
type Gathering<M> = Result<Vec<PooledConnection<M>>, GetManyError<<M as Manager>::Error>>;

impl<M: Manager> Pool<M> {
    /// Borrows `count` connections at once, or none, blocking the thread for up to `timeout`.
    ///
    /// Such calls are served one after the other, in the order in which they came, so they do not
    /// wait for each other's connections. Each connection is waited for in the same line as by
    /// [`get`](Self::get), and those that are there first are kept until all are. A caller that
    /// already holds connections of the pool may still wait for others that do, which a pool that
    /// [identifies](crate::Builder::identify_borrowers) borrowers notices; and a future that is not
    /// polled keeps its turn and what it has gathered, as a guard would.
    ///
    /// In all figures, and for [`max_waiters`](crate::Settings::max_waiters), a call is one
    /// borrower, which waits once, for its turn and for its connections.
    ///
    /// ```
    /// # use caliburn::{Manager, Pool};
    /// # use caliburn::error::GetManyError;
    /// # use std::time::Duration;
    /// fn copy<M: Manager>(pool: &Pool<M>) -> Result<(), GetManyError<M::Error>> {
    ///     let mut pair = pool.get_many(2, Duration::from_secs(5))?;
    ///     if let [from, to] = &mut pair[..] {
    ///         // read from the one, write to the other
    /// #       let _ = (from, to);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`GetManyError`] if `count` is greater than `max_size`, also if `max_size` sinks
    /// below it while the call waits, or if one of the connections cannot be borrowed.
    #[track_caller]
    pub fn get_many(&self, count: usize, timeout: Duration) -> Gathering<M> {
        let borrower = Location::caller();
        let Some(mut gather) = Gather::begin(self, count, timeout, Face::Blocking, borrower)?
        else {
            return Ok(Vec::new());
        };
        let (clock, deadline) = (&self.state().clock, gather.deadline);
        let gathering = block_on(gather.run(), clock, deadline);
        let gathering = gathering.unwrap_or_else(|| Err(gather.timed_out()));
        gather.end(&gathering);
        gathering
    }

    /// As [`get_many`](Self::get_many), for tasks. Cancel-safe: dropped midway, the future gives
    /// back what it has gathered.
    ///
    /// # Errors
    ///
    /// Returns [`GetManyError`], as [`get_many`](Self::get_many) does.
    #[track_caller]
    pub fn get_many_async(
        &self,
        count: usize,
        timeout: Duration,
    ) -> impl Future<Output = Gathering<M>> + Send + '_ {
        let borrower = Location::caller();
        async move {
            let begun = Gather::begin(self, count, timeout, Face::Async, borrower)?;
            let Some(mut gather) = begun else { return Ok(Vec::new()) };
            let gathering = gather.run_in_time().await;
            gather.end(&gathering);
            gathering
        }
    }
}

/// One call.
struct Gather<'a, M: Manager> {
    raw: &'a Arc<Raw<M>>,
    count: usize,
    face: Face,
    borrower: &'static Location<'static>,
    begun: Tick,
    deadline: Tick,
    wait: Wait<'a, M>,
    gathered: Relaxed<usize>,
    /// Of each connection: whether it is waited for in line or for its ping.
    are_pinging: Vec<Relaxed<bool>>,
}

impl<'a, M: Manager> Gather<'a, M> {
    /// `None`: nothing is to be gathered.
    fn begin(
        pool: &'a Pool<M>,
        count: usize,
        timeout: Duration,
        face: Face,
        borrower: &'static Location<'static>,
    ) -> Result<Option<Self>, GetManyError<M::Error>> {
        let (raw, begun) = (&pool.raw, pool.state().clock.now());
        let mut gather = Self {
            raw,
            count,
            face,
            borrower,
            begun,
            deadline: begun + timeout,
            wait: Wait::new(raw, face, borrower),
            gathered: Relaxed::default(),
            are_pinging: Vec::new(),
        };
        if let Some(error) = gather.too_many() {
            return Err(error);
        }
        if raw.is_inherited() {
            return Err(gather.failed(GetError::Forked));
        }
        gather.are_pinging.resize_with(count, Relaxed::default);
        Ok((count > 0).then_some(gather))
    }

    async fn run_in_time(&self) -> Gathering<M> {
        let mut run = pin!(self.raw.context().timeout(self.deadline, self.run()));
        poll_fn(|cx| {
            if self.raw.is_inherited() {
                return Poll::Ready(Err(self.failed(GetError::Forked)));
            }
            let gathering = run.as_mut().poll(cx);
            gathering.map(|gathering| gathering.unwrap_or_else(|| Err(self.timed_out())))
        })
        .await
    }

    async fn run(&self) -> Gathering<M> {
        let (raw, state) = (self.raw, self.raw.context());
        // The last of these goes first: who is listed gives up nothing, and the next whose turn it
        // is finds what is given up.
        let place = state.gathering.enter();
        let mut lent = Vec::with_capacity(self.count);
        let mut listed = if state.identifies { Gatherer::list(raw, self.face) } else { None };
        self.unless_hindered(|cx| match place.poll(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => match self.begin_to_wait(&listed) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
        })
        .await?;
        let left = self.deadline.since(state.clock.now());
        let parts = self.are_pinging.iter().map(|is_pinging| {
            let step = judge_or_claim(raw, None);
            let checkout = Checkout::begin(raw, self.face, Some(left), self.borrower, is_pinging);
            let mut checkout = checkout.part_of_many();
            Some(Box::pin(async move { checkout.find(step).await }))
        });
        let mut parts = parts.collect::<Vec<_>>();
        self.unless_hindered(|cx| self.poll(&mut parts, &mut lent, &mut listed, cx)).await?;
        Ok(lent)
    }

    /// What `poll` comes to, unless the pool is closed before, or has become too small.
    async fn unless_hindered<T>(
        &self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<Result<T, GetManyError<M::Error>>>,
    ) -> Result<T, GetManyError<M::Error>> {
        let closed = || self.raw.is_closed().then(|| self.failed(GetError::Closed));
        let events = &self.raw.context().events;
        let mut hindered = pin!(events.wait_until(|| closed().or_else(|| self.too_many())));
        poll_fn(|cx| match poll(cx) {
            Poll::Pending => hindered.as_mut().poll(cx).map(Err),
            outcome => outcome,
        })
        .await
    }

    /// Goes on with all that are not over.
    fn poll<F: Future<Output = Result<Slot<M>, GetError<M::Error>>>>(
        &self,
        parts: &mut [Option<Pin<Box<F>>>],
        lent: &mut Vec<PooledConnection<M>>,
        listed: &mut Option<Gatherer<'a, M>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), GetManyError<M::Error>>> {
        let mut is_in_line = false;
        for (part, is_pinging) in parts.iter_mut().zip(&self.are_pinging) {
            let Some(checkout) = part else { continue };
            let Poll::Ready(found) = checkout.as_mut().poll(cx) else {
                is_in_line |= !is_pinging.get();
                continue;
            };
            *part = None;
            let slot = found.map_err(|error| self.failed(error))?;
            if lent.len() + 1 == self.count {
                *listed = None;
            }
            self.wait.note_loan();
            lent.push(lend(slot, self.borrower, self.face));
            self.gathered.set(lent.len());
        }
        if lent.len() == self.count {
            return Poll::Ready(Ok(()));
        }
        if is_in_line {
            self.begin_to_wait(listed)?;
        }
        match listed {
            Some(listed) if self.wait.has_begun() => {
                listed.look().map_err(|error| self.failed(error))?;
            }
            _ => {}
        }
        Poll::Pending
    }

    /// It cannot go on now. From the first time on it counts as a borrower that waits.
    fn begin_to_wait(
        &self,
        listed: &Option<Gatherer<'_, M>>,
    ) -> Result<(), GetManyError<M::Error>> {
        let (raw, state) = (self.raw, self.raw.context());
        if self.wait.has_begun() {
            return Ok(());
        }
        let now = state.clock.now();
        if self.deadline <= now {
            return Err(self.timed_out());
        }
        let leave = failure::ask_for_leave_to_wait(raw, self.face);
        let begun = leave.and_then(|()| {
            listed.as_ref().map_or(Ok(()), |listed| listed.begin(self.borrower))?;
            let is_welcome = raw.enter_as_one(state.settings.load().max_waiters);
            if is_welcome { Ok(()) } else { Err(failure::refused(raw)) }
        });
        begun.map_err(|error| self.failed(error))?;
        self.wait.begin(now);
        Ok(())
    }

    fn end(&mut self, gathering: &Gathering<M>) {
        self.wait.end(match gathering {
            Ok(_) => WaitOutcome::Served,
            Err(GetManyError::Get { error, .. }) => failure::outcome_of(error),
            Err(GetManyError::TooMany { .. }) => WaitOutcome::Failed,
        });
    }

    /// The error if there may be fewer connections than it wants.
    fn too_many(&self) -> Option<GetManyError<M::Error>> {
        let (wanted, max_size) = (self.count, self.raw.context().settings.load().max_size);
        (wanted > max_size).then_some(GetManyError::TooMany { wanted, max_size })
    }

    fn failed(&self, error: GetError<M::Error>) -> GetManyError<M::Error> {
        GetManyError::Get { wanted: self.count, gathered: self.gathered.get(), error }
    }

    fn timed_out(&self) -> GetManyError<M::Error> {
        let is_pinging = self.are_pinging.iter().find(|is_pinging| is_pinging.get());
        let phase = is_pinging.map_or(Phase::Wait, phase);
        let waited = self.raw.context().clock.now().since(self.begun);
        self.failed(failure::timed_out(self.raw, phase, waited))
    }
}

/// It does not wait any more, whatever has come of it.
impl<M: Manager> Drop for Gather<'_, M> {
    fn drop(&mut self) {
        if self.wait.has_begun() {
            self.raw.leave_as_one();
        }
    }
}
