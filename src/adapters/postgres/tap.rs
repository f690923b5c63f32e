//! Listens in on a PostgreSQL connection, as the drivers keep to themselves what the server says
//! after each request: whether a transaction is open.
//!
//! The server ends its answer to each `Query`, `Sync` and `FunctionCall` with one `ReadyForQuery`,
//! in their order, and puts the state of the transaction in it. So the tap counts what was asked
//! and what was answered, and remembers the last request that could have changed the state.
//! (<https://www.postgresql.org/docs/current/protocol-flow.html>)

use super::greeting::Greeting;
use super::messages::Message;
use super::named::Named;
use super::role::is_refused_write;
use crate::adapters::doubt::Doubt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What one connection's tap knows, shared between its stream and the adapter. The lock
/// is never held for longer than it takes to count.
#[derive(Clone, Debug, Default)]
pub(super) struct Tap(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(super) struct State {
    /// A stream goes through the tap. If not, nothing below is known.
    is_attached: bool,
    /// Answers that the requests written so far will have.
    asked: u64,
    answered: u64,
    /// What `asked` was at the last request that could open or close a transaction.
    asked_riskily: u64,
    /// Something was executed that no `Sync` has ended yet.
    is_executing: bool,
    ended_with_sync: bool,
    /// The socket would not take all; what the driver holds back may be anything.
    pub(super) is_blocked: bool,
    is_in_transaction: bool,
    /// A copy was ended from here, well or not.
    has_copied: bool,
    /// Something failed since the last time that all was known to be in order.
    has_erred: bool,
    /// The session may be subscribed to notifications.
    listens: bool,
    /// The server waits for lines of a copy that no driver sends: it will answer nothing.
    is_stuck: bool,
    /// The stream has failed or ended.
    is_gone: bool,
    /// Not by the server's doing: it may be at work still.
    is_given_up: bool,
    /// When the server must have answered.
    limit: Option<Instant>,
    /// For how long the server may say nothing while an answer is waited for.
    response_timeout: Option<Duration>,
    /// The stream was read, and had nothing. If not, the driver has work to do, or its rows are not
    /// taken: then the server is not silent.
    is_starved: bool,
    /// Since when an answer is waited for.
    silent_since: Option<Instant>,
    /// How often the stream may still be read in this poll of the driver's.
    reads_left: Option<u32>,
    /// What is to be written is looked at and stays where it is, and nothing is read.
    pub(super) is_held: bool,
    /// So many bytes at the head of what is to be written have been looked at.
    pub(super) foreseen: usize,
    greeting: Greeting,
    /// What is asked is asked for the pool.
    is_the_pools: bool,
    /// A message has begun that is longer than any that the pool has use for.
    is_too_long: bool,
    named: Named,
    /// To be told when the server refuses a write.
    doubt: Option<Arc<Doubt>>,
}

/// Of a message that no borrower has asked for: the drivers keep each until its end has come. One
/// that a borrower no longer waits for is among them.
const LONGEST: usize = 16 << 20;

/// After so many reads the driver lets others have a turn: a server that talks without pause would
/// keep it busy for as long as it likes.
#[cfg(feature = "tokio-postgres")]
const READS: u32 = 16;

/// Until it is dropped, what is asked is asked for the pool, and answers have a bound.
#[must_use]
pub(super) struct ForThePool(Tap);

impl Drop for ForThePool {
    fn drop(&mut self) {
        self.0.state().is_the_pools = false;
    }
}

/// The commands that may leave the session subscribed: a block and a procedure, too.
const LISTENING: [&[u8]; 3] = [b"LISTEN\0", b"DO\0", b"CALL\0"];

/// Whether the stream may be read now.
pub(super) enum Turn {
    Read,
    /// The driver has had its turn, and is to be polled again.
    Later,
    /// The driver was only asked what it has to write.
    Held,
    Late,
}

impl Tap {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is no stream yet, or a raw one, which cannot be watched.
    pub(super) fn detach(&self) {
        let mut state = self.state();
        let (limit, reads_left, doubt) = (state.limit, state.reads_left, state.doubt.take());
        *state = State { limit, reads_left, doubt, ..State::default() };
    }

    /// A stream goes through the tap from here on.
    pub(super) fn attach(&self) {
        self.detach();
        let mut state = self.state();
        state.is_attached = true;
        state.asked = 1;
    }

    /// The borrower has gone, and with it all that waited for answers.
    pub(super) fn come_back(&self) {
        let mut state = self.state();
        let answered = state.answered;
        state.named.abandon_after(answered);
    }

    /// No transaction is open, none can be opened by what is still under way, nothing went wrong,
    /// and nothing is left over that must be ended.
    pub(super) fn is_clean(&self) -> bool {
        let state = self.state();
        state.is_in_order() && !state.listens && !state.named.are_too_many()
    }

    /// As [`is_clean`](Self::is_clean), of transactions alone.
    pub(super) fn is_in_order(&self) -> bool {
        self.state().is_in_order()
    }

    pub(super) fn is_attached(&self) -> bool {
        self.state().is_attached
    }

    pub(super) fn is_in_transaction(&self) -> bool {
        self.state().is_in_transaction
    }

    pub(super) fn is_gone(&self) -> bool {
        self.state().is_gone
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.state().is_stuck
    }

    /// Whether the server would not let us in, and will not.
    #[cfg(feature = "postgres")]
    pub(super) fn is_refused(&self) -> bool {
        self.state().greeting.is_refusal()
    }

    /// The server may be busy with a request that was made here.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.state();
        let is_heard = !state.is_gone || state.is_given_up;
        state.is_attached && is_heard && !state.is_settled()
    }

    /// Questions and answers may be out of step. When the server has refused a copy, it answers
    /// both the `Sync` that came with the `Execute` and the one that ends the copy, where the
    /// drivers expect a single answer, and would hand the other to the next request.
    pub(super) fn may_be_out_of_step(&self) -> bool {
        let state = self.state();
        state.has_erred && state.has_copied
    }

    /// A request that was made after all others has just been answered, and in step.
    pub(super) fn settle(&self) {
        let mut state = self.state();
        state.asked_riskily = state.asked_riskily.min(state.answered);
        state.has_erred = false;
        state.has_copied = false;
    }

    /// Whether the session may be subscribed to notifications.
    pub(super) fn listens(&self) -> bool {
        self.state().listens
    }

    pub(super) fn has_ended_listening(&self) {
        self.state().listens = false;
    }

    /// What is known of the statements that the session has names for.
    pub(super) fn named<T>(&self, look: impl FnOnce(&mut Named) -> T) -> T {
        look(&mut self.state().named)
    }

    /// If all requests that could open or close a transaction are answered: from here on small
    /// writes are looked at, and not done.
    #[cfg(feature = "tokio-postgres")]
    pub(super) fn hold(&self) -> bool {
        let mut state = self.state();
        state.is_held = state.is_attached && state.is_settled();
        state.is_held
    }

    /// To here. Whether there is one that must be done now, by polling the driver again.
    #[cfg(feature = "tokio-postgres")]
    pub(super) fn release(&self) -> bool {
        let mut state = self.state();
        state.is_held = false;
        state.foreseen > 0
    }

    /// The driver is about to be polled.
    #[cfg(feature = "tokio-postgres")]
    pub(super) fn begin_turn(&self) {
        self.state().reads_left = Some(READS);
    }

    /// No answer may keep its asker waiting for longer.
    pub(super) fn set_response_timeout(&self, limit: Option<Duration>) {
        self.state().response_timeout = limit;
    }

    pub(super) fn ask_for_the_pool(&self) -> ForThePool {
        self.state().is_the_pools = true;
        ForThePool(self.clone())
    }

    /// Whom to tell when the server refuses a write.
    pub(super) fn set_doubt(&self, doubt: &Arc<Doubt>) {
        self.state().doubt = Some(Arc::clone(doubt));
    }

    /// Reads fail with [`TimedOut`](io::ErrorKind::TimedOut) from then on.
    pub(super) fn set_limit(&self, limit: Option<Instant>) {
        self.state().limit = limit;
    }

    /// The stream has ended, or failed.
    pub(super) fn note_end(&self, error: Option<&io::Error>) {
        let mut state = self.state();
        state.is_given_up |=
            !state.is_gone && error.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
        state.is_gone = true;
    }
}

impl State {
    pub(super) fn limit(&mut self) -> Option<Instant> {
        if self.limit.is_some() {
            return self.limit;
        }
        let is_waited_for = self.is_starved && self.answered < self.asked;
        let timeout = self.response_timeout.filter(|_| is_waited_for)?;
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        since.checked_add(timeout)
    }

    /// Whether the limit is that of the whole call, and not of a silence.
    pub(super) fn has_fixed_limit(&self) -> bool {
        self.limit.is_some()
    }

    /// Whether a silence has been longer than it may be.
    pub(super) fn has_been_silent(&mut self) -> bool {
        !self.has_fixed_limit() && self.limit().is_some_and(|limit| limit <= Instant::now())
    }

    /// The stream was read, and had nothing.
    pub(super) fn starve(&mut self) {
        self.is_starved = true;
    }

    pub(super) fn turn(&mut self) -> Turn {
        if self.is_held {
            return Turn::Held;
        }
        if self.limit.is_some_and(|limit| limit <= Instant::now()) {
            return Turn::Late;
        }
        match &mut self.reads_left {
            Some(0) => return Turn::Later,
            Some(left) => *left -= 1,
            None => {}
        }
        Turn::Read
    }

    fn is_in_order(&self) -> bool {
        let is_doubtful = self.is_in_transaction || self.has_erred;
        self.is_attached && self.is_settled() && !is_doubtful
    }

    fn is_settled(&self) -> bool {
        self.answered >= self.asked_riskily && !self.is_executing && !self.is_blocked
    }

    pub(super) fn sent(&mut self, message: Message<'_>) {
        let tag = message.tag;
        let is_sync = tag == b'S';
        match tag {
            b'E' => self.is_executing = true,
            b'c' | b'f' => self.has_copied = true,
            b'P' | b'B' | b'C' => self.named.sent(message, self.asked + 1),
            b'Q' | b'F' | b'S' => {
                self.asked += 1;
                self.ended_with_sync = is_sync;
                if !is_sync || std::mem::take(&mut self.is_executing) {
                    self.asked_riskily = self.asked;
                }
            }
            _ => {}
        }
    }

    /// Something has come, so many bytes of it.
    pub(super) fn heard(&mut self, bytes: usize) {
        self.is_starved = false;
        self.silent_since = None;
        if self.answered == 0 {
            self.greeting.heard(bytes);
        }
    }

    pub(super) fn received(&mut self, message: Message<'_>) {
        if self.answered == 0 {
            self.greeting.received(message);
        }
        let is_for_a_borrower = !self.is_the_pools && self.answered < self.asked;
        self.is_too_long |= message.length > LONGEST && !is_for_a_borrower;
        match message.tag {
            b'Z' => {
                self.answered = self.asked.min(self.answered + 1);
                self.is_in_transaction = message.body.first() != Some(&b'I');
                self.named.are_answered(self.answered);
            }
            b'E' => {
                self.has_erred = true;
                self.named.received(message, self.answered + 1);
                if let Some(doubt) = &self.doubt
                    && is_refused_write(message.body)
                {
                    doubt.tell();
                }
            }
            b'A' => self.listens = true,
            b'C' => {
                self.listens |= LISTENING.contains(&message.body);
                self.named.received(message, self.answered + 1);
            }
            // `CopyInResponse`: the server overhears the `Sync` that came with the `Execute`.
            b'G' if self.ended_with_sync => {
                self.asked = self.asked.saturating_sub(1);
                self.named.one_less_after(self.answered + 1);
            }
            // The drivers' own way to copy ends with a `Sync`.
            b'G' => self.is_stuck = true,
            _ => {}
        }
    }

    /// # Errors
    ///
    /// If the server has said more than can be of use: before it was ready for the first request,
    /// or in a message that no borrower waits for.
    pub(super) fn check_length(&self) -> io::Result<()> {
        if self.answered == 0 {
            self.greeting.check()?;
        }
        if self.is_too_long {
            let text = "the server sent more than it was asked for";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
