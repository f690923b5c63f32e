//! Waiting for the first connections.

use super::ground::park::block_on;
use super::handle::Pool;
use super::supply::shortage;
use crate::error::NotReady;
use crate::manager::Manager;
use std::time::Duration;

impl<M: Manager> Pool<M> {
    /// Blocks up to `timeout` until the initial connections are open, and those of the
    /// [reserve](Self::reserved).
    ///
    /// # Errors
    ///
    /// Returns [`NotReady`] if they are not open in time. Returns it at once if connecting fails
    /// with a permanent error or, with [`fail_fast`](crate::Settings::fail_fast), with any error,
    /// and if the pool is closed.
    pub fn ready(&self, timeout: Duration) -> Result<(), NotReady<M::Error>> {
        let deadline = self.state().clock.now() + timeout;
        let is_manual = self.state().is_manual() && !self.raw.is_inherited();
        if is_manual {
            // No other thread will do anything about it.
            self.maintain();
        }
        for pool in self.whole() {
            let outcome = match is_manual {
                true => shortage::is_ready(&pool.raw),
                false => block_on(pool.until_ready(), &pool.state().clock, deadline),
            };
            self.is_ready(pool, outcome)?;
        }
        Ok(())
    }

    /// As [`ready`](Self::ready), for tasks. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Returns [`NotReady`], as [`ready`](Self::ready) does.
    pub async fn ready_async(&self, timeout: Duration) -> Result<(), NotReady<M::Error>> {
        let deadline = self.state().clock.now() + timeout;
        for pool in self.whole() {
            let outcome = pool.state().timeout(deadline, pool.until_ready()).await;
            self.is_ready(pool, outcome)?;
        }
        Ok(())
    }

    /// What has come of waiting for a `part` of the whole. `None`: it is not over.
    fn is_ready(
        &self,
        part: &Self,
        outcome: Option<Result<(), NotReady<M::Error>>>,
    ) -> Result<(), NotReady<M::Error>> {
        let Err(mut error) = outcome.unwrap_or_else(|| Err(shortage::not_ready(&part.raw))) else {
            return Ok(());
        };
        if error.is_closed && !self.raw.is_closed() {
            // The reserve was closed by itself.
            return Ok(());
        }
        let is_other = |other: &&Self| !std::ptr::eq(*other, part) && !other.raw.is_closed();
        for other in self.whole().filter(is_other) {
            let NotReady { open, wanted, .. } = shortage::not_ready(&other.raw);
            (error.open, error.wanted) = (error.open + open, error.wanted + wanted);
        }
        Err(error)
    }

    async fn until_ready(&self) -> Result<(), NotReady<M::Error>> {
        self.state().events.wait_until(|| shortage::is_ready(&self.raw)).await
    }
}
