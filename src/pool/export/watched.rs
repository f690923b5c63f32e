//! The pools of an exporter: each has a name, and none is kept alive.

use super::instruments::Figures;
use crate::manager::Manager;
use crate::pool::handle::Pool;
use crate::pool::snapshot;
use crate::pool::state::kept::Kept;
use crate::pool::state::pooled::Raw;
use crate::sync::{Arc, Ordering, Weak};
use std::error::Error;
use std::fmt;

/// Why an exporter does not take a pool: it reports another one by that name already.
///
/// ```
/// # #[cfg(feature = "metrics")] {
/// # use caliburn::{Manager, Pool};
/// use caliburn::export::{Metrics, NameTaken};
///
/// fn watch<M: Manager>(songs: &Pool<M>, users: &Pool<M>) -> Result<Metrics, NameTaken> {
///     let metrics = Metrics::new();
///     metrics.add("songs", songs)?;
///     metrics.add("users", users)?;
///     assert_eq!(metrics.add("users", users).unwrap_err().name(), "users");
///     Ok(metrics)
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTaken {
    name: Arc<str>,
}

impl NameTaken {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for NameTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a pool is already reported as {:?}: give each its own name", self.name)
    }
}

impl Error for NameTaken {}

/// A pool, and what was last reported of it.
pub(crate) struct Watched {
    pub(crate) name: Arc<str>,
    /// `None`: it is gone.
    look: Box<dyn Fn() -> Option<Figures> + Send + Sync>,
    last: Option<Figures>,
}

/// A look at a pool.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) now: Figures,
    /// What has happened since the look before.
    pub(crate) since: Figures,
}

impl Watched {
    fn new<M: Manager>(name: Arc<str>, pool: &Pool<M>) -> Self {
        let raw: Weak<Raw<M>> = Arc::downgrade(&pool.raw);
        Self { name, look: Box::new(move || look(&raw)), last: None }
    }

    /// Looks at the pool. `None`: it is gone.
    pub(crate) fn look(&mut self) -> Option<Look> {
        let now = (self.look)()?;
        let since = match &self.last {
            None => now.stats.clone(),
            Some(last) => now.stats.since(&last.stats),
        };
        self.last = Some(now.clone());
        let since = Figures { stats: since, settings: now.settings.clone() };
        Some(Look { now, since })
    }

    /// What the last look showed.
    #[cfg(feature = "metrics")]
    pub(crate) fn last(&self) -> Option<&Figures> {
        self.last.as_ref()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

fn look<M: Manager>(raw: &Weak<Raw<M>>) -> Option<Figures> {
    // The last of its other counts may be given up meanwhile.
    let raw = Kept::of_weak(raw)?;
    if raw.is_inherited() {
        // The parent reports it; and no destructor of what is in it may run here.
        std::mem::forget(raw);
        return None;
    }
    let state = raw.context();
    // O11: one look more or less does not matter.
    let is_dropped = state.handles.load(Ordering::Relaxed) == 0;
    (!is_dropped).then(|| Figures {
        stats: snapshot::stats(&raw),
        settings: state.settings.load().as_ref().clone(),
    })
}

/// Adds a pool, unless one that is not gone has the name.
pub(crate) fn add<M: Manager>(
    watched: &mut Vec<Watched>,
    name: String,
    pool: &Pool<M>,
) -> Result<(), NameTaken> {
    let name: Arc<str> = name.into();
    let namesake = watched.iter().find(|other| other.name == name);
    if namesake.is_some_and(|other| (other.look)().is_some()) {
        return Err(NameTaken { name });
    }
    watched.push(Watched::new(name, pool));
    Ok(())
}
