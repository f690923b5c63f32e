//! Another manager for a pool that goes on serving: new credentials, another server.
//!
//! A switch is a trial, then an era. The trial is one connect with the new manager, beside the
//! pool's own connections. A worker makes it and reports; the caller alone acts on the report: it
//! changes the manager and begins a new [era](crate::raw::era), in which all that the old
//! manager opened is replaced. A caller that has given up meanwhile changes nothing, and the
//! trial's connection is closed by whichever of the two comes second.

use super::add::take_in;
use super::borrow::failure;
use super::ground::caught::{Foreign, let_go};
use super::ground::governor::Leave;
use super::ground::park::block_on;
use super::handle::Pool;
use super::state::beside::Guest;
use super::state::entry::Fresh;
use super::state::invalid::Replacing;
use super::state::kept::give_up;
use super::state::pooled::Raw;
use super::supply::{news, speed};
use super::work::calls;
use super::work::launch::launch;
use super::work::opening::open;
use super::work::worker::run_here;
use crate::clock::{Deadline, Tick};
use crate::error::{ManagerError, SwitchError};
use crate::manager::{Face, Manager};
use crate::observe::EventKind;
use crate::sync::{Arc, Mutex, PoisonError};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

impl<M: Manager> Pool<M> {
    /// Replaces the manager, for example to use new credentials or another server, while the pool
    /// and its [reserve](Self::reserved) go on serving. Opens one connection with `manager` to try
    /// it, beside those of the pool. If that succeeds, all further connections are opened with
    /// `manager`, and those that are open are replaced as by [`invalidate`](Self::invalidate); each
    /// is looked after by the manager that opened it until it is closed. Returns how many of the
    /// old ones are still on loan.
    ///
    /// Blocks until that is done, up to `timeout`; the trial ends within
    /// [`connect_timeout`](crate::Settings::connect_timeout). A `get` that begins after this call
    /// has returned `Ok` gets none of the old connections. No `get` fails because of the switch.
    ///
    /// ```
    /// # use caliburn::{Manager, Pool};
    /// # use std::time::Duration;
    /// fn rotate<M: Manager>(pool: &Pool<M>, with_new_password: M) {
    ///     match pool.switch_manager(with_new_password, Duration::from_secs(10)) {
    ///         Ok(held) => println!("switched; {held} old connections are still on loan"),
    ///         Err(error) => eprintln!("the pool goes on as before: {error:#}"),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`SwitchError`] if the trial does not succeed in time, at once if it needs the
    /// calling thread ([`WrongThread`](SwitchError::WrongThread)), and if the pool is closed. The
    /// pool then keeps its manager and its connections, and `manager` is dropped.
    pub fn switch_manager(
        &self,
        manager: M,
        timeout: Duration,
    ) -> Result<usize, SwitchError<M::Error>> {
        let state = self.state();
        let deadline = state.clock.now() + timeout;
        let trial = self.begin_trial(manager, Face::Blocking, deadline)?;
        block_on(state.events.wait_until(|| trial.is_over()), &state.clock, deadline);
        let begun = self.install(trial.end()?);
        Ok(self.replace_all(begun, deadline))
    }

    /// [`switch_manager`](Self::switch_manager) for tasks. If the future is dropped during the
    /// trial, the pool keeps its manager; later, the pool still replaces the remaining connections.
    ///
    /// ```
    /// # use caliburn::{AsyncManager, Pool};
    /// # use std::time::Duration;
    /// async fn rotate<M: AsyncManager>(pool: &Pool<M>, with_new_password: M) {
    ///     match pool.switch_manager_async(with_new_password, Duration::from_secs(10)).await {
    ///         Ok(held) => println!("switched; {held} old connections are still on loan"),
    ///         Err(error) => eprintln!("the pool goes on as before: {error:#}"),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`SwitchError`], as [`switch_manager`](Self::switch_manager) does.
    pub async fn switch_manager_async(
        &self,
        manager: M,
        timeout: Duration,
    ) -> Result<usize, SwitchError<M::Error>> {
        let state = self.state();
        let deadline = state.clock.now() + timeout;
        let trial = self.begin_trial(manager, Face::Async, deadline)?;
        trial.until_over(deadline).await;
        let begun = self.install(trial.end()?);
        Ok(self.replace_all_async(begun, deadline).await)
    }

    fn begin_trial(
        &self,
        manager: M,
        face: Face,
        deadline: Tick,
    ) -> Result<Trial<M>, SwitchError<M::Error>> {
        if self.raw.is_inherited() {
            return Err(SwitchError::Forked);
        }
        if self.raw.is_closed() {
            return Err(SwitchError::Closed);
        }
        if !failure::may_wait(&manager, face) {
            return Err(SwitchError::WrongThread);
        }
        let state = self.state();
        let trial = Trial { raw: Arc::clone(&self.raw), report: Report::default() };
        let limit = deadline.min(state.clock.now() + state.settings.load().connect_timeout);
        let guest = Guest::new(&self.raw, limit);
        let work = attempt(guest, Arc::new(manager), trial.report.clone(), limit);
        if state.is_manual() {
            run_here(state, work);
        } else if !launch(&self.raw, work) {
            return Err(SwitchError::NoThread);
        }
        Ok(trial)
    }

    /// From now on `opened`'s manager opens all connections. Its own is the first of them, if the
    /// pool has room for it.
    fn install(&self, opened: Opened<M>) -> Vec<Replacing<'_>> {
        let Opened { fresh, begun, guest } = opened;
        // Together, or another switch might come between: then the manager of the one would go with
        // the era of the other, or the reserve's with the pool's. No foreign code runs here.
        let lock = &self.state().installing;
        let installing = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let put_in = |pool: &Self| pool.state().manager.swap(Arc::clone(&fresh.manager));
        let replaced = self.whole().map(|pool| (put_in(pool), pool.begin_to_replace()));
        let (old, replacing): (Vec<_>, Vec<_>) = replaced.unzip();
        drop(installing);
        old.into_iter().for_each(give_up);
        for state in self.whole().map(Self::state) {
            state.note(EventKind::ManagerSwitched);
            // What is known of the old server says nothing about this one.
            news::proven(state, begun);
            speed::forget_server(state);
        }
        if let Err((fresh, _)) = take_in(&self.raw, fresh, replacing[0].era) {
            dispose(&self.raw, fresh, guest);
        }
        replacing
    }
}

/// A connection that the new manager has opened, and when that was begun.
struct Opened<M: Manager> {
    fresh: Fresh<M>,
    begun: Tick,
    guest: Guest<M>,
}

/// How far a trial has come.
enum Stage<M: Manager> {
    UnderWay,
    Over(Result<Opened<M>, ManagerError<M::Error>>),
    /// The caller has taken the report, or does not wait for one any more.
    Left,
}

/// What the worker tells the caller.
struct Report<M: Manager>(Arc<Mutex<Stage<M>>>);

impl<M: Manager> Default for Report<M> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Stage::UnderWay)))
    }
}

impl<M: Manager> Clone for Report<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Manager> Report<M> {
    /// Returns the stage before.
    fn enter(&self, stage: Stage<M>) -> Stage<M> {
        std::mem::replace(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), stage)
    }

    fn is_over(&self) -> bool {
        matches!(*self.0.lock().unwrap_or_else(PoisonError::into_inner), Stage::Over(_))
    }
}

/// The caller's side of a trial. Dropped, it gives the trial up.
struct Trial<M: Manager> {
    raw: Arc<Raw<M>>,
    report: Report<M>,
}

impl<M: Manager> Trial<M> {
    fn is_over(&self) -> Option<()> {
        (self.report.is_over() || self.raw.is_closed()).then_some(())
    }

    async fn until_over(&self, deadline: Tick) {
        let state = self.raw.context();
        let over = state.timeout(deadline, state.events.wait_until(|| self.is_over()));
        let mut over = pin!(over);
        poll_fn(|cx| match self.raw.is_inherited() {
            true => Poll::Ready(None),
            false => over.as_mut().poll(cx),
        })
        .await;
    }

    fn end(self) -> Result<Opened<M>, SwitchError<M::Error>> {
        if self.raw.is_inherited() {
            return Err(SwitchError::Forked);
        }
        match self.report.enter(Stage::Left) {
            Stage::Over(Ok(opened)) if self.raw.is_closed() => {
                dispose(&self.raw, opened.fresh, opened.guest);
                Err(SwitchError::Closed)
            }
            Stage::Over(outcome) => outcome.map_err(SwitchError::Connect),
            _ if self.raw.is_closed() => Err(SwitchError::Closed),
            _ if self.raw.context().driver.kind() == Face::Async => {
                Err(SwitchError::Connect(ManagerError::TimedOut))
            }
            _ => Err(SwitchError::Connect(ManagerError::Pending)),
        }
    }
}

impl<M: Manager> Drop for Trial<M> {
    fn drop(&mut self) {
        if self.raw.is_inherited() {
            // The worker, which is not in this process, may hold the lock.
            return std::mem::forget(self.report.clone());
        }
        match self.report.enter(Stage::Left) {
            Stage::Over(Ok(opened)) => dispose(&self.raw, opened.fresh, opened.guest),
            Stage::Over(Err(error)) => let_go(error),
            Stage::UnderWay | Stage::Left => {}
        }
    }
}

/// The worker's side.
async fn attempt<M: Manager>(guest: Guest<M>, manager: Arc<M>, report: Report<M>, limit: Tick) {
    let raw = Arc::clone(guest.pool());
    let state = raw.context();
    let manager = Foreign::new(manager);
    let begun = state.clock.now();
    let deadline = Deadline::at(&state.clock, limit);
    // It counts, but is not held: a caller waits for it.
    let leave = state.member.as_ref().and_then(|member| member.ask_at_once(limit.since(begun)));
    leave.iter().for_each(Leave::begin);
    let future = Box::pin(open(state, &manager, &deadline, begun));
    let outcome = calls::fallible_call(state, &deadline, future).await;
    if let Some(leave) = leave {
        leave.end(outcome.is_ok());
    }
    let took = state.clock.now().since(begun);
    match &outcome {
        Ok(_) => state.note(EventKind::Connected { took }),
        Err(error) => {
            let cause = state.cause(error);
            state.note(EventKind::ConnectFailed { took, is_permanent: false, cause });
        }
    }
    let outcome = match outcome {
        Ok(fresh) => Ok(Opened { fresh, begun, guest: guest.wait() }),
        // The guest goes last, after the manager.
        Err(error) => Err(error),
    };
    if let Stage::Left = report.enter(Stage::Over(outcome)) {
        // The caller has gone, so the report is still here.
        drop(Trial { raw: Arc::clone(&raw), report });
    }
    state.events.post();
}

/// Closes a connection for which the pool has no use.
fn dispose<M: Manager>(raw: &Arc<Raw<M>>, fresh: Fresh<M>, guest: Guest<M>) {
    let owned = Arc::clone(raw);
    let work = async move { calls::close_guest(owned.context(), fresh, guest).await };
    if raw.context().is_manual() {
        run_here(raw.context(), work);
    } else {
        // Without a thread the connection is dropped with the work.
        let _ = launch(raw, work);
    }
}
