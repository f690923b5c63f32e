//! What is written down beside each connection, by whoever owns its slot.

use crate::clock::Tick;
use crate::raw::slots::StaticRef;
use crate::sync::{AtomicU64, Ordering};
use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// What a slot remembers beyond the connections that pass through it. Only the slot's owner writes.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Loans and returns: an odd number while the slot is lent.
    transitions: AtomicU64,
    /// When the slot was last lent or came back.
    changed: AtomicU64,
    borrower: StaticRef<Location<'static>>,
    call: CallNote,
}

impl Ledger {
    /// The caller has just got the slot, which has made so many transitions before.
    #[inline(always)]
    pub(crate) fn lend(&self, transitions: u64, borrower: &'static Location<'static>, now: Tick) {
        self.borrower.set(borrower);
        self.note(now);
        // O11: for reports, and for the owner, who alone writes. Last, as it says that the others are true.
        self.transitions.store(transitions + 1, Ordering::Relaxed);
    }

    /// The caller is about to give the slot away, which makes so many transitions.
    #[inline(always)]
    pub(crate) fn take_back(&self, transitions: u64, now: Tick) {
        self.transitions.store(transitions, Ordering::Relaxed); // O11
        self.note(now);
    }

    /// A new connection lies in the slot.
    pub(crate) fn begin(&self, now: Tick) {
        self.note(now);
    }

    #[inline(always)]
    fn note(&self, now: Tick) {
        self.changed.store(now.0, Ordering::Relaxed); // O11
    }

    /// Loans and returns so far: an odd number while the slot is lent.
    #[inline(always)]
    pub(crate) fn transitions(&self) -> u64 {
        self.transitions.load(Ordering::Relaxed) // O11
    }

    /// When the slot last came back or, if it is lent, since when.
    #[inline(always)]
    pub(crate) fn last_changed(&self) -> Tick {
        Tick(self.changed.load(Ordering::Relaxed)) // O11
    }

    /// The slot is lent: true at rest.
    pub(crate) fn is_lent(&self) -> bool {
        self.transitions() % 2 == 1
    }

    /// Who holds the slot, if it is lent: true at rest, a guess under way.
    pub(crate) fn holder(&self, now: Tick) -> Option<Holder> {
        let location = self.borrower.get().filter(|_| self.is_lent())?;
        Some(Holder { location, since: now.since(self.last_changed()) })
    }

    pub(crate) fn checkouts(&self) -> u64 {
        self.transitions().div_ceil(2)
    }

    pub(crate) fn returns(&self) -> u64 {
        self.transitions() / 2
    }

    /// The owner is about to call the manager, which should answer by `limit`.
    pub(crate) fn call(
        &self,
        call: Call,
        priority: Priority,
        begun: Tick,
        limit: Tick,
    ) -> Noted<'_> {
        self.call.begin(call, priority, begun, limit)
    }

    /// The call into the manager that this slot is waiting for: when it was begun, and its limit.
    pub(crate) fn running(&self) -> Option<Running> {
        self.call.read()
    }
}

/// Who holds a connection, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Where the connection was asked for.
    pub location: &'static Location<'static>,
    /// How long ago it was lent, as coarse as the pool's tick.
    pub since: Duration,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {:.1?}", self.location, self.since)
    }
}

/// A call into a [`Manager`](crate::Manager).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// Opening a connection.
    Connect,
    /// Asking whether it works.
    Ping,
    /// Making it as good as new.
    Reset,
    /// Closing it.
    Close,
}

impl Call {
    const ALL: [Self; 4] = [Self::Connect, Self::Ping, Self::Reset, Self::Close];
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Ping => "ping",
            Self::Reset => "reset",
            Self::Close => "close",
        })
    }
}

/// A call into the manager that has outlived its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overrun {
    /// Which call.
    pub call: Call,
    /// How long ago it was begun.
    pub since: Duration,
}

impl fmt::Display for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} that has not answered for {:.1?}", self.call, self.since)
    }
}

/// On whose priority a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Somebody waits for it, or soon may.
    Demand,
    /// Nobody does.
    Upkeep,
}

/// A call that is running, as others see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) call: Call,
    pub(crate) priority: Priority,
    pub(crate) begun: Tick,
    pub(crate) limit: Tick,
}

impl Running {
    /// It has outlived its limit.
    pub(crate) fn is_late(&self, now: Tick) -> bool {
        self.limit <= now
    }
}

/// When a call was begun, and its limit, which is zero if none runs.
#[derive(Debug, Default)]
struct CallNote {
    begun: AtomicU64,
    limit: AtomicU64,
}

// O11 throughout: read for reports and to steer. A reader may see one call's beginning with another's
// limit: a wrong figure for that moment, no more.
impl CallNote {
    /// Which call it is goes into the low bits of when it began: 8 ns more or less do not matter.
    fn begin(&self, call: Call, priority: Priority, begun: Tick, limit: Tick) -> Noted<'_> {
        let kind = call as u64 | (priority as u64) << 2;
        self.begun.store(begun.0 & !0x7 | kind, Ordering::Relaxed); // O11
        self.limit.store(limit.0, Ordering::Relaxed); // O11
        Noted(self)
    }

    fn read(&self) -> Option<Running> {
        let limit = Tick(self.limit.load(Ordering::Relaxed)); // O11
        if limit == Tick::default() {
            return None;
        }
        let begun = self.begun.load(Ordering::Relaxed); // O11
        let priority = if begun & 4 == 0 { Priority::Demand } else { Priority::Upkeep };
        Some(Running {
            call: Call::ALL[(begun & 3) as usize],
            priority,
            begun: Tick(begun & !0x7),
            limit,
        })
    }
}

/// A call is running; dropped, it is over.
#[must_use]
pub(crate) struct Noted<'a>(&'a CallNote);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.limit.store(0, Ordering::Relaxed); // O11
    }
}
