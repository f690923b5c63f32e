//! The one switch between the standard library and the loom model checker.
//!
//! Nothing else in the crate names `std::sync`, `std::thread`, `UnsafeCell` or `loom`, so a model
//! sees exactly the code that ships. The feature is one of the package `loom-tests` alone: another
//! crate's `--cfg loom` gets the real thing. Sizes shrink under the model ([`SLOT_BITS`]) so that
//! three slots already span two words.

pub(crate) use switched::*;

/// A value that threads share and that orders nothing: a gauge, a counter, a moment, a hint, or
/// what only its owner writes. No memory is reached through it, so all its operations are relaxed
/// (O11). What orders something, or is reached through, is an atomic by its own name, and each of
/// its orderings has a number.
#[derive(Debug, Default)]
pub(crate) struct Relaxed<T: Plain>(T::Atomic);

/// What a [`Relaxed`] holds.
pub(crate) trait Plain {
    type Atomic: std::fmt::Debug + Default;
}

macro_rules! relaxed {
    ($plain:ty, $atomic:ty) => {
        impl Plain for $plain {
            type Atomic = $atomic;
        }

        // O11 throughout. Not every type needs every method.
        #[allow(dead_code)]
        impl Relaxed<$plain> {
            constant! {
                pub(crate) fn new(value: $plain) -> Self {
                    Self(<$atomic>::new(value))
                }
            }

            #[inline(always)]
            pub(crate) fn get(&self) -> $plain {
                self.0.load(Ordering::Relaxed) // O11
            }

            #[inline(always)]
            pub(crate) fn set(&self, value: $plain) {
                self.0.store(value, Ordering::Relaxed); // O11
            }

            /// Puts `value` in and returns what was there before.
            #[inline]
            pub(crate) fn replace(&self, value: $plain) -> $plain {
                self.0.swap(value, Ordering::Relaxed) // O11
            }

            /// Changes `from` into `to`; `false` if it holds another value.
            #[inline]
            pub(crate) fn exchange(&self, from: $plain, to: $plain) -> bool {
                // O11
                self.0.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            }
        }
    };
    ($plain:ty, $atomic:ty, numeric) => {
        relaxed!($plain, $atomic);

        // O11 throughout. Not every type needs every method.
        #[allow(dead_code)]
        impl Relaxed<$plain> {
            /// Adds `more` and returns what was there before.
            #[inline]
            pub(crate) fn add(&self, more: $plain) -> $plain {
                self.0.fetch_add(more, Ordering::Relaxed) // O11
            }

            /// Subtracts `less` and returns what was there before.
            #[inline]
            pub(crate) fn subtract(&self, less: $plain) -> $plain {
                self.0.fetch_sub(less, Ordering::Relaxed) // O11
            }

            /// Raises the value to `least` if it is lower.
            #[inline]
            pub(crate) fn raise(&self, least: $plain) {
                self.0.fetch_max(least, Ordering::Relaxed); // O11
            }
        }
    };
}

relaxed!(bool, AtomicBool);
relaxed!(u32, AtomicU32, numeric);
relaxed!(u64, AtomicU64, numeric);
relaxed!(usize, AtomicUsize, numeric);

/// How many bits of a bitmap word stand for slots; the three highest bits are flags.
pub(crate) const SLOT_BITS: u32 = if MODEL { 2 } else { 60 };

#[cfg(caliburn_pauses)]
#[path = "sync/pauses.rs"]
mod pauses;
#[cfg(caliburn_tsan)]
#[path = "sync/seen.rs"]
mod seen;

#[cfg(not(all(loom, feature = "loom")))]
mod switched {
    use crate::sync::Relaxed;

    pub(crate) const MODEL: bool = false;

    #[cfg(caliburn_pauses)]
    pub(crate) use crate::sync::pauses::{
        AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Mutex,
    };
    #[cfg(caliburn_tsan)]
    pub(crate) use crate::sync::seen::{Condvar, Mutex, MutexGuard, OnceLock, RwLock};
    pub(crate) use crossbeam_queue::{ArrayQueue, SegQueue};
    #[cfg(not(any(caliburn_pauses, caliburn_tsan)))]
    pub(crate) use std::sync::Mutex;
    #[cfg(not(caliburn_pauses))]
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize};
    pub(crate) use std::sync::atomic::{AtomicPtr, Ordering};
    pub(crate) use std::sync::{Arc, PoisonError, TryLockError, Weak};
    #[cfg(not(caliburn_tsan))]
    pub(crate) use std::sync::{Condvar, MutexGuard, OnceLock, RwLock};
    pub(crate) use std::thread;

    /// A function that constants may call.
    macro_rules! constant {
        ($visibility:vis fn $($rest:tt)*) => { $visibility const fn $($rest)* };
    }
    pub(crate) use constant;

    /// `std`'s cell behind loom's interface, which tells the model when an access begins and ends.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }

    /// Stands for "this memory is still there"; only the model looks at it.
    #[derive(Debug)]
    pub(crate) struct Witness;

    impl Witness {
        pub(crate) const fn new() -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn touch(&self) {}
    }

    /// Where a model may switch threads although nothing is shared here.
    #[inline(always)]
    pub(crate) fn switch_point() {}

    static FORKS: Relaxed<u64> = Relaxed::<u64>::new(0);

    /// How many forks lie between this process and the one in which it began.
    #[inline(always)]
    pub(crate) fn forks() -> u64 {
        FORKS.get()
    }

    /// This process is a child, and has no other thread yet.
    pub(crate) fn begin_as_child() {
        FORKS.add(1);
    }

    thread_local! {
        /// This thread's number plus one; 0 until it is drawn.
        static NUMBER: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    /// The thread's number, handed out round robin: where its search for a slot begins.
    #[inline(always)]
    pub(crate) fn thread_number() -> usize {
        let number = NUMBER.get();
        if number != 0 { number } else { draw_number() }
    }

    thread_local! {
        /// The last value of [`predicted`]. Atomic only so that the compiler loads it twice.
        static LAST: Relaxed<u32> = const { Relaxed::<u32>::new(0) };
    }

    /// `actual`, but taken from the last call's value when both agree. Then what follows depends on
    /// a branch, which the processor predicts, and not on the load that `actual` came from. A claim
    /// that follows a release on the same word need not wait for it: a third off an uncontended
    /// round trip.
    #[inline(always)]
    pub(crate) fn predicted(actual: u32) -> u32 {
        LAST.with(|last| {
            if last.get() != actual {
                last.set(actual);
            }
            // Loaded anew: the compiler might take what was compared above for `actual` itself.
            last.get()
        })
    }

    #[cold]
    fn draw_number() -> usize {
        static NEXT: Relaxed<usize> = Relaxed::<usize>::new(0);
        let number = NEXT.add(1) % usize::MAX + 1;
        NUMBER.set(number);
        number
    }
}

#[cfg(all(loom, feature = "loom"))]
mod switched {
    use crate::sync::Relaxed;

    pub(crate) const MODEL: bool = true;

    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering,
    };
    pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::cell::UnsafeCell;

    /// The model's atomics cannot be built in a constant.
    macro_rules! constant {
        ($($function:tt)*) => { $($function)* };
    }
    pub(crate) use constant;

    /// Freed in `Drop`, read in `touch`: a touch that does not happen before the drop is a race to
    /// loom.
    #[derive(Debug)]
    pub(crate) struct Witness(UnsafeCell<()>);

    impl Witness {
        pub(crate) fn new() -> Self {
            Self(UnsafeCell::new(()))
        }

        pub(crate) fn touch(&self) {
            self.0.with(|_| ());
        }
    }

    impl Drop for Witness {
        fn drop(&mut self) {
            self.0.with_mut(|_| ());
        }
    }

    pub(crate) fn switch_point() {
        loom::thread::yield_now();
    }

    pub(crate) fn forks() -> u64 {
        0
    }

    pub(crate) fn thread_number() -> usize {
        0
    }

    pub(crate) fn predicted(actual: u32) -> u32 {
        actual
    }

    /// A queue that promises no more than `crossbeam_queue::SegQueue`: a push publishes its own
    /// item, a pop may miss an item whose push does not happen before it. Few items.
    #[derive(Debug)]
    pub(crate) struct SegQueue<T> {
        cells: Vec<(AtomicBool, std::sync::Mutex<Option<T>>)>,
        tail: Relaxed<usize>,
        head: Relaxed<usize>,
    }

    impl<T> SegQueue<T> {
        pub(crate) fn new() -> Self {
            Self {
                cells: (0..6).map(|_| Default::default()).collect(),
                tail: Relaxed::<usize>::new(0),
                head: Relaxed::<usize>::new(0),
            }
        }

        pub(crate) fn push(&self, item: T) {
            let (ready, cell) = &self.cells[self.tail.add(1)];
            *cell.lock().unwrap_or_else(PoisonError::into_inner) = Some(item);
            // O15: what crossbeam promises of a push.
            ready.store(true, Ordering::Release);
        }

        /// May miss an item, as a pop may.
        pub(crate) fn is_empty(&self) -> bool {
            let next = self.cells.get(self.head.get());
            // O15: as in a pop.
            !next.is_some_and(|(ready, _)| ready.load(Ordering::Acquire))
        }

        pub(crate) fn pop(&self) -> Option<T> {
            let mut head = self.head.get();
            let cell = loop {
                let (ready, cell) = self.cells.get(head)?;
                // O15: what crossbeam promises of a pop.
                if !ready.load(Ordering::Acquire) {
                    return None;
                }
                if self.head.exchange(head, head + 1) {
                    break cell;
                }
                head = self.head.get();
            };
            cell.lock().unwrap_or_else(PoisonError::into_inner).take()
        }
    }
}
