//! What the workers do, and what they say they did.

use crate::line::{Line, LineError};
use crate::plan::Plan;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Work comes in bursts, with lulls between them in which connections lie idle.
const BURST: Duration = Duration::from_millis(300);
const LULL: Duration = Duration::from_millis(100);

/// What the workers say they did, and what is left to do.
pub(crate) struct Work {
    pub(crate) begun: Instant,
    ends: Option<Instant>,
    ops_left: AtomicU64,
    pub(crate) done: AtomicU64,
    pub(crate) rows: AtomicI64,
    pub(crate) sum: AtomicI64,
    pub(crate) abandoned: AtomicU64,
    pub(crate) met_cut: AtomicU64,
    pub(crate) met_busy: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Work {
    pub(crate) fn new(plan: &Plan) -> Self {
        let begun = Instant::now();
        Self {
            begun,
            ends: plan.seconds.map(|seconds| begun + Duration::from_secs_f64(seconds)),
            ops_left: AtomicU64::new(plan.ops.unwrap_or(u64::MAX)),
            done: AtomicU64::new(0),
            rows: AtomicI64::new(0),
            sum: AtomicI64::new(0),
            abandoned: AtomicU64::new(0),
            met_cut: AtomicU64::new(0),
            met_busy: AtomicU64::new(0),
            failure: Mutex::new(None),
        }
    }

    /// The number of the next operation, if there is one.
    pub(crate) fn next(&self) -> Option<u64> {
        if self.ends.is_some_and(|ends| Instant::now() >= ends) || self.failure().is_some() {
            return None;
        }
        self.ops_left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).ok()
    }

    /// How much is left of a lull; zero in a burst.
    pub(crate) fn lull(&self) -> Duration {
        let period = (BURST + LULL).as_nanos();
        let into = Duration::from_nanos((self.begun.elapsed().as_nanos() % period) as u64);
        if into < BURST { Duration::ZERO } else { BURST + LULL - into }
    }

    /// Whether the operation must be done again. What cannot pass ends everybody's work.
    pub(crate) fn must_repeat(&self, outcome: Result<(), LineError>) -> bool {
        match outcome {
            Ok(()) => {
                self.done.fetch_add(1, Relaxed);
                false
            }
            Err(error) if error.is_passing() => {
                let met =
                    if matches!(error, LineError::Cut) { &self.met_cut } else { &self.met_busy };
                met.fetch_add(1, Relaxed);
                true
            }
            Err(error) => {
                self.give_up(error.to_string());
                false
            }
        }
    }

    pub(crate) fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn give_up(&self, why: String) {
        self.failure().get_or_insert(why);
    }

    /// One operation: a transaction with one insert, and a look at what was inserted.
    pub(crate) fn operate(&self, line: &mut Line, op: u64) -> Result<(), LineError> {
        let amount = (op % 1000) as i64;
        let insert = "INSERT INTO entry (amount) VALUES (?1)";
        line.sqlite()?.execute_batch("BEGIN IMMEDIATE")?;
        line.sqlite()?.prepare_cached(insert)?.execute([amount])?;
        if op % 10 == 7 {
            // Somebody forgets to commit: the pool rolls back.
            self.abandoned.fetch_add(1, Relaxed);
            return Ok(());
        }
        let id = line.sqlite()?.last_insert_rowid();
        line.sqlite()?.execute_batch("COMMIT")?;
        self.rows.fetch_add(1, Relaxed);
        self.sum.fetch_add(amount, Relaxed);
        let select = "SELECT amount FROM entry WHERE id = ?1";
        // It is committed, so it must not be done again: a line cut only now is for the next to
        // find.
        let Ok(sqlite) = line.sqlite() else { return Ok(()) };
        let read: i64 = sqlite.prepare_cached(select)?.query_row([id], |row| row.get(0))?;
        if read != amount {
            self.give_up(format!("row {id} holds {read}, not {amount}"));
        }
        Ok(())
    }
}
