//! `std`'s atomics and locks with pauses: now and then a thread sleeps before an operation, or with
//! a lock in its hand, for some microseconds or for ten milliseconds, as on a busy machine. So
//! threads meet where they seldom do.

use std::cell::Cell;
use std::sync::atomic::{self, Ordering};
use std::sync::{self, LockResult, MutexGuard, TryLockResult};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One operation in so many sleeps, and ten times as many let another thread go first.
const SLEEPS: u64 = 2_000;
const YIELDS: u64 = SLEEPS / 10;

/// The shortest sleep, and how often it may be doubled.
const SHORT: Duration = Duration::from_micros(20);
const DOUBLINGS: u64 = 10;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// The next of a thread's random numbers (xorshift64; Marsaglia 2003).
fn draw(state: &Cell<u64>) -> u64 {
    let mut x = state.get();
    if x == 0 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        x = (now.as_nanos() as u64 ^ (std::ptr::from_ref(state).addr() as u64) << 20) | 1;
    }
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    state.set(x);
    x
}

fn pause() {
    // A thread that ends goes on without.
    let _ = STATE.try_with(|state| {
        let drawn = draw(state) >> 20;
        if drawn % SLEEPS == 0 {
            thread::sleep(SHORT * (1 << (drawn / SLEEPS % DOUBLINGS)));
        } else if drawn % YIELDS == 0 {
            thread::yield_now();
        }
    });
}

macro_rules! pausing {
    ($name:ident of $value:ty: $($method:ident($($given:ident: $type:ty),*) -> $output:ty),*) => {
        #[derive(Debug, Default)]
        #[repr(transparent)]
        pub(crate) struct $name(atomic::$name);

        // Not every type needs every method.
        #[allow(dead_code)]
        impl $name {
            pub(crate) const fn new(value: $value) -> Self {
                Self(atomic::$name::new(value))
            }

            $(pub(crate) fn $method(&self, $($given: $type),*) -> $output {
                pause();
                self.0.$method($($given),*)
            })*

            pub(crate) fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                mut change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                pause();
                let between = |value| change(value).inspect(|_| pause());
                self.0.fetch_update(success, failure, between)
            }
        }
    };
    ($name:ident of $value:ty, bits: $($rest:tt)*) => {
        pausing! { $name of $value:
            load(order: Ordering) -> $value,
            store(value: $value, order: Ordering) -> (),
            swap(value: $value, order: Ordering) -> $value,
            compare_exchange(from: $value, to: $value, success: Ordering, failure: Ordering)
                -> Result<$value, $value>,
            compare_exchange_weak(from: $value, to: $value, success: Ordering, failure: Ordering)
                -> Result<$value, $value>,
            fetch_and(mask: $value, order: Ordering) -> $value,
            fetch_or(mask: $value, order: Ordering) -> $value
            $($rest)*
        }
    };
    ($name:ident of $value:ty, number) => {
        pausing! { $name of $value, bits:,
            fetch_add(more: $value, order: Ordering) -> $value,
            fetch_sub(less: $value, order: Ordering) -> $value,
            fetch_max(least: $value, order: Ordering) -> $value,
            fetch_min(most: $value, order: Ordering) -> $value
        }
    };
}

pausing! { AtomicBool of bool, bits: }
pausing! { AtomicU32 of u32, number }
pausing! { AtomicU64 of u64, number }
pausing! { AtomicI64 of i64, number }
pausing! { AtomicUsize of usize, number }

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        pause();
        let guard = self.0.lock();
        pause();
        guard
    }

    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        pause();
        let guard = self.0.try_lock();
        pause();
        guard
    }
}
