//! Ends calls that block on a socket beyond their limit: what a read timeout cannot do, as it
//! begins anew with each byte.

use super::Socket;
use crate::fork::{Own, PerProcess};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long after its limit a socket that was not found is looked for again: a driver may not have
/// marked it yet. The last of them again and again.
const AGAIN: [Duration; 4] = [
    Duration::from_millis(5),
    Duration::from_millis(50),
    Duration::from_millis(500),
    Duration::from_secs(5),
];

/// What is shut down when the time is up.
#[derive(Clone, Debug)]
pub(in crate::adapters) enum Tied {
    Known(Arc<Socket>),
    /// One that the driver is about to make.
    #[cfg(target_os = "linux")]
    Marked(super::Mark),
}

impl Tied {
    /// Whether it has been found.
    fn cut_off(&self) -> bool {
        match self {
            Self::Known(socket) => socket.cut_off(),
            #[cfg(target_os = "linux")]
            Self::Marked(mark) => match mark.find() {
                Some(socket) => socket.cut_off(),
                None => return false,
            },
        }
        true
    }
}

/// What is to be shut down and has not been found yet.
#[derive(Clone, Debug)]
struct Late {
    tied: Tied,
    looked: usize,
    looks_at: Instant,
}

impl Late {
    fn look_again(&mut self) {
        let wait = AGAIN[self.looked.min(AGAIN.len() - 1)];
        self.looks_at = Instant::now() + wait;
        self.looked += 1;
    }
}

/// Until it is dropped, the socket is shut down once the limit has passed.
#[must_use]
#[derive(Debug)]
pub(in crate::adapters) struct Leash {
    watchdog: Arc<Own<Watchdog>>,
    key: Key,
}

/// When, and a number that tells those of the same moment apart.
type Key = (Instant, u64);

impl Leash {
    /// # Errors
    ///
    /// Returns the system's error if it has no thread left to watch.
    pub(in crate::adapters) fn until(limit: Instant, tied: Tied) -> io::Result<Self> {
        let watchdog = WATCHDOG.get();
        let key = watchdog.watch(limit, tied)?;
        Ok(Self { watchdog, key })
    }

    /// Lets go. Whether the limit had not passed: if it had, the socket has been, or is being, shut
    /// down.
    pub(in crate::adapters) fn end(self) -> bool {
        self.watchdog.let_go(&self.key)
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.watchdog.let_go(&self.key);
    }
}

/// One thread for all calls of the process, started with the first.
#[derive(Debug, Default)]
struct Watchdog {
    watched: Mutex<Watched>,
    has_changed: Condvar,
}

#[derive(Debug, Default)]
struct Watched {
    tied: BTreeMap<Key, Tied>,
    /// Calls whose limit has passed, by their number.
    late: BTreeMap<u64, Late>,
    number: u64,
    has_thread: bool,
    /// When the thread looks next without being called. `None`: not before it is.
    looks_at: Option<Instant>,
}

static WATCHDOG: PerProcess<Watchdog> = PerProcess::new();

impl Watchdog {
    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, limit: Instant, tied: Tied) -> io::Result<Key> {
        let mut watched = self.watched();
        if !watched.has_thread {
            thread::Builder::new()
                .name("caliburn-watchdog".into())
                .spawn(|| WATCHDOG.get().run())?;
            watched.has_thread = true;
        }
        watched.number += 1;
        let key = (limit, watched.number);
        // Not for each call that begins while no other is under way: of a limit that is let go, the
        // thread finds out when it would have passed.
        let looks_too_late = watched.looks_at.is_none_or(|at| limit < at);
        watched.tied.insert(key, tied);
        if looks_too_late {
            watched.looks_at = Some(limit);
        }
        drop(watched);
        if looks_too_late {
            self.has_changed.notify_one();
        }
        Ok(key)
    }

    fn let_go(&self, key: &Key) -> bool {
        let mut watched = self.watched();
        watched.late.remove(&key.1);
        watched.tied.remove(key).is_some()
    }

    fn run(&self) {
        let mut watched = self.watched();
        loop {
            let now = Instant::now();
            while let Some(first) = watched.tied.first_entry().filter(|first| first.key().0 <= now)
            {
                let ((_, number), tied) = first.remove_entry();
                watched.late.insert(number, Late { tied, looked: 0, looks_at: now });
            }
            let due = watched.late.iter_mut().find(|(_, late)| late.looks_at <= now);
            if let Some((&number, late)) = due {
                late.look_again();
                let tied = late.tied.clone();
                // Not under the lock: to find a socket takes a while. What is let go meanwhile is
                // looked for no more.
                drop(watched);
                let is_found = tied.cut_off();
                watched = self.watched();
                if is_found {
                    watched.late.remove(&number);
                }
                continue;
            }
            let late = watched.late.values().map(|late| late.looks_at);
            let next = watched.tied.keys().next().map(|key| key.0).into_iter().chain(late).min();
            watched.looks_at = next;
            watched = match next {
                None => self.has_changed.wait(watched).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let waited = self.has_changed.wait_timeout(watched, at - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}
