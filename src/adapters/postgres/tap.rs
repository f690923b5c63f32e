//! Listens in on a PostgreSQL connection, as the drivers keep to themselves what the server says
//! after each request: whether a transaction is open.
//!
//! The server ends its answer to each `Query`, `Sync` and `FunctionCall` with one `ReadyForQuery`,
//! in their order, and puts the state of the transaction in it. So the tap counts what was asked
//! and what was answered, and remembers the last request that could have changed the state.
//! (<https://www.postgresql.org/docs/current/protocol-flow.html>)

use super::messages::Messages;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

/// What one connection's tap knows; shared between its stream and those who want to know. Nobody
/// holds the lock for longer than it takes to count.
#[derive(Clone, Debug, Default)]
pub(super) struct Tap(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
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
    is_blocked: bool,
    is_in_transaction: bool,
    /// A copy was ended from here, well or not.
    has_copied: bool,
    /// Something failed since the last time that all was known to be in order.
    has_erred: bool,
    /// The stream has failed or ended.
    is_gone: bool,
    /// When the server must have said something, if somebody waits for it.
    limit: Option<Instant>,
    /// The same, from the last that it said.
    silence_limit: Option<Duration>,
    /// Since when an answer is waited for.
    silent_since: Option<Instant>,
    /// What is to be written is looked at and stays where it is.
    is_held: bool,
    /// So many bytes at the head of what is to be written have been looked at.
    foreseen: usize,
}

impl Tap {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is no stream yet, or a raw one that nobody can listen in on.
    pub(super) fn detach(&self) {
        let mut state = self.state();
        *state = State { limit: state.limit, ..State::default() };
    }

    pub(super) fn attach<S>(&self, stream: S, binding: fn(&S) -> ChannelBinding) -> Tapped<S> {
        self.detach();
        let mut state = self.state();
        state.is_attached = true;
        state.asked = 1;
        drop(state);
        Tapped {
            stream,
            binding,
            tap: self.clone(),
            sent: Messages::after_an_untagged_one(),
            received: Messages::default(),
            patience: Patience::default(),
        }
    }

    /// No transaction is open, none can be opened by what is still under way, and nothing went
    /// wrong.
    pub(super) fn is_clean(&self) -> bool {
        let state = self.state();
        let is_doubtful = state.is_in_transaction || state.has_erred;
        state.is_attached && state.is_settled() && !is_doubtful
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

    /// If all requests that could open or close a transaction are answered: from here on small
    /// writes are looked at, and not done.
    #[cfg(feature = "tokio-postgres")]
    pub(super) fn hold_writes(&self) -> bool {
        let mut state = self.state();
        state.is_held = state.is_attached && state.is_settled();
        state.is_held
    }

    /// To here. Whether there is one that somebody must do now, by polling the driver again.
    #[cfg(feature = "tokio-postgres")]
    pub(super) fn release_writes(&self) -> bool {
        let mut state = self.state();
        state.is_held = false;
        state.foreseen > 0
    }

    /// No answer may keep its asker waiting for longer.
    #[cfg(feature = "postgres")]
    pub(super) fn set_silence_limit(&self, limit: Option<Duration>) {
        self.state().silence_limit = limit;
    }

    /// Reads fail with [`TimedOut`](io::ErrorKind::TimedOut) from then on.
    #[cfg(feature = "postgres")]
    pub(super) fn set_limit(&self, limit: Option<Instant>) {
        self.state().limit = limit;
    }
}

impl State {
    fn limit(&mut self) -> Option<Instant> {
        if self.limit.is_some() {
            return self.limit;
        }
        let silence = self.silence_limit.filter(|_| self.answered < self.asked)?;
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        since.checked_add(silence)
    }

    fn is_settled(&self) -> bool {
        self.answered >= self.asked_riskily && !self.is_executing && !self.is_blocked
    }

    fn sent(&mut self, tag: u8) {
        let is_sync = tag == b'S';
        match tag {
            b'E' => self.is_executing = true,
            b'c' | b'f' => self.has_copied = true,
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

    fn received(&mut self, tag: u8, first: u8) {
        match tag {
            b'Z' => {
                self.answered = self.asked.min(self.answered + 1);
                self.is_in_transaction = first != b'I';
            }
            b'E' => self.has_erred = true,
            // `CopyInResponse`: the server overhears the `Sync` that came with the `Execute`.
            b'G' if self.ended_with_sync => self.asked = self.asked.saturating_sub(1),
            _ => {}
        }
    }
}

/// The driver goes on taking requests as long as less than 8 KiB wait to be written: of what is
/// shorter, the tap sees all.
const HOLDABLE: usize = 1024;

/// A stream with a tap on it.
#[derive(Debug)]
pub(super) struct Tapped<S> {
    stream: S,
    /// What a secured stream can be bound to; a plain one to nothing.
    binding: fn(&S) -> ChannelBinding,
    tap: Tap,
    sent: Messages,
    received: Messages,
    patience: Patience,
}

/// Waits for the end of a tap's limit.
#[derive(Debug, Default)]
pub(super) struct Patience(Option<Pin<Box<Sleep>>>);

impl Patience {
    /// Ready with an error once the limit has passed.
    pub(super) fn poll(&mut self, tap: &Tap, context: &mut Context<'_>) -> Poll<io::Error> {
        // The timer stays: to put it off costs nothing, to set another one a system call.
        let Some(limit) = tap.state().limit() else { return Poll::Pending };
        let limit = limit.into();
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(limit)));
        if sleep.deadline() != limit {
            sleep.as_mut().reset(limit);
        }
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

impl<S> Tapped<S> {
    /// The stream is not ready: an error once the limit has passed.
    fn or_too_late(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.patience.poll(&self.tap, context).map(Err)
    }

    fn note<T>(&self, result: &io::Result<T>) {
        if result.is_err() {
            self.tap.state().is_gone = true;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        let result = match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Pending => ready!(this.or_too_late(context)),
            Poll::Ready(result) => result,
        };
        this.note(&result);
        let fresh = &buffer.filled()[before..];
        let mut state = this.tap.state();
        state.is_gone |= fresh.is_empty();
        state.silent_since = None;
        this.received.look_at(fresh, |tag, first| state.received(tag, first));
        drop(state);
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut state = this.tap.state();
        if state.is_held && bytes.len() <= HOLDABLE {
            let foreseen = std::mem::replace(&mut state.foreseen, bytes.len());
            let fresh = bytes.get(foreseen..).unwrap_or_default();
            this.sent.look_at(fresh, |tag, _| state.sent(tag));
            return Poll::Pending;
        }
        drop(state);
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        let mut state = this.tap.state();
        let Poll::Ready(result) = polled else {
            state.is_blocked = true;
            drop(state);
            return this.or_too_late(context).map_ok(|()| 0);
        };
        if let Ok(written) = result {
            state.is_blocked = written < bytes.len();
            let foreseen = state.foreseen.min(written);
            state.foreseen -= foreseen;
            this.sent.look_at(&bytes[foreseen..written], |tag, _| state.sent(tag));
        }
        drop(state);
        this.note(&result);
        Poll::Ready(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // The drivers read before they write: only from here on is an answer waited for.
        if let Poll::Ready(Err(late)) = this.or_too_late(context) {
            return Poll::Ready(Err(late));
        }
        let polled = Pin::new(&mut this.stream).poll_flush(context);
        // Until this is through, the driver does not look at what else it was asked.
        this.tap.state().is_blocked = polled.is_pending();
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Tapped<S> {
    fn channel_binding(&self) -> ChannelBinding {
        (self.binding)(&self.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `>` and a tag goes to the server, `<` and a tag comes from it, a `ReadyForQuery` with its
    /// state.
    fn after(conversation: &str) -> State {
        let mut state = State { is_attached: true, asked: 1, ..State::default() };
        state.received(b'Z', b'I');
        for word in conversation.split_whitespace() {
            match word.as_bytes() {
                [b'>', tag] => state.sent(*tag),
                [b'<', tag] => state.received(*tag, 0),
                [b'<', tag, first] => state.received(*tag, *first),
                _ => panic!("{word}"),
            }
        }
        state
    }

    fn is_clean(conversation: &str) -> bool {
        let tap = Tap(Arc::new(Mutex::new(after(conversation))));
        tap.is_clean()
    }

    #[test]
    fn a_connection_is_clean_once_all_that_matters_is_answered_and_no_transaction_is_open() {
        for clean in [
            "",
            ">Q <C <ZI",
            ">Q <ZT >Q <ZI",
            // A prepared query, and its end still under way.
            ">P >D >S <ZI >B >E >S <ZI >C >S",
            // Two at once.
            ">B >E >S >B >E >S <ZI <ZI",
            // A copy: the server overhears its first `Sync`.
            ">B >E >S <G >d >c >S <C <ZI",
        ] {
            assert!(is_clean(clean), "{clean}");
        }
        for unclean in [
            ">Q",
            ">Q <ZT",
            ">Q <ZE",
            ">B >E",
            ">B >E >S",
            ">B >E >S >B >E >S <ZI",
            ">Q >C >S <ZT",
            ">B >E >S >C >S <ZT",
            ">F",
            // In the midst of copies, both ways.
            ">B >E >S <G >d",
            ">B >E >S <H <d",
            ">Q <G",
            // Something failed.
            ">Q <E <ZI",
        ] {
            assert!(!is_clean(unclean), "{unclean}");
        }
    }

    #[test]
    fn answers_that_nobody_asked_for_do_not_count_for_later() {
        assert!(!is_clean("<ZI <ZI <ZI >Q"));
    }

    #[test]
    fn a_copy_that_was_refused_leaves_the_step_in_doubt() {
        let in_doubt = |conversation| {
            let tap = Tap(Arc::new(Mutex::new(after(conversation))));
            tap.may_be_out_of_step()
        };
        // At once, after it was asked for lines, and given up before it was taken up.
        assert!(in_doubt(">B >E >S <E <ZI >f >S"));
        assert!(in_doubt(">B >E >S <G <E <ZI >c >S"));
        assert!(in_doubt(">B >E >S >f >S <G <E <ZI"));
        assert!(!in_doubt(">B >E >S <G >d >c >S <C <ZI"));
        assert!(!in_doubt(">Q <E <ZI"));
    }

    #[test]
    fn what_is_still_to_come_when_all_is_settled_does_not_answer_what_is_asked_later() {
        // A statement ends between the last request and its answer.
        let tap = Tap(Arc::new(Mutex::new(after(">B >E >S <ZI >S >C >S <ZI"))));
        tap.settle();
        let mut state = tap.state();
        state.sent(b'Q');
        state.received(b'Z', b'I');
        assert!(!state.is_settled());
    }
}
