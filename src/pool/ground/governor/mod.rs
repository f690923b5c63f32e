//! How many connects may be under way at once, and begun per second, in all pools that share a
//! governor.
//!
//! [`Line`] has the states of a place and says who moves it. All of them are kept under one lock,
//! which is held for a few steps and never while foreign code runs; whoever changes anything
//! settles the line before it lets go, and calls the pools that are offered a place afterwards.
//!
//! *A place is freed while a pool decides to wait.* To look for a place and to join the line is one
//! step under the lock. Either the place was freed before, and the pool finds it; or it is freed
//! later, and the thread that frees it finds the pool in line.
//!
//! *A pool is called while it decides about growth.* The call is a [ring](super::ring): a visit
//! comes after it, which asks for growth once more, and that finds the offer. So it does if the
//! pool was just going to say that it wants none: then it leaves, and the offer goes to the next.
//!
//! *A pool closes while it joins.* To close is to be seen closed first and to leave the line then;
//! the thread that decides about growth looks whether the pool is closed after it has joined. As
//! both go through the lock, one of them sees the other.
//!
//! *A pool does not come.* Nothing waits for it for long: the offer lapses. What becomes free by
//! time alone (an offer that lapses, a place taken for long, the next turn) is seen by the next
//! pool that asks, and by the [desk](Desk), which the housekeeper visits when it is due.
//!
//! A [`Leave`] ends exactly once, when it is dropped: with the job that has it, wherever that ends.
//! It has a count on the desk and none on the pool; a pool is known weakly. In a forked child a
//! member and a leave are their parent's, and touch nothing: the lock may be held for ever.

mod line;
mod turns;

use super::ring::Ring;
use crate::clock::{Clock, Tick};
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Relaxed, Weak, forks};
use line::{Answer, Line};
pub(crate) use line::{Limits, Tally};
use std::time::Duration;

/// A pool as a governor sees it.
pub(crate) trait Called: Send + Sync {
    /// A place is there. Calls no foreign code, and is given up on a thread of the crate's own if
    /// it is the last of the pool.
    fn call(self: Arc<Self>);
}

/// The state that all pools share. See the [module](self).
pub(crate) struct Governor {
    clock: Clock,
    line: Mutex<Line<Weak<dyn Called>>>,
    members: Relaxed<u64>,
    granted: Relaxed<u64>,
    held: Relaxed<u64>,
    /// The process, by the number of forks before it.
    born_in: u64,
}

impl Governor {
    pub(crate) fn new(limits: &Limits, clock: Clock) -> Self {
        Self {
            clock,
            line: Mutex::new(Line::new(limits)),
            members: Relaxed::<u64>::new(0),
            granted: Relaxed::<u64>::new(0),
            held: Relaxed::<u64>::new(0),
            born_in: forks(),
        }
    }

    fn is_inherited(&self) -> bool {
        self.born_in != forks()
    }

    fn lock(&self) -> MutexGuard<'_, Line<Weak<dyn Called>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tally(&self) -> Tally {
        let now = self.clock.now();
        self.lock().tally(now)
    }

    /// Other limits, while there is no desk and none can be opened: so no pool could be called.
    pub(crate) fn limit(&self, limits: &Limits) {
        let now = self.clock.now();
        self.lock().limit(limits, now);
    }

    /// Connects that were given leave.
    pub(crate) fn granted(&self) -> u64 {
        self.granted.get()
    }

    /// Times that a pool had to stand in line.
    pub(crate) fn held(&self) -> u64 {
        self.held.get()
    }
}

/// Where pools ask. There is one as long as there are pools that may.
pub(crate) struct Desk {
    governor: Arc<Governor>,
    ring: Ring,
    /// Held while a housekeeper is hired.
    pub(crate) hiring: Mutex<()>,
    /// The handles' part, which goes with the last pool at the earliest.
    _handle: Arc<dyn Send + Sync>,
}

impl Desk {
    pub(crate) fn new(governor: Arc<Governor>, handle: Arc<dyn Send + Sync>) -> Self {
        Self { governor, ring: Ring::new(), hiring: Mutex::new(()), _handle: handle }
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// A clock that is turned by hand wakes no housekeeper.
    pub(crate) fn needs_housekeeper(&self) -> bool {
        self.governor.clock.is_real() && !self.ring.is_heard()
    }

    /// Runs `with` on the line, which is settled before and afterwards, and calls those that are
    /// offered a place. Returns when it is to be settled again, too.
    fn act<R>(&self, with: impl FnOnce(&mut Line<Weak<dyn Called>>, Tick) -> R) -> (R, Tick) {
        let now = self.governor.clock.now();
        let mut line = self.governor.lock();
        let mut called = line.settle(now);
        let answer = with(&mut line, now);
        called.extend(line.settle(now));
        let next = line.next_look(now);
        drop(line);
        called.iter().filter_map(Weak::upgrade).for_each(Called::call);
        (answer, next)
    }

    /// The same, and has the housekeeper come in time.
    fn go_on<R>(&self, with: impl FnOnce(&mut Line<Weak<dyn Called>>, Tick) -> R) -> R {
        let (answer, next) = self.act(with);
        if next < Tick::NEVER {
            self.ring.ring_before(next);
        }
        answer
    }

    /// Other limits from now on: those that they make room for are called.
    pub(crate) fn limit(&self, limits: &Limits) {
        self.go_on(|line, now| line.limit(limits, now));
    }

    /// A visit: settles the line. The answer is how long nothing is due.
    pub(crate) fn look(&self) -> Duration {
        self.act(|_, _| ());
        self.rest()
    }

    /// How long it is until something is due; announces it. Calls no pool.
    pub(crate) fn rest(&self) -> Duration {
        let next = self.next_look();
        self.ring.announce(next);
        // Pools may have joined before they could see that.
        self.governor.clock.until(next.min(self.next_look()))
    }

    fn next_look(&self) -> Tick {
        let now = self.governor.clock.now();
        self.governor.lock().next_look(now)
    }
}

/// A pool's part in a governor.
pub(crate) struct Member {
    desk: Arc<Desk>,
    number: u64,
    pool: OnceLock<Weak<dyn Called>>,
    /// Stands in line, or was called and has not come yet.
    is_waiting: Relaxed<bool>,
    /// A connect was held in this round of growth.
    was_held: Relaxed<bool>,
}

/// But for `withdraw`, only the thread that decides about the pool's growth changes anything.
impl Member {
    pub(crate) fn new(desk: Arc<Desk>) -> Self {
        let number = desk.governor.members.add(1);
        Self {
            desk,
            number,
            pool: OnceLock::new(),
            is_waiting: Relaxed::<bool>::new(false),
            was_held: Relaxed::<bool>::new(false),
        }
    }

    /// The pool that is called. Until it is known, none is given leave.
    pub(crate) fn stand_for(&self, pool: Weak<dyn Called>) {
        let _ = self.pool.set(pool);
    }

    pub(crate) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Whether a connect is held now.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting.get()
    }

    /// A round of growth begins.
    pub(crate) fn begin_round(&self) {
        self.was_held.set(false);
    }

    /// Whether a connect was held in this round.
    pub(crate) fn was_held(&self) -> bool {
        self.was_held.get()
    }

    /// Leave for a connect that may take up to `limit`. If there is none now, the pool stands in
    /// line; `tell` is told if it has just joined, with how many stand ahead of it.
    pub(crate) fn ask(&self, limit: Duration, tell: impl FnOnce(usize)) -> Option<Leave> {
        let governor = &self.desk.governor;
        let pool = self.pool.get().filter(|_| !governor.is_inherited())?;
        match self.desk.go_on(|line, now| line.ask(self.number, limit, now, || pool.clone())) {
            Answer::Granted(place) => {
                self.is_waiting.set(false);
                Some(self.leave_of(place))
            }
            Answer::Held(ahead) => {
                self.is_waiting.set(true);
                self.was_held.set(true);
                if let Some(ahead) = ahead {
                    governor.held.add(1);
                    tell(ahead);
                }
                None
            }
        }
    }

    /// Leave for a connect that counts like any other, and is not held.
    pub(crate) fn ask_at_once(&self, limit: Duration) -> Option<Leave> {
        let is_inherited = self.desk.governor.is_inherited();
        let take = || self.desk.go_on(|line, now| line.take_anyway(limit, now));
        (!is_inherited).then(|| self.leave_of(take()))
    }

    fn leave_of(&self, place: u64) -> Leave {
        self.desk.governor.granted.add(1);
        Leave { desk: Arc::clone(&self.desk), place, begun: Relaxed::<u64>::new(0) }
    }

    /// The pool wants no place: what it was offered goes to the next.
    pub(crate) fn withdraw(&self) {
        if !self.desk.governor.is_inherited() {
            self.is_waiting.set(false);
            drop(self.desk.go_on(|line, now| line.leave(self.number, now)));
        }
    }

    /// The pool wants no place now, but keeps its own in line: one that is wanted by fits and
    /// starts would never get far. If it was called, the place is the next one's.
    pub(crate) fn decline(&self) {
        if !self.desk.governor.is_inherited() {
            let stands = self.desk.go_on(|line, now| line.decline(self.number, now));
            self.is_waiting.set(stands);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// The right to make one connect. It ends when it is dropped.
pub(crate) struct Leave {
    desk: Arc<Desk>,
    place: u64,
    /// When the call into the manager was begun; zero if it was not.
    begun: Relaxed<u64>,
}

impl Leave {
    /// The call into the manager is about to be made: from now on the turn is used.
    pub(crate) fn begin(&self) {
        self.begun.set(self.desk.governor.clock.now().0);
    }

    /// The connect is over.
    pub(crate) fn end(self, has_succeeded: bool) {
        let governor = &self.desk.governor;
        if has_succeeded && !governor.is_inherited() {
            let took = governor.clock.now().since(Tick(self.begun.get()));
            governor.lock().succeeded(self.place, took);
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if !self.desk.governor.is_inherited() {
            let was_begun = self.begun.get() > 0;
            self.desk.go_on(|line, now| line.end(self.place, was_begun, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::thread;

    const SECOND: Duration = Duration::from_secs(1);

    struct Pool;

    impl Called for Pool {
        fn call(self: Arc<Self>) {}
    }

    /// The visit that was announced finds nothing to do, and another is needed later.
    #[test]
    fn a_pool_that_joins_after_a_visit_was_put_off_is_heard() {
        let (clock, hand) = Clock::mock();
        let limits = Limits { max_concurrent: 9, per_second: Some(1.0), burst: Some(1) };
        let governor = Arc::new(Governor::new(&limits, clock));
        let desk = Arc::new(Desk::new(governor, Arc::new(())));
        let housekeeper = thread::spawn(thread::park);
        desk.ring().hire(housekeeper.thread().clone(), 0);
        let (member, pool) = (Member::new(Arc::clone(&desk)), Arc::new(Pool));
        let weak: Weak<Pool> = Arc::downgrade(&pool);
        member.stand_for(weak);
        let ask = || member.ask(SECOND, |_| ());

        let first = ask();
        assert!(first.is_some() && ask().is_none());
        assert!(desk.ring().answer());
        assert_eq!(desk.look(), Duration::from_millis(1), "a clock that is turned by hand");
        member.withdraw();
        hand.advance(SECOND);
        desk.rest();
        let second = ask();
        assert!(second.is_some() && ask().is_none());
        assert!(desk.ring().is_rung());
        housekeeper.thread().unpark();
        housekeeper.join().unwrap();
    }
}
