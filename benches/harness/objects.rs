//! What is pooled: objects on cache lines of their own.

use caliburn::{BlockingManager, Deadline, HealthStrategy, Manager, Pool};
use std::convert::Infallible;
use std::thread;
use std::time::Duration;

/// A cache line of its own, of which one field is touched: two objects on one line would be
/// measured as contention in the pool.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Object {
    pub(crate) touched: u64,
    _rest: [u64; 7],
}

/// A driver as fast as can be, or as slow as it is told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Objects {
    pub(crate) connect_takes: Duration,
    pub(crate) ping_takes: Duration,
}

fn take(time: Duration) {
    if !time.is_zero() {
        thread::sleep(time);
    }
}

impl Manager for Objects {
    type Connection = Box<Object>;
    type Error = Infallible;
}

impl BlockingManager for Objects {
    fn connect(&self, _: &Deadline) -> Result<Box<Object>, Infallible> {
        take(self.connect_takes);
        Ok(Box::new(Object { touched: 0, _rest: [0; 7] }))
    }

    fn ping(&self, _: &mut Box<Object>, _: &Deadline) -> Result<(), Infallible> {
        take(self.ping_takes);
        Ok(())
    }
}

/// A pool of so many objects, all of them there.
pub(crate) fn pool(size: usize, strategy: impl HealthStrategy) -> Pool<Objects> {
    Pool::builder(Objects::default())
        .max_size(size)
        .min_size(size)
        .health(strategy)
        .wait_ready(Duration::from_secs(10))
        .build()
        .expect("objects always connect")
}

/// One loan: somebody uses the object and gives it back.
#[inline(always)]
pub(crate) fn borrow(pool: &Pool<Objects>) {
    pool.get().expect("an object").touched += 1;
}
