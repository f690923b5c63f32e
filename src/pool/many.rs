//! Several connections at once, or none.
//!
//! Callers gather one after the other ([`Turn`](crate::raw::turn::Turn)), as two that hold a part
//! each might wait for each other for ever. The one whose turn it is stands in the ordinary line
//! once for each connection, and keeps what it gets.

use super::borrow::checkout::Checkout;
use super::borrow::failure::{self, phase};
use super::borrow::fast_path::Lending;
use super::borrow::guard::PooledConnection;
use super::borrow::nested;
use super::borrow::step::judge_or_claim;
use super::ground::park::block_on;
use super::handle::Pool;
use super::state::pooled::Raw;
use crate::clock::Tick;
use crate::error::{GetError, GetManyError, Phase};
use crate::manager::{Face, Manager};
use crate::raw::turn::Place;
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
    /// already holds connections of the pool may still wait for others that do; and a future that
    /// is not polled keeps its turn and what it has gathered, as a guard would.
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
    /// Returns [`GetManyError`] if `count` is greater than `max_size`, or if one of the connections
    /// cannot be borrowed.
    #[track_caller]
    pub fn get_many(&self, count: usize, timeout: Duration) -> Gathering<M> {
        let borrower = Location::caller();
        let Some(gather) = Gather::begin(self, count, timeout, Face::Blocking, borrower)? else {
            return Ok(Vec::new());
        };
        let (clock, deadline) = (&self.state().clock, gather.deadline);
        block_on(gather.run(), clock, deadline).unwrap_or_else(|| Err(gather.timed_out()))
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
            let Some(gather) = Gather::begin(self, count, timeout, Face::Async, borrower)? else {
                return Ok(Vec::new());
            };
            let mut run = pin!(self.state().timeout(gather.deadline, gather.run()));
            poll_fn(|cx| {
                if self.raw.is_inherited() {
                    return Poll::Ready(Err(gather.failed(GetError::Forked)));
                }
                let gathered = run.as_mut().poll(cx);
                gathered.map(|gathered| gathered.unwrap_or_else(|| Err(gather.timed_out())))
            })
            .await
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
        let state = pool.state();
        let max_size = state.settings.load().max_size;
        if count > max_size {
            return Err(GetManyError::TooMany { wanted: count, max_size });
        }
        let (raw, begun) = (&pool.raw, state.clock.now());
        let gathered = Relaxed::default();
        let are_pinging = (0..count).map(|_| Relaxed::default()).collect();
        let gather = Self {
            raw,
            count,
            face,
            borrower,
            begun,
            deadline: begun + timeout,
            gathered,
            are_pinging,
        };
        if raw.is_inherited() {
            return Err(gather.failed(GetError::Forked));
        }
        Ok((count > 0).then_some(gather))
    }

    async fn run(&self) -> Gathering<M> {
        let (raw, state) = (self.raw, self.raw.context());
        let most = state.settings.load().max_waiters;
        let place = state.gathering.enter(most);
        let place = place.ok_or_else(|| self.failed(failure::refused(raw)))?;
        self.until_turn(&place).await?;
        let number = if state.identifies && raw.count_idle() < self.count {
            nested::begin(raw, self.face, self.borrower).map_err(|error| self.failed(error))?
        } else {
            None
        };
        let _waits = number.map(|number| nested::Waits::new(raw, number));
        let left = self.deadline.since(state.clock.now());
        let checkouts = self.are_pinging.iter().enumerate().map(|(nth, is_pinging)| {
            let step = judge_or_claim(raw, None);
            let checkout = Checkout::begin(raw, self.face, Some(left), self.borrower, is_pinging);
            Some(Box::pin(checkout.part_of_many(nth == 0).run(step)))
        });
        let (mut checkouts, mut lent) = (checkouts.collect::<Vec<_>>(), Vec::new());
        poll_fn(|cx| self.poll(&mut checkouts, &mut lent, cx)).await?;
        Ok(lent)
    }

    /// Waits until it is this caller's turn, unless the pool is closed before.
    async fn until_turn(&self, place: &Place<'_>) -> Result<(), GetManyError<M::Error>> {
        let raw = self.raw;
        let closed = raw.context().events.wait_until(|| raw.is_closed().then_some(()));
        let mut closed = pin!(closed);
        poll_fn(|cx| match place.poll(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => closed.as_mut().poll(cx).map(|()| Err(self.failed(GetError::Closed))),
        })
        .await
    }

    /// Goes on with all that are not over.
    fn poll<F: Future<Output = Lending<M>>>(
        &self,
        checkouts: &mut [Option<Pin<Box<F>>>],
        lent: &mut Vec<PooledConnection<M>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), GetManyError<M::Error>>> {
        for slot in checkouts {
            let Some(checkout) = slot else { continue };
            let Poll::Ready(outcome) = checkout.as_mut().poll(cx) else { continue };
            *slot = None;
            match outcome {
                Ok(connection) => lent.push(connection),
                Err(error) => return Poll::Ready(Err(self.failed(error))),
            }
            self.gathered.set(lent.len());
        }
        if lent.len() == self.count { Poll::Ready(Ok(())) } else { Poll::Pending }
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
