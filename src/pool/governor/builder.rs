//! How a governor is built, and which limits make sense.

use super::handle::ConnectGovernor;
use super::keys;
use super::shared::Shared;
use crate::clock::Clock;
use crate::error::{ConfigError, Problem};
use crate::pool::ground::governor::Limits;
use crate::sync::PoisonError;
use std::fmt;

impl ConnectGovernor {
    /// Starts building a governor.
    pub fn builder() -> ConnectGovernorBuilder {
        ConnectGovernorBuilder::new(Limits::NONE, Clock::real())
    }

    /// Changes some limits, or none if they make no sense. `change` is given a builder with those
    /// in force. All limits are lifted by one that starts anew, by [`builder`](Self::builder), with
    /// the governor's [clock](ConnectGovernorBuilder::clock) if that is not the real one.
    ///
    /// With higher limits, pools that are held are called at once. Lowered ones hold up what comes
    /// next: connects that were given leave go on, even if that is more than the new limit. What
    /// was begun counts towards a changed [rate](ConnectGovernorBuilder::per_second), so that at
    /// most the new burst begins at once; but however much that was, the next connect begins within
    /// the time between two at the new rate.
    ///
    /// A change holds for all pools and handles in this process, and for these handles in a child
    /// that is forked afterwards. Those who ask for the [key](ConnectGovernorBuilder::shared) still
    /// name the limits that the governor was built with. Changes are made one after the other,
    /// under a lock of the governor: one within another may deadlock.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] with all limits that make no sense, or if the
    /// [clock](ConnectGovernorBuilder::clock) is another one, which cannot be changed. The governor
    /// keeps its old limits.
    ///
    /// ```
    /// # use caliburn::ConnectGovernor;
    /// let governor = ConnectGovernor::builder().max_concurrent(8).per_second(50).build()?;
    /// // The server has trouble enough.
    /// governor.change(|limits| limits.max_concurrent(2).per_second(5))?;
    /// # Ok::<(), caliburn::ConfigError>(())
    /// ```
    pub fn change(
        &self,
        change: impl FnOnce(ConnectGovernorBuilder) -> ConnectGovernorBuilder,
    ) -> Result<(), ConfigError> {
        let changing = self.0.changing.get();
        let _changing = changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = **self.0.limits.load();
        let after = change(ConnectGovernorBuilder::new(before, self.0.clock.clone()));
        let limits = after.limits_for(&self.0.clock)?;
        self.0.limit(limits);
        Ok(())
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
    limits: Limits,
    clock: Clock,
}

impl ConnectGovernorBuilder {
    fn new(limits: Limits, clock: Clock) -> Self {
        Self { limits, clock }
    }

    /// Sets the maximum number of connects under way at once, at least 1. Default: `usize::MAX`, no
    /// limit.
    pub fn max_concurrent(mut self, max_concurrent: usize) -> Self {
        self.limits.max_concurrent = max_concurrent;
        self
    }

    /// Sets the maximum number of connects begun per second, greater than zero: `50`, or `0.5` for
    /// one every two seconds. They are spread evenly, but for the [burst](Self::burst). Default: no
    /// limit.
    pub fn per_second(mut self, per_second: impl Into<f64>) -> Self {
        self.limits.per_second = Some(per_second.into());
        self
    }

    /// Sets how many connects may begin at once when none was begun for a while, at least 1: in
    /// each second no more than this and `per_second` together begin. Default: a tenth of
    /// `per_second`, at least 1.
    pub fn burst(mut self, burst: usize) -> Self {
        self.limits.burst = Some(burst);
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
        check(&self.limits)?;
        Ok(ConnectGovernor(Shared::new(self.limits, self.clock)))
    }

    /// Returns the governor that is in use in this process under `key`, or builds it. Choose what
    /// names the server, for example its host and port. The governor, and its key with it, goes
    /// with the last handle and the last pool that has it. In a forked child a key begins anew.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] with all limits that make no sense; or that
    /// [differ](Problem::Differs) from those that the governor in use was built with, which goes on
    /// with its own. To share it whatever its limits are, ask for it by [`ConnectGovernor::find`].
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
        check(&self.limits)?;
        let Self { limits, clock } = self;
        let found = keys::find_or_insert(key.into(), || Shared::new(limits, clock.clone()));
        let built = &found.built;
        let differs = [
            ("max_concurrent", built.max_concurrent != limits.max_concurrent),
            ("per_second", built.per_second != limits.per_second),
            ("burst", built.burst() != limits.burst()),
            ("clock", !found.clock.is(&clock)),
        ];
        let problems = differs.into_iter().filter(|(_, differs)| *differs);
        ConfigError::of(problems.map(|(setting, _)| Problem::Differs(setting)).collect())?;
        Ok(ConnectGovernor(found))
    }

    /// The limits for a governor that reads that `clock`.
    fn limits_for(self, clock: &Clock) -> Result<Limits, ConfigError> {
        check(&self.limits)?;
        let differs = (!self.clock.is(clock)).then_some(Problem::Differs("clock"));
        ConfigError::of(differs.into_iter().collect())?;
        Ok(self.limits)
    }
}

/// Fails with all of the limits that make no sense.
fn check(limits: &Limits) -> Result<(), ConfigError> {
    let zero = [
        ("max_concurrent", limits.max_concurrent == 0),
        ("per_second", limits.per_second == Some(0.0)),
        ("burst", limits.burst == Some(0)),
    ];
    let zero = zero.iter().filter(|(_, is)| *is).map(|(name, _)| Problem::Zero(name));
    let mut problems: Vec<_> = zero.collect();
    if limits.per_second.is_some_and(|rate| !rate.is_finite() || rate < 0.0) {
        let expected = "a number greater than zero";
        problems.push(Problem::Invalid { setting: "per_second".into(), expected });
    }
    ConfigError::of(problems)
}

impl fmt::Debug for ConnectGovernorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectGovernorBuilder")
            .field("max_concurrent", &self.limits.max_concurrent)
            .field("per_second", &self.limits.per_second)
            .field("burst", &self.limits.burst)
            .finish_non_exhaustive()
    }
}
