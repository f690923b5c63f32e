//! Times measured on a machine that has other work, too.

use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A clock that stands still while the machine has no time for us: a thread that does nothing but
/// sleep notes by how much it oversleeps.
#[derive(Debug)]
pub struct Watch {
    begun: Instant,
    lost: Duration,
}

impl Watch {
    pub fn start() -> Self {
        Self { begun: Instant::now(), lost: Self::lost() }
    }

    pub fn elapsed(&self) -> Duration {
        let elapsed = self.begun.elapsed();
        elapsed.saturating_sub(Self::lost() - self.lost)
    }

    /// The same by a clock that never stands still.
    pub fn elapsed_for_all(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Since the process began.
    fn lost() -> Duration {
        const NAP: Duration = Duration::from_millis(5);
        static SLEEPER: LazyLock<Mutex<(Instant, Duration)>> = LazyLock::new(|| {
            thread::spawn(|| {
                loop {
                    thread::sleep(NAP);
                    let mut sleeper = SLEEPER.lock().unwrap();
                    let overslept = sleeper.0.elapsed().saturating_sub(2 * NAP);
                    *sleeper = (Instant::now(), sleeper.1 + overslept);
                }
            });
            Mutex::new((Instant::now(), Duration::ZERO))
        });
        let sleeper = SLEEPER.lock().unwrap();
        sleeper.1 + sleeper.0.elapsed().saturating_sub(2 * NAP)
    }
}
