//! What the owner of a slot writes down beside its connection.

use super::{Borrower, Signature};
use crate::clock::Tick;
use crate::raw::era::Stamp;
use crate::raw::slots::StaticRef;
use crate::sync::{Arc, Relaxed};
use arc_swap::ArcSwapOption;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// What a slot remembers beyond the connections that pass through it. Only the slot's owner writes,
/// hence loads and stores suffice; others read for reports.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Loans and returns: an odd number while the slot is lent.
    transitions: Relaxed<u64>,
    /// When the slot was last lent or came back.
    changed: Relaxed<u64>,
    borrower: StaticRef<Location<'static>>,
    /// What the borrower said of itself, on this loan or an earlier one.
    signature: ArcSwapOption<Signature>,
    call: CallNote,
    /// In which era the connect of its connection was begun.
    stamp: Stamp,
    /// When its connection was opened; zero if there is none.
    opened: Relaxed<u64>,
}

impl Ledger {
    /// Notes that the caller has just got the slot, which had made `transitions` before.
    #[inline(always)]
    pub(crate) fn lend(&self, transitions: u64, borrower: &'static Location<'static>, now: Tick) {
        self.borrower.set(borrower);
        self.note(now);
        // Last, as it says that the others are true.
        self.transitions.set(transitions + 1);
    }

    /// Notes that the caller is about to give the slot away, which then has made `transitions`.
    #[inline(always)]
    pub(crate) fn take_back(&self, transitions: u64, now: Tick) {
        self.transitions.set(transitions);
        self.note(now);
    }

    /// In which era the connect of its connection, or the one that is under way, was begun.
    pub(crate) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Notes that a new connection lies in the slot.
    pub(crate) fn begin(&self, now: Tick) {
        self.opened.set(now.0.max(1));
        self.note(now);
    }

    /// Notes that the connection is about to be closed.
    pub(crate) fn leave(&self) {
        self.stamp.clear();
        self.signature.store(None);
    }

    /// Notes that the connection is gone, or could not be opened.
    pub(crate) fn end(&self) {
        self.leave();
        self.opened.set(0);
    }

    /// When its connection was opened, if there is one.
    pub(crate) fn opened(&self) -> Option<Tick> {
        Some(Tick(self.opened.get())).filter(|opened| *opened != Tick::default())
    }

    #[inline(always)]
    fn note(&self, now: Tick) {
        self.changed.set(now.0);
    }

    /// Loans and returns so far: an odd number while the slot is lent.
    #[inline(always)]
    pub(crate) fn transitions(&self) -> u64 {
        self.transitions.get()
    }

    /// When the slot last came back or, if it is lent, since when.
    #[inline(always)]
    pub(crate) fn last_changed(&self) -> Tick {
        Tick(self.changed.get())
    }

    /// Whether the slot is lent: exact at rest.
    pub(crate) fn is_lent(&self) -> bool {
        self.transitions() % 2 == 1
    }

    /// Notes what the borrower of the next loan, or of this one, says of itself.
    pub(crate) fn sign(&self, signature: Signature) {
        self.signature.store(Some(Arc::new(signature)));
    }

    /// What the borrower has said of itself, if the slot is lent.
    pub(crate) fn signature(&self) -> Option<Arc<Signature>> {
        let transitions = self.transitions();
        self.signature.load_full().filter(|signature| signature.transitions == transitions)
    }

    /// Whether the slot is lent to that borrower.
    pub(crate) fn is_lent_to(&self, borrower: &Borrower) -> bool {
        self.is_lent()
            && self.signature().is_some_and(|one| one.borrower.as_ref() == Some(borrower))
    }

    /// Where in the source the borrower asked for the slot, if it is lent.
    pub(crate) fn location(&self) -> Option<&'static Location<'static>> {
        self.borrower.get().filter(|_| self.is_lent())
    }

    /// Who holds the slot, if it is lent: exact at rest, a guess while it changes hands.
    pub(crate) fn holder(&self, now: Tick) -> Option<Holder> {
        let location = self.location()?;
        let (since, signature) = (now.since(self.last_changed()), self.signature());
        let signature = signature.as_deref();
        let borrower = signature.and_then(|signature| signature.borrower.clone());
        let label = signature.and_then(|signature| signature.label.clone());
        Some(Holder { location, since, borrower, label })
    }

    pub(crate) fn checkouts(&self) -> u64 {
        self.transitions().div_ceil(2)
    }

    pub(crate) fn returns(&self) -> u64 {
        self.transitions() / 2
    }

    /// Notes that the owner is about to call the manager, which should answer by `limit`.
    pub(crate) fn call(
        &self,
        call: Call,
        priority: Priority,
        begun: Tick,
        limit: Tick,
    ) -> Noted<'_> {
        self.call.begin(call, priority, begun, limit)
    }

    /// The call into the manager that this slot is waiting for.
    pub(crate) fn running(&self) -> Option<Running> {
        self.call.read()
    }
}

/// Who holds a connection, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Where in the source the borrower asked for the connection.
    pub location: &'static Location<'static>,
    /// How long ago it was lent, to the precision of the pool's tick.
    pub since: Duration,
    /// Which thread or task holds it, if the pool
    /// [identifies](crate::Builder::identify_borrowers) borrowers.
    pub borrower: Option<Borrower>,
    /// What the borrower [calls](crate::PooledConnection::set_label) its work.
    pub label: Option<Arc<str>>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {:.1?}", self.location, self.since)?;
        if let Some(borrower) = &self.borrower {
            write!(f, ", {borrower}")?;
        }
        if let Some(label) = &self.label {
            write!(f, " ({label:?})")?;
        }
        Ok(())
    }
}

/// A call into a [`Manager`](crate::Manager).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// Opening a connection.
    Connect,
    /// Checking that a connection works.
    Ping,
    /// Making a connection as good as new.
    Reset,
    /// Closing a connection.
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

/// A call into the manager that has outlived its limit, or a task that the
/// [spawner](crate::Builder::spawner) has not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overrun {
    /// The call. `None`: the spawner has dropped a task that would make such calls, or has not
    /// polled it for a second since it was woken.
    pub call: Option<Call>,
    /// How long ago the call began, or the task was passed to the spawner, dropped or woken.
    pub since: Duration,
}

impl fmt::Display for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.since;
        match self.call {
            Some(call) => write!(f, "a {call} that has not answered for {since:.1?}"),
            None => write!(f, "a task that the spawner has not run for {since:.1?}"),
        }
    }
}

/// For whom a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// A borrower waits for the connection, or soon may.
    Demand,
    /// No borrower does.
    Upkeep,
}

/// A call that is running, as other threads see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) call: Call,
    pub(crate) priority: Priority,
    pub(crate) begun: Tick,
    pub(crate) limit: Tick,
}

impl Running {
    /// Whether it has outlived its limit.
    pub(crate) fn is_late(&self, now: Tick) -> bool {
        self.limit <= now
    }
}

/// When a call was begun, and its limit, which is zero if none runs. A reader may see one call's
/// beginning with another's limit: a wrong figure for that moment, no more.
#[derive(Debug, Default)]
struct CallNote {
    begun: Relaxed<u64>,
    limit: Relaxed<u64>,
}

impl CallNote {
    /// The kind of the call goes into the low bits of its beginning: 8 ns more or less do not
    /// matter.
    fn begin(&self, call: Call, priority: Priority, begun: Tick, limit: Tick) -> Noted<'_> {
        let kind = call as u64 | (priority as u64) << 2;
        self.begun.set(begun.0 & !0x7 | kind);
        self.limit.set(limit.0);
        Noted(self)
    }

    fn read(&self) -> Option<Running> {
        let limit = Tick(self.limit.get());
        if limit == Tick::default() {
            return None;
        }
        let begun = self.begun.get();
        let priority = if begun & 4 == 0 { Priority::Demand } else { Priority::Upkeep };
        Some(Running {
            call: Call::ALL[(begun & 3) as usize],
            priority,
            begun: Tick(begun & !0x7),
            limit,
        })
    }
}

/// Stands for a running call; dropped, the call is over.
#[must_use]
pub(crate) struct Noted<'a>(&'a CallNote);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.limit.set(0);
    }
}
