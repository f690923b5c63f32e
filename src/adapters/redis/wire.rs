//! The stream beneath a connection of the driver for tasks, where it is made by this crate.

use super::answers::{Answers, BOUND};
use super::link::Link;
use redis::io::tcp::{TcpSettings, socket2::SockRef};
use redis::{Pipeline, RedisResult, Value};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// Says when the driver has let go of it, and limits what is read of a server that no borrower has
/// asked for anything.
pub(super) struct Wire {
    stream: Stream,
    state: Arc<State>,
}

enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// What outlives the stream.
#[derive(Debug)]
pub(super) struct State {
    /// In bytes.
    heard: AtomicUsize,
    is_gone: AtomicBool,
    /// How much may have come in all.
    allowed: AtomicUsize,
}

impl State {
    /// Of a server that has not shown yet that it is one.
    fn new() -> Self {
        let (heard, is_gone) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { heard, is_gone, allowed: AtomicUsize::new(2 * BOUND) }
    }

    /// How much has come so far. After an answer, that counts at least all of the answer.
    pub(super) fn heard(&self) -> usize {
        // O11: what hands the answer over orders this, too.
        self.heard.load(Ordering::Relaxed)
    }

    /// Whether the driver has dropped the stream.
    pub(super) fn is_gone(&self) -> bool {
        // O11: what is found a moment late is found at the next look.
        self.is_gone.load(Ordering::Relaxed)
    }

    /// How much may be read from now on; `None`: there is no limit.
    pub(super) fn allow(&self, more: Option<usize>) {
        let allowed = more.map_or(usize::MAX, |more| self.heard().saturating_add(more));
        // O11: what is asked next hands it over.
        self.allowed.store(allowed, Ordering::Relaxed);
    }
}

impl Wire {
    pub(super) async fn tcp(address: SocketAddr, settings: &TcpSettings) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(settings.nodelay())?;
        let socket = SockRef::from(&stream);
        if let Some(keepalive) = settings.keepalive() {
            socket.set_tcp_keepalive(keepalive)?;
        }
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        socket.set_tcp_user_timeout(settings.user_timeout())?;
        Ok(Self::new(Stream::Tcp(stream)))
    }

    #[cfg(unix)]
    pub(super) async fn unix(path: &std::path::Path) -> io::Result<Self> {
        Ok(Self::new(Stream::Unix(UnixStream::connect(path).await?)))
    }

    fn new(stream: Stream) -> Self {
        Self { stream, state: Arc::new(State::new()) }
    }

    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    pub(super) fn link(&self) -> Link {
        #[cfg(unix)]
        return Link::to(match &self.stream {
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
        });
        #[cfg(not(unix))]
        Link::default()
    }

    /// Sends all commands at once and reads an answer for each. What the server has said is read
    /// even if it takes no questions any more.
    pub(super) async fn exchange(&mut self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        let packed = commands.get_packed_pipeline();
        let mut unsent = &packed[..];
        let mut answers = Answers::expecting(commands.len());
        loop {
            let mut bytes = [0_u8; 4096];
            let heard = poll_fn(|context| {
                while !unsent.is_empty() {
                    match Pin::new(&mut *self).poll_write(context, unsent) {
                        Poll::Ready(Ok(sent)) => unsent = &unsent[sent..],
                        Poll::Ready(Err(_)) => unsent = &[],
                        Poll::Pending => break,
                    }
                }
                let mut buffer = ReadBuf::new(&mut bytes);
                ready!(Pin::new(&mut *self).poll_read(context, &mut buffer))?;
                Poll::Ready(io::Result::Ok(buffer.filled().len()))
            });
            match heard.await {
                Ok(0) => return Err(answers.hung_up()),
                Ok(length) => {
                    if answers.hear(&bytes[..length])? {
                        return answers.into_values();
                    }
                }
                Err(error) => return Err(answers.reason(error)),
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // O11: see its reader.
        self.state.is_gone.store(true, Ordering::Relaxed);
    }
}

/// Calls the one stream or the other.
macro_rules! with_stream {
    ($wire:expr, $stream:ident => $call:expr) => {
        match &mut $wire.get_mut().stream {
            Stream::Tcp($stream) => $call,
            #[cfg(unix)]
            Stream::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(with_stream!(self.as_mut(), stream => Pin::new(stream).poll_read(context, buffer)))?;
        let more = buffer.filled().len() - before;
        // O11: nothing else adds to it; see its reader.
        let heard = self.state.heard.fetch_add(more, Ordering::Relaxed).wrapping_add(more);
        // O11: see its writer.
        if heard > self.state.allowed.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        with_stream!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, stream => Pin::new(stream).poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with_stream!(self, stream => Pin::new(stream).poll_write_vectored(context, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
