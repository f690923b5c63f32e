//! Connects of several pools to one server, limited together.

use super::ground::governor::{Desk, Governor, Limits, Member, Tally};
use super::ground::ring::Ring;
use super::upkeep::housekeeper;
use super::upkeep::keeper::Household;
use crate::clock::Clock;
use crate::error::{ConfigError, Problem};
use crate::fork::PerProcess;
use crate::sync::{Arc, Mutex, PoisonError, Weak};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// Limits how many connections all pools that share it open at once, and per second.
///
/// A pool has a limit of its own,
/// [`connect_concurrency`](crate::Settings::connect_concurrency). When a process with forty pools
/// starts, or when the server does, forty times as many connects come in at once; with a governor
/// no more than the server bears. Give it to each pool that connects to that server:
///
/// ```
/// use caliburn::{BlockingManager, BuildError, ConnectGovernor, Pool};
///
/// fn open<M: BlockingManager>(manager: M) -> Result<Pool<M>, BuildError<M::Error>> {
///     let governor = ConnectGovernor::builder()
///         .max_concurrent(8)
///         .per_second(50)
///         .shared("db-1")
///         .map_err(BuildError::Config)?;
///     Pool::builder(manager).min_size(8).connect_governor(&governor).build()
/// }
/// ```
///
/// Clones are handles to the same governor. A governor with a [key](ConnectGovernorBuilder::shared)
/// is the same in the whole process.
///
/// **Order.** Pools that are held stand in line, each once, first in, first out: with each connect
/// that it may begin, a pool goes to the end. A pool that is held polls nothing, and is called when
/// it is its turn. If it needs no connection then, the next is called; until then it stands there,
/// so that borrowers who have little time get one in the end, if not the first of them. One that
/// does not come within 100 ms, because its threads are busy or its user does not maintain it,
/// loses its turn to the next: so many of them in a row hold up the others for as often as long.
///
/// **What counts.** Every connect of these pools and of their [reserves](crate::Builder::reserved):
/// for borrowers, for the minimum and the start, for replacements and for probes in an outage, from
/// when it is asked for until the manager's call is over. The trial of
/// [`switch_manager`](crate::Pool::switch_manager) counts, but is not held. Connections that a
/// driver opens beside those of the pool (to cancel a query, to nodes of a cluster) are not seen,
/// and a connection that is [added](crate::Pool::add) was opened elsewhere. Pings are no connects.
///
/// **What hangs.** A connect that takes long (500 ms, or four times as long as connects usually
/// take, if that is more, but no more than 3 s longer; its own limit, if that is less) no longer
/// counts towards [`max_concurrent`](ConnectGovernorBuilder::max_concurrent), up to the same number
/// again. If no other is under way, one more may always begin. Connects that take long do not count
/// at all once a later one has succeeded. So neither a black hole nor a pool with a wrong address
/// holds the others for long.
///
/// **Failing.** While a pool is held after a permanent error (with
/// [`fail_fast`](crate::Settings::fail_fast): any error), borrowers fail at once as they do while
/// it is too early for the next attempt; the one that asks for it waits.
///
/// **Time.** A governor reads a [clock](ConnectGovernorBuilder::clock) of its own, whatever clocks
/// its pools read. In a forked child it begins anew.
///
/// A pool without a governor pays nothing for it, and no checkout does.
#[derive(Clone)]
pub struct ConnectGovernor(Arc<Shared>);

struct Shared {
    limits: Limits,
    clock: Clock,
    office: PerProcess<Mutex<Office>>,
}

/// What a process has of a governor.
#[derive(Default)]
struct Office {
    governor: Option<Arc<Governor>>,
    /// Lives with the pools that ask there, so that no housekeeper is kept for handles alone.
    desk: Weak<Desk>,
}

/// The governors that have a key.
static KEYS: PerProcess<Mutex<Keys>> = PerProcess::new();

#[derive(Default)]
struct Keys {
    governors: HashMap<String, Weak<Shared>>,
    /// How many there may be before those that are gone are looked for.
    enough: usize,
}

impl Keys {
    fn find(&self, key: &str) -> Option<Arc<Shared>> {
        self.governors.get(key).and_then(Weak::upgrade)
    }

    /// Forgets those that are gone, each time that there are twice as many as were left.
    fn insert(&mut self, key: String, governor: &Arc<Shared>) {
        if self.governors.len() >= self.enough {
            self.governors.retain(|_, governor| governor.strong_count() > 0);
            self.enough = 2 * self.governors.len().max(8);
        }
        self.governors.insert(key, Arc::downgrade(governor));
    }
}

impl ConnectGovernor {
    /// Starts building a governor.
    pub fn builder() -> ConnectGovernorBuilder {
        ConnectGovernorBuilder {
            max_concurrent: usize::MAX,
            per_second: None,
            burst: None,
            clock: Clock::real(),
        }
    }

    /// Returns the governor that is in use in this process under `key`. It is in use as long as
    /// there is a handle to it, or a pool that has it.
    ///
    /// ```
    /// # use caliburn::ConnectGovernor;
    /// assert!(ConnectGovernor::find("db-1").is_none());
    /// let governor = ConnectGovernor::builder().max_concurrent(8).shared("db-1")?;
    /// assert!(ConnectGovernor::find("db-1").is_some());
    /// # drop(governor);
    /// # Ok::<(), caliburn::ConfigError>(())
    /// ```
    pub fn find(key: &str) -> Option<Self> {
        let keys = KEYS.get();
        let keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.find(key).map(Self)
    }

    /// Returns what the governor is doing, and what it has done in this process.
    ///
    /// ```
    /// # let governor = caliburn::ConnectGovernor::builder().max_concurrent(8).build()?;
    /// let stats = governor.stats();
    /// println!("{} connecting, {} pools held", stats.connecting, stats.waiting);
    /// # Ok::<(), caliburn::ConfigError>(())
    /// ```
    pub fn stats(&self) -> GovernorStats {
        let governor = self.with_office(|office| office.governor(&self.0));
        let Tally { taken, long, waiting } = governor.tally();
        GovernorStats {
            connecting: taken,
            taking_long: long,
            waiting,
            granted: governor.granted(),
            held: governor.held(),
        }
    }

    /// The part of one more pool.
    pub(super) fn member(&self) -> Member {
        self.with_office(|office| {
            let desk = office.desk.upgrade().unwrap_or_else(|| {
                let governor = office.governor(&self.0);
                let handle: Arc<Shared> = Arc::clone(&self.0);
                let desk = Arc::new(Desk::new(governor, handle));
                office.desk = Arc::downgrade(&desk);
                desk
            });
            Member::new(desk)
        })
    }

    fn with_office<R>(&self, with: impl FnOnce(&mut Office) -> R) -> R {
        with(&mut self.0.office.get().lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What it holds changes under a lock that is not held while foreign code runs.
impl UnwindSafe for ConnectGovernor {}

/// As for [`UnwindSafe`].
impl RefUnwindSafe for ConnectGovernor {}

impl Office {
    fn governor(&mut self, shared: &Shared) -> Arc<Governor> {
        let new = || Arc::new(Governor::new(&shared.limits, shared.clock.clone()));
        Arc::clone(self.governor.get_or_insert_with(new))
    }
}

impl fmt::Debug for ConnectGovernor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limits { max_concurrent, per_second, burst } = self.0.limits;
        f.debug_struct("ConnectGovernor")
            .field("max_concurrent", &max_concurrent)
            .field("per_second", &per_second)
            .field("burst", &burst)
            .finish_non_exhaustive()
    }
}

/// Builds a [`ConnectGovernor`]. Without limits it only counts.
///
/// ```
/// use caliburn::ConnectGovernor;
///
/// let governor = ConnectGovernor::builder().max_concurrent(8).per_second(50).burst(10).build()?;
/// # drop(governor);
/// # Ok::<(), caliburn::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct ConnectGovernorBuilder {
    max_concurrent: usize,
    per_second: Option<f64>,
    burst: Option<usize>,
    clock: Clock,
}

impl ConnectGovernorBuilder {
    /// Sets the maximum number of connects under way at once, at least 1. Default: `usize::MAX`, no
    /// limit.
    pub fn max_concurrent(mut self, max_concurrent: usize) -> Self {
        self.max_concurrent = max_concurrent;
        self
    }

    /// Sets the maximum number of connects begun per second, greater than zero: `50`, or `0.5` for
    /// one every two seconds. They are spread evenly, but for the [burst](Self::burst). Default: no
    /// limit.
    pub fn per_second(mut self, per_second: impl Into<f64>) -> Self {
        self.per_second = Some(per_second.into());
        self
    }

    /// Sets how many connects may begin at once when none was begun for a while, at least 1: in
    /// each second no more than this and `per_second` together begin. Default: a tenth of
    /// `per_second`, at least 1.
    pub fn burst(mut self, burst: usize) -> Self {
        self.burst = Some(burst);
        self
    }

    /// Sets the clock that the governor reads. With a [mocked clock](Clock::mock), what time alone
    /// changes is seen when a pool next connects, or is maintained. Default: [`Clock::real`].
    ///
    /// ```
    /// # use caliburn::{Clock, ConnectGovernor};
    /// let (clock, hand) = Clock::mock();
    /// let governor = ConnectGovernor::builder().per_second(1).clock(clock).build()?;
    /// # let _ = (hand, governor);
    /// # Ok::<(), caliburn::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds a governor for those pools that are given it.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] with all limits that make no sense.
    pub fn build(self) -> Result<ConnectGovernor, ConfigError> {
        let limits = self.limits()?;
        Ok(ConnectGovernor(Arc::new(Shared {
            limits,
            clock: self.clock,
            office: PerProcess::new(),
        })))
    }

    /// Returns the governor that is in use in this process under `key`, or builds it. Choose what
    /// names the server, for example its host and port. The governor, and its key with it, goes
    /// with the last handle and the last pool that has it. In a forked child a key begins anew.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] with all limits that make no sense; or that
    /// [differ](Problem::Differs) from those of the governor that is in use, which goes on with its
    /// own. To share it whatever its limits are, ask for it by [`ConnectGovernor::find`].
    ///
    /// ```
    /// # use caliburn::ConnectGovernor;
    /// let eight = || ConnectGovernor::builder().max_concurrent(8).shared("db-1:5432");
    /// let (first, same) = (eight()?, eight()?);
    /// let other = ConnectGovernor::builder().max_concurrent(9).shared("db-1:5432");
    /// assert!(other.unwrap_err().to_string().contains("max_concurrent"));
    /// # drop((first, same));
    /// # Ok::<(), caliburn::ConfigError>(())
    /// ```
    pub fn shared(self, key: impl Into<String>) -> Result<ConnectGovernor, ConfigError> {
        let limits = self.limits()?;
        let keys = KEYS.get();
        let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key.into();
        if let Some(found) = keys.find(&key) {
            let differs = [
                ("max_concurrent", found.limits.max_concurrent != limits.max_concurrent),
                ("per_second", found.limits.per_second != limits.per_second),
                ("burst", found.limits.burst != limits.burst),
                ("clock", !found.clock.is(&self.clock)),
            ];
            let problems = differs.into_iter().filter(|(_, differs)| *differs);
            ConfigError::of(problems.map(|(setting, _)| Problem::Differs(setting)).collect())?;
            return Ok(ConnectGovernor(found));
        }
        let governor = self.build()?;
        keys.insert(key, &governor.0);
        Ok(governor)
    }

    fn limits(&self) -> Result<Limits, ConfigError> {
        /// Share of a second's turns that are saved up.
        const SAVED: f64 = 0.1;
        let mut problems = Vec::new();
        let zero = [
            ("max_concurrent", self.max_concurrent == 0),
            ("per_second", self.per_second == Some(0.0)),
            ("burst", self.burst == Some(0)),
        ];
        problems.extend(zero.iter().filter(|(_, is)| *is).map(|(name, _)| Problem::Zero(name)));
        if self.per_second.is_some_and(|rate| !rate.is_finite() || rate < 0.0) {
            let expected = "a number greater than zero";
            problems.push(Problem::Invalid { setting: "per_second".into(), expected });
        }
        ConfigError::of(problems)?;
        // What is greater than the greatest number is the greatest.
        let saved = self.per_second.map_or(1, |per_second| (per_second * SAVED) as usize);
        Ok(Limits {
            max_concurrent: self.max_concurrent,
            per_second: self.per_second,
            burst: self.burst.unwrap_or(saved).max(1),
        })
    }
}

impl fmt::Debug for ConnectGovernorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectGovernorBuilder")
            .field("max_concurrent", &self.max_concurrent)
            .field("per_second", &self.per_second)
            .field("burst", &self.burst)
            .finish_non_exhaustive()
    }
}

/// A snapshot of a [governor](ConnectGovernor).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct GovernorStats {
    /// Connects that were given leave and are not over.
    pub connecting: usize,
    /// Those of them that take long.
    pub taking_long: usize,
    /// Pools that stand in line.
    pub waiting: usize,
    /// Connects that were given leave. This count and the next run from when the governor was
    /// built.
    pub granted: u64,
    /// Times that a pool had to stand in line.
    pub held: u64,
}

/// From now on the housekeeper visits the desk.
pub(super) fn hire(desk: &Arc<Desk>) -> io::Result<()> {
    let _hiring = desk.hiring.lock().unwrap_or_else(PoisonError::into_inner);
    if desk.needs_housekeeper() {
        let weak: Weak<Desk> = Arc::downgrade(desk);
        let (thread, number) = housekeeper::take_on(weak)?;
        desk.ring().hire(thread, number);
    }
    Ok(())
}

impl Household for Desk {
    fn ring(&self) -> &Ring {
        self.ring()
    }

    fn visit(self: Arc<Self>) -> Duration {
        self.look()
    }

    fn postponed(&self, _: Duration) -> Option<Duration> {
        if self.ring().is_rung() {
            return None;
        }
        Some(self.rest()).filter(|wait| !wait.is_zero())
    }

    fn is_over(&self) -> bool {
        false
    }

    fn is_deserted(&self) -> bool {
        false
    }
}
