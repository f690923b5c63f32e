//! A stream with a [`Tap`] on it.

use super::messages::Messages;
use super::named::{wanted_of_received, wanted_of_sent};
use super::tap::{Tap, Turn};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

/// While so many bytes wait to be written, the driver takes no more requests: what is still in its
/// queue the tap does not see. (The bound of `tokio_util`'s `Framed`.)
const QUEUE_BEGINS: usize = 8 * 1024;

/// What is said in the server's stead when it has been silent for too long, so that the one who
/// waits learns why: the drivers tell it only that the connection has closed.
const SILENCE: &[u8] = b"E\0\0\0\x68SFATAL\0VFATAL\0C08006\0\
    Mcaliburn: timed out, as the server has said nothing for the response_timeout\0\0";

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Tapped<S> {
    stream: S,
    /// What a secured stream can be bound to; a plain one to nothing.
    binding: fn(&S) -> ChannelBinding,
    tap: Tap,
    sent: Messages,
    received: Messages,
    patience: Patience,
    /// All is over once the server has hung up as well: only then its session has ended, or what a
    /// request to cancel asks for is done.
    has_said_goodbye: bool,
    /// The server was silent for too long, which was said.
    is_given_up: bool,
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
    pub(super) fn on(stream: S, binding: fn(&S) -> ChannelBinding, tap: Tap) -> Self {
        tap.attach();
        Self {
            stream,
            binding,
            tap,
            sent: Messages::after_an_untagged_one(wanted_of_sent),
            received: Messages::new(wanted_of_received),
            patience: Patience::default(),
            has_said_goodbye: false,
            is_given_up: false,
        }
    }

    /// The stream is not ready: an error once the limit has passed.
    fn or_too_late(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A timer can be set only in the runtime, and from there this is polled again.
        if self.tap.state().is_held {
            return Poll::Pending;
        }
        self.patience.poll(&self.tap, context).map(Err)
    }

    /// As [`or_too_late`](Self::or_too_late), where something is written. That the server has been
    /// silent for too long is for the reader to say, which the drivers ask first.
    fn or_too_late_for_all(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.or_too_late(context);
        if polled.is_ready() && !self.tap.state().has_fixed_limit() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        polled
    }

    /// Whether that could be said: not in the middle of another message.
    fn says_why(&self, result: &io::Result<()>, buffer: &mut ReadBuf<'_>) -> bool {
        let is_late = result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
        let is_of_silence = is_late && self.tap.state().has_been_silent();
        if !is_of_silence || !self.received.is_between_two() || buffer.remaining() < SILENCE.len() {
            return false;
        }
        buffer.put_slice(SILENCE);
        true
    }

    fn note<T>(&self, result: &io::Result<T>) {
        if let Err(error) = result {
            self.tap.note_end(Some(error));
        }
    }
}

impl<S: AsyncRead + Unpin> Tapped<S> {
    fn poll_stream(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let turn = self.tap.state().turn();
        match turn {
            Turn::Read => {}
            // What is there to read wakes the task by itself, or has done so.
            Turn::Held => return Poll::Pending,
            Turn::Later => {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Turn::Late => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => {
                self.tap.state().starve();
                self.or_too_late(context)
            }
            Poll::Ready(result) => Poll::Ready(result),
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
        if this.is_given_up {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let mut result = ready!(this.poll_stream(context, buffer));
        if this.says_why(&result, buffer) {
            this.is_given_up = true;
            this.note(&result);
            return Poll::Ready(Ok(()));
        }
        let fresh = &buffer.filled()[before..];
        if result.is_ok() && fresh.is_empty() {
            this.tap.note_end(None);
        }
        let mut state = this.tap.state();
        state.heard(fresh.len());
        this.received.look_at(fresh, |message| state.received(message));
        result = result.and_then(|()| state.check_length());
        drop(state);
        this.note(&result);
        Poll::Ready(result)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut state = this.tap.state();
        if state.is_held {
            state.is_blocked |= bytes.len() >= QUEUE_BEGINS;
            let foreseen = std::mem::replace(&mut state.foreseen, bytes.len());
            let fresh = bytes.get(foreseen..).unwrap_or_default();
            this.sent.look_at(fresh, |message| state.sent(message));
            return Poll::Pending;
        }
        drop(state);
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        let mut state = this.tap.state();
        let Poll::Ready(result) = polled else {
            state.is_blocked = true;
            drop(state);
            return this.or_too_late_for_all(context).map_ok(|()| 0);
        };
        if let Ok(written) = result {
            state.is_blocked = written < bytes.len();
            let foreseen = state.foreseen.min(written);
            state.foreseen -= foreseen;
            this.sent.look_at(&bytes[foreseen..written], |message| state.sent(message));
        }
        drop(state);
        this.note(&result);
        Poll::Ready(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // The drivers read before they write: only from here on is an answer waited for.
        if let Poll::Ready(Err(late)) = this.or_too_late_for_all(context) {
            this.tap.note_end(Some(&late));
            return Poll::Ready(Err(late));
        }
        let polled = Pin::new(&mut this.stream).poll_flush(context);
        // Until this is through, the driver does not look at what else it was asked.
        this.tap.state().is_blocked = polled.is_pending();
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_said_goodbye {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.has_said_goodbye = true;
        }
        loop {
            let mut byte = [0];
            let mut buffer = ReadBuf::new(&mut byte);
            let read = ready!(self.poll_stream(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Tapped<S> {
    fn channel_binding(&self) -> ChannelBinding {
        (self.binding)(&self.stream)
    }
}
