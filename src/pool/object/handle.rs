//! The handle: what callers do with a pool of objects.

use super::error::ObjectError;
use super::guard::Object;
use super::place::{Objects, Place, Raw, Room, pass_room_on};
use super::stats::{ObjectStats, size};
use crate::clock::{Clock, Tick};
use crate::pool::ground::caught::Foreign;
use crate::pool::ground::park::block_on;
use crate::raw::waiter::{Outcome, Terms, Ticket};
use crate::sync::Arc;
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::task::Poll;
use std::time::Duration;

/// A handle to a pool of plain objects: buffers, parsers, random generators, whatever is expensive
/// to make and needs no server. Clone it freely; dropping the last one drops the idle objects, and
/// lent ones follow on their return.
///
/// A function makes the objects, at most `max_size` of them, when borrowers need them: the borrower
/// that finds none idle makes one itself, if there is room. Beyond that borrowers wait, threads and
/// tasks in one line, first come, first served. The pool has no thread of its own, sets no timers
/// and checks nothing.
///
/// ```
/// use caliburn::ObjectPool;
///
/// let buffers = ObjectPool::builder(16)
///     .reset(|buffer: &mut Vec<u8>| {
///         buffer.clear();
///         buffer.capacity() <= 1 << 20 // Others are dropped, not kept.
///     })
///     .build(|| Vec::with_capacity(4096))?;
/// let mut buffer = buffers.get()?;
/// buffer.extend_from_slice(b"songs");
/// drop(buffer); // Returns it.
/// assert!(buffers.get()?.is_empty());
/// println!("{:?}", buffers.stats());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What foreign code may do
///
/// - If the function that makes objects fails or panics, the borrower gets its error or its panic,
///   and the room goes to the next in line, who tries anew.
/// - If the function that [resets](super::ObjectPoolBuilder::reset) objects panics, the object is
///   dropped.
/// - If a borrower panics, the object is dropped.
/// - An object that is dropped has its room until its destructor has returned, so no more than
///   `max_size` of them are alive.
/// - A future of [`get_async`](Self::get_async) that is not polled keeps what it was handed until
///   it is polled or dropped. (A pool of connections takes it back; that needs a timer.)
///
/// In a forked child a pool that was built before lends nothing ([`ObjectError::Forked`]).
pub struct ObjectPool<T: Send + 'static, E: 'static = Infallible> {
    raw: Arc<Raw<T>>,
    source: Arc<Source<T, E>>,
}

/// What all handles of a pool share, and only they: with the last of them the pool is closed.
struct Source<T: Send + 'static, E> {
    raw: Arc<Raw<T>>,
    make: Foreign<Make<T, E>>,
}

/// Makes an object.
type Make<T, E> = Box<dyn Fn() -> Result<T, E> + Send + Sync>;

impl<T: Send + 'static, E> Drop for Source<T, E> {
    fn drop(&mut self) {
        self.raw.close();
    }
}

/// Threads wake up, and tasks are polled; there is no clock to reckon by.
const TERMS: Terms = Terms::STRICT;

impl<T: Send + 'static, E> ObjectPool<T, E> {
    pub(crate) fn adopt(raw: Arc<Raw<T>>, make: Make<T, E>) -> Self {
        let source = Arc::new(Source { raw: Arc::clone(&raw), make: Foreign::new(make) });
        Self { raw, source }
    }

    /// Borrows an object, and makes one if none is idle and there is room. Else blocks the thread
    /// until one comes back.
    ///
    /// # Errors
    ///
    /// Returns [`ObjectError::Make`] if an object could not be made, and [`ObjectError::Forked`] if
    /// the pool is the parent process's.
    #[inline(always)]
    pub fn get(&self) -> Result<Object<T>, ObjectError<E>> {
        match self.lend_at_home() {
            Ok(object) => Ok(object),
            Err(taken) => {
                let mut error = ObjectError::Empty;
                self.get_slowly(taken, None, &mut error).ok_or(error)
            }
        }
    }

    /// As [`get`](Self::get), but waits up to `timeout`.
    ///
    /// # Errors
    ///
    /// Returns [`ObjectError`], as [`get`](Self::get) does, and if the time is up.
    ///
    /// ```
    /// use caliburn::{ObjectError, ObjectPool};
    /// use std::time::Duration;
    ///
    /// let pool = ObjectPool::new(1, String::new).unwrap();
    /// let held = pool.get().unwrap();
    /// let error = pool.get_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert!(matches!(error, ObjectError::TimedOut { .. }));
    /// # drop(held);
    /// ```
    #[inline]
    pub fn get_timeout(&self, timeout: Duration) -> Result<Object<T>, ObjectError<E>> {
        match self.lend_at_home() {
            Ok(object) => Ok(object),
            Err(taken) => {
                let mut error = ObjectError::Empty;
                self.get_slowly(taken, Some(timeout), &mut error).ok_or(error)
            }
        }
    }

    /// As [`get`](Self::get) for tasks, on any executor: ready at its first poll if an object is
    /// idle or there is room. For a limit use the runtime's timeout.
    ///
    /// Cancel-safe: a future dropped while it waits leaves the line, and passes on what it was
    /// handed.
    ///
    /// # Errors
    ///
    /// Returns [`ObjectError`], as [`get`](Self::get) does.
    ///
    /// ```
    /// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = caliburn::ObjectPool::new(8, String::new)?;
    /// pool.get_async().await?.push_str("songs");
    /// # Ok(()) }
    /// ```
    #[inline]
    pub async fn get_async(&self) -> Result<Object<T>, ObjectError<E>> {
        match self.lend_at_home() {
            Ok(object) => Ok(object),
            Err(taken) => self.get_slowly_async(taken).await,
        }
    }

    /// Borrows an object, and makes one if none is idle and there is room, unless others wait.
    ///
    /// # Errors
    ///
    /// Returns [`ObjectError::Empty`] if all objects are lent or other borrowers wait,
    /// [`ObjectError::BeingMade`] if some are just being made, else what [`get`](Self::get) does.
    ///
    /// ```
    /// use caliburn::{ObjectError, ObjectPool};
    ///
    /// let pool = ObjectPool::new(1, String::new).unwrap();
    /// let held = pool.try_get().unwrap();
    /// assert_eq!(pool.try_get().unwrap_err(), ObjectError::Empty);
    /// # drop(held);
    /// ```
    #[inline(always)]
    pub fn try_get(&self) -> Result<Object<T>, ObjectError<E>> {
        match self.lend_at_home() {
            Ok(object) => Ok(object),
            Err(taken) => self.lend_now(taken).unwrap_or_else(|| Err(self.none_idle())),
        }
    }

    /// Adds an object that was made elsewhere, if there is room.
    ///
    /// # Errors
    ///
    /// Returns the object if there are `max_size` objects already.
    ///
    /// ```
    /// let pool = caliburn::ObjectPool::new(1, String::new).unwrap();
    /// pool.add("songs".to_owned()).unwrap();
    /// assert_eq!(*pool.get().unwrap(), "songs");
    /// assert_eq!(pool.add("users".to_owned()).unwrap_err(), "users");
    /// ```
    pub fn add(&self, object: T) -> Result<(), T> {
        let Some(room) = self.claim_room() else { return Err(object) };
        drop(room.put(object));
        Ok(())
    }

    /// Makes objects until there are `count`, or `max_size` if that is less.
    ///
    /// # Errors
    ///
    /// Returns the first error of the function that makes them.
    ///
    /// ```
    /// let pool = caliburn::ObjectPool::new(8, || vec![0; 4096]).unwrap();
    /// pool.prepare(4).unwrap();
    /// assert_eq!(pool.stats().idle, 4);
    /// ```
    pub fn prepare(&self, count: usize) -> Result<(), E> {
        while size(&self.raw) < count {
            let Some(room) = self.claim_room() else { return Ok(()) };
            drop(self.fill(room)?);
        }
        Ok(())
    }

    /// Returns a snapshot of gauges and counters.
    ///
    /// ```
    /// let pool = caliburn::ObjectPool::new(8, String::new).unwrap();
    /// let text = pool.get().unwrap();
    /// let stats = pool.stats();
    /// assert_eq!((stats.size, stats.lent, stats.idle), (1, 1, 0));
    /// # drop(text);
    /// ```
    pub fn stats(&self) -> ObjectStats {
        ObjectStats::of(&self.raw)
    }

    /// Lends an idle object of the thread's home stripe; else returns what was taken instead.
    #[inline(always)]
    fn lend_at_home(&self) -> Result<Object<T>, Option<Place<T>>> {
        match self.raw.claim_at_home() {
            Some(place) if place.value().is_some() => Ok(lend(place)),
            taken => Err(taken),
        }
    }

    /// Lends an idle object, or makes one if there is room and none waits. `None`: one must wait.
    #[cold]
    #[inline(never)]
    fn lend_now(&self, taken: Option<Place<T>>) -> Option<Result<Object<T>, ObjectError<E>>> {
        let raw = &self.raw;
        if raw.is_inherited() {
            std::mem::forget(taken);
            return Some(Err(ObjectError::Forked));
        }
        let place = taken.or_else(|| raw.claim()).or_else(|| {
            let room = if raw.waiting() == 0 { raw.claim_vacant() } else { None };
            room.map(|room| room.fill(None))
        });
        place.map(|place| self.lend_filled(place))
    }

    /// Why a caller that does not wait gets none.
    fn none_idle(&self) -> ObjectError<E> {
        let is_making = self.raw.context().making() > 0;
        if is_making { ObjectError::BeingMade } else { ObjectError::Empty }
    }

    /// The error is returned through `error`, so that an object comes back in registers.
    #[cold]
    #[inline(never)]
    fn get_slowly(
        &self,
        taken: Option<Place<T>>,
        timeout: Option<Duration>,
        error: &mut ObjectError<E>,
    ) -> Option<Object<T>> {
        let result = self.lend_now(taken).unwrap_or_else(|| {
            let clock = Clock::real();
            let begun = clock.now();
            let until = timeout.map_or(Tick::NEVER, |timeout| begun + timeout);
            block_on(self.wait(), &clock, until)
                .unwrap_or_else(|| Err(ObjectError::TimedOut { waited: clock.now().since(begun) }))
        });
        result.map_err(|why| *error = why).ok()
    }

    async fn get_slowly_async(&self, taken: Option<Place<T>>) -> Result<Object<T>, ObjectError<E>> {
        if let Some(result) = self.lend_now(taken) {
            return result;
        }
        self.wait().await
    }

    /// Waits in line for an object, or for room to make one.
    async fn wait(&self) -> Result<Object<T>, ObjectError<E>> {
        let raw = &*self.raw;
        loop {
            let mut ticket: Option<Ticket<'_, Objects<T>>> = None;
            let outcome = poll_fn(|cx| {
                if raw.is_inherited() {
                    return Poll::Ready(None);
                }
                if let Some(ticket) = &mut ticket {
                    return ticket.poll(cx).map(Some);
                }
                let Ok(new) = raw.enroll(cx.waker(), TERMS, usize::MAX) else {
                    unreachable!("the line has no limit")
                };
                let ticket = ticket.insert(new);
                if ticket.is_settled() {
                    return ticket.poll(cx).map(Some);
                }
                raw.context().waits.add();
                // A thread that makes room later sees this borrower.
                pass_room_on(raw);
                // It has left the waker of this very poll.
                Poll::Pending
            });
            match outcome.await {
                None => return Err(ObjectError::Forked),
                Some(Outcome::Granted(place)) => return self.lend_filled(place),
                // Not while there is a handle, and there are no terms to expire.
                Some(_) => {}
            }
        }
    }

    /// Lends the object in the place. If there is none, as the place was handed to a borrower that
    /// had to make one, lends another that is idle, or one that is made now.
    fn lend_filled(&self, place: Place<T>) -> Result<Object<T>, ObjectError<E>> {
        let mut found = Some(place);
        let mut room = None;
        while let Some(place) = found {
            if place.value().is_some() {
                drop(room);
                return Ok(lend(place));
            }
            // The last is kept: it is this borrower's, if nothing else is found.
            drop(room.replace(Room::of(place)));
            found = self.raw.claim();
        }
        let Some(room) = room else { unreachable!("what was found was one or the other") };
        self.fill(room).map(lend).map_err(ObjectError::Make)
    }

    /// Makes an object. If that fails or panics, the room for it is free.
    fn fill(&self, room: Room<T>) -> Result<Place<T>, E> {
        let making = self.raw.context().make();
        let object = (self.source.make)()?;
        drop(making);
        Ok(room.put(object))
    }

    /// Room that is free, or that a borrower has left behind.
    fn claim_room(&self) -> Option<Room<T>> {
        let raw = &self.raw;
        if raw.is_inherited() {
            return None;
        }
        let left_behind = || {
            let is_there = size(raw) < raw.capacity();
            let places = if is_there { 0..raw.capacity() as u32 } else { 0..0 };
            let mut idle = places.filter_map(|index| raw.claim_idle_at(index));
            idle.find(|place| place.value().is_none())
        };
        let place = raw.claim_vacant().map(|room| room.fill(None)).or_else(left_behind);
        place.map(Room::of)
    }
}

/// Lends an object that is there.
#[inline(always)]
fn lend<T: Send + 'static>(place: Place<T>) -> Object<T> {
    place.ledger().turn();
    Object::new(place.into())
}

/// A panic leaves nothing half done: foreign code is called while nothing is, and what a borrower
/// holds that panics is dropped.
impl<T: Send + 'static, E> UnwindSafe for ObjectPool<T, E> {}

/// As for [`UnwindSafe`].
impl<T: Send + 'static, E> RefUnwindSafe for ObjectPool<T, E> {}

impl<T: Send + 'static, E> Clone for ObjectPool<T, E> {
    fn clone(&self) -> Self {
        Self { raw: Arc::clone(&self.raw), source: Arc::clone(&self.source) }
    }
}

impl<T: Send + 'static, E: 'static> Drop for ObjectPool<T, E> {
    fn drop(&mut self) {
        if self.raw.is_inherited() {
            // Never the last of it, so that no destructor of what is in it runs.
            std::mem::forget((Arc::clone(&self.raw), Arc::clone(&self.source)));
        }
    }
}

impl<T: Send + 'static, E> fmt::Debug for ObjectPool<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectPool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
