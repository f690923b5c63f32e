//! The pools of an exporter: each has a name, and none is kept alive.

use super::instruments::Figures;
use super::named::by_name;
use crate::fork::PerProcess;
use crate::manager::Manager;
use crate::pool::handle::Pool;
use crate::pool::snapshot;
use crate::pool::state::kept::Kept;
use crate::pool::state::pooled::Raw;
use crate::sync::{Arc, Mutex, MutexGuard, Ordering, PoisonError, Weak, forks};
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

/// The pools of an exporter. In a child of the process there are none of its parent's, and no lock
/// that one of the parent's threads may have held.
#[derive(Debug)]
pub(crate) struct Pools(PerProcess<Mutex<Vec<Arc<Watched>>>>);

impl Pools {
    pub(crate) const fn new() -> Self {
        Self(PerProcess::new())
    }

    /// Adds a pool and its reserve, unless one that is not gone has the name of either.
    pub(crate) fn add<M: Manager>(&self, name: &str, pool: &Pool<M>) -> Result<(), NameTaken> {
        let new: Vec<_> = by_name(name, pool)
            .map(|(name, part)| Arc::new(Watched::new(name.into(), part, pool)))
            .collect();
        let own = self.0.get();
        let mut all = lock(&own);
        // Perhaps nobody ever collects. Of what was reported there is no more than was collected
        // at once, and the next collection reports that it is gone.
        all.retain(|watched| watched.is_there() || watched.lock().is_some());
        let is_taken = |new: &&Arc<Watched>| {
            all.iter().any(|other| other.name == new.name && other.is_there())
        };
        if let Some(taken) = new.iter().find(is_taken) {
            return Err(NameTaken { name: Arc::clone(&taken.name) });
        }
        all.extend(new);
        Ok(())
    }

    /// All of them, in the order in which they were added. They are to be reported while no lock is
    /// held, as whoever is told may add pools.
    pub(crate) fn all(&self) -> Vec<Arc<Watched>> {
        lock(&self.0.get()).clone()
    }

    /// Forgets pools that are gone, and were reported so. One that another thread is reporting at
    /// this moment stays for the next collection: that thread may have seen it alive.
    pub(crate) fn forget(&self, gone: &[Arc<Watched>]) {
        const HERE_AND_IN_GONE: usize = 2;
        if gone.is_empty() {
            return;
        }
        lock(&self.0.get()).retain(|watched| {
            let is_gone = gone.iter().any(|gone| Arc::ptr_eq(gone, watched));
            !is_gone || Arc::strong_count(watched) > HERE_AND_IN_GONE
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pool, and what was last reported of it.
pub(crate) struct Watched {
    pub(crate) name: Arc<str>,
    pool: Box<dyn Source>,
    last: Mutex<Option<Figures>>,
    born_in: u64,
}

/// A look at a pool.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) now: Figures,
    /// What has happened since the look before.
    pub(crate) since: Figures,
}

impl Watched {
    fn new<M: Manager>(name: Arc<str>, part: &Pool<M>, whole: &Pool<M>) -> Self {
        let pool = Part { raw: Arc::downgrade(&part.raw), of: Arc::downgrade(&whole.raw) };
        Self { name, pool: Box::new(pool), last: Mutex::new(None), born_in: forks() }
    }

    fn is_there(&self) -> bool {
        self.pool.is_there()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Figures>> {
        lock(&self.last)
    }

    /// Looks at the pool. `None`: it is gone. If several threads look at once, each event is seen
    /// by one of them.
    pub(crate) fn look(&self) -> Option<Look> {
        if self.is_inherited() {
            return None;
        }
        let mut last = self.lock();
        let now = self.pool.figures()?;
        let since = match &*last {
            None => now.stats.clone(),
            Some(last) => now.stats.since(&last.stats),
        };
        *last = Some(now.clone());
        let since = Figures { stats: since, settings: now.settings.clone() };
        Some(Look { now, since })
    }

    /// What the last look showed.
    #[cfg(feature = "metrics")]
    pub(crate) fn last(&self) -> Option<Figures> {
        if self.is_inherited() { None } else { self.lock().clone() }
    }

    /// Whoever reports it has forked meanwhile, and the lock may be held by none who is here.
    fn is_inherited(&self) -> bool {
        self.born_in != forks()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// A pool of whichever manager.
trait Source: Send + Sync {
    fn is_there(&self) -> bool;

    /// `None`: it is gone.
    fn figures(&self) -> Option<Figures>;
}

/// A pool, or the reserve of one: that is gone with its pool, even if handles of it are left.
struct Part<M: Manager> {
    raw: Weak<Raw<M>>,
    of: Weak<Raw<M>>,
}

impl<M: Manager> Part<M> {
    fn living(&self) -> Option<Kept<M>> {
        living(&self.of).and_then(|_| living(&self.raw))
    }
}

impl<M: Manager> Source for Part<M> {
    fn is_there(&self) -> bool {
        self.living().is_some()
    }

    fn figures(&self) -> Option<Figures> {
        self.living().map(|raw| Figures {
            stats: snapshot::stats(&raw),
            settings: raw.context().settings.load().as_ref().clone(),
        })
    }
}

/// The pool, if it has handles in this process.
fn living<M: Manager>(raw: &Weak<Raw<M>>) -> Option<Kept<M>> {
    // The last of its other counts may be given up meanwhile.
    let raw = Kept::of_weak(raw)?;
    if raw.is_inherited() {
        // The parent reports it; and no destructor of what is in it may run here.
        std::mem::forget(raw);
        return None;
    }
    // O11: one look more or less does not matter.
    let is_dropped = raw.context().handles.load(Ordering::Relaxed) == 0;
    (!is_dropped).then_some(raw)
}
