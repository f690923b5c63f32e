//! The socket beneath a connection, where the system lets it be known: a look at it before a loan,
//! and limits that hold against a server that trickles.

#[cfg(unix)]
use crate::adapters::socket::{Leash, Sight, Socket, Tied};
#[cfg(target_os = "linux")]
use crate::adapters::socket::{Mark, find_by_read_timeout};
use redis::{ConnectionInfo, RedisResult};
#[cfg(all(unix, feature = "redis-tokio"))]
use std::os::fd::RawFd;
#[cfg(unix)]
use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What may come on an idle connection unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unasked {
    /// Nothing: there is one answer to each command. What comes is one too many.
    Nothing,
    /// Pushed messages.
    Pushes,
    /// What cannot be read by us.
    Anything,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Link {
    #[cfg(unix)]
    socket: Option<Arc<Socket>>,
}

impl Link {
    /// To the socket of an open descriptor.
    #[cfg(all(unix, feature = "redis-tokio"))]
    pub(super) fn to(descriptor: RawFd) -> Self {
        Self { socket: Socket::of(descriptor).map(Arc::new) }
    }

    /// To the socket of a driver that tells nothing of it, but sets a timeout for its reads.
    /// Afterwards there is none.
    pub(super) fn by_read_timeout(
        set: impl Fn(Option<Duration>) -> RedisResult<()>,
    ) -> RedisResult<Self> {
        #[cfg(target_os = "linux")]
        {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            // O11: a counter.
            let number = NEXT.fetch_add(1, Ordering::Relaxed) % 1_000_000;
            let timeout = Duration::from_secs(1_000_000 + number);
            set(Some(timeout))?;
            let socket = find_by_read_timeout(timeout).map(Arc::new);
            set(None)?;
            Ok(Self { socket })
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = set;
            Ok(Self::default())
        }
    }

    pub(super) fn is_known(&self) -> bool {
        #[cfg(unix)]
        return self.socket.is_some();
        #[cfg(not(unix))]
        false
    }

    #[cfg(unix)]
    pub(super) fn socket(&self) -> Option<&Socket> {
        self.socket.as_deref()
    }

    /// Whether the server has hung up, or has said what it was not asked. Does not wait.
    pub(super) fn has_ended(&self, unasked: Unasked) -> bool {
        #[cfg(unix)]
        if let Some(socket) = &self.socket {
            return match socket.look() {
                Sight::Quiet => false,
                Sight::HungUp => true,
                Sight::Data => match unasked {
                    Unasked::Nothing => true,
                    Unasked::Pushes => !begins_a_push(socket),
                    Unasked::Anything => false,
                },
            };
        }
        let _ = unasked;
        false
    }

    /// Ends all that waits for the server.
    #[cfg(feature = "redis-tokio")]
    pub(super) fn shut_down(&self) {
        #[cfg(unix)]
        if let Some(socket) = &self.socket {
            socket.shut_down();
        }
    }

    /// Shuts the socket down once the limit has passed, until what it returns is
    /// [let go](Limit::end). Without a known socket, this does nothing.
    pub(super) fn limit(&self, limit: Option<Instant>) -> Limit {
        #[cfg(unix)]
        if let (Some(socket), Some(limit)) = (&self.socket, limit) {
            return Limit { leash: Leash::until(limit, Tied::Known(Arc::clone(socket))).ok() };
        }
        let _ = limit;
        Limit::default()
    }
}

#[cfg(unix)]
fn begins_a_push(socket: &Socket) -> bool {
    use rustix::net::{RecvFlags, recv};
    let mut byte = [0_u8];
    let peeked = recv(socket, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    peeked.is_ok() && byte == *b">"
}

/// See [`Link::limit`].
#[must_use]
#[derive(Debug, Default)]
pub(super) struct Limit {
    #[cfg(unix)]
    leash: Option<Leash>,
}

impl Limit {
    pub(super) fn is_enforced(&self) -> bool {
        #[cfg(unix)]
        return self.leash.is_some();
        #[cfg(not(unix))]
        false
    }

    /// The call is over. False: the limit had passed, and the socket is of no use any more.
    pub(super) fn end(self) -> bool {
        #[cfg(unix)]
        return self.leash.is_none_or(Leash::end);
        #[cfg(not(unix))]
        true
    }
}

/// A socket that a driver is about to make.
#[derive(Debug)]
pub(super) struct Unborn {
    #[cfg(target_os = "linux")]
    mark: Mark,
    /// What the socket is to have instead of the mark.
    #[cfg(target_os = "linux")]
    user_timeout: Option<Duration>,
}

impl Unborn {
    /// Has the driver mark its socket, and answers with what to tell the driver.
    pub(super) fn mark(info: ConnectionInfo) -> (Self, ConnectionInfo) {
        #[cfg(target_os = "linux")]
        {
            let settings = info.tcp_settings().clone();
            let user_timeout = settings.user_timeout();
            let mark = Mark::instead_of(user_timeout);
            let settings = settings.set_user_timeout(mark.user_timeout());
            (Self { mark, user_timeout }, info.set_tcp_settings(settings))
        }
        #[cfg(not(target_os = "linux"))]
        (Self {}, info)
    }

    /// As [`Link::limit`], for the time in which the driver connects.
    pub(super) fn limit(&self, limit: Option<Instant>) -> Limit {
        #[cfg(target_os = "linux")]
        if let Some(limit) = limit {
            return Limit { leash: Leash::until(limit, Tied::Marked(self.mark)).ok() };
        }
        let _ = limit;
        Limit::default()
    }

    /// The driver has connected.
    pub(super) fn find(&self) -> Link {
        #[cfg(target_os = "linux")]
        {
            let socket = self.mark.find();
            let socket = socket.inspect(|socket| Mark::replace(socket, self.user_timeout));
            Link { socket: socket.map(Arc::new) }
        }
        #[cfg(not(target_os = "linux"))]
        Link::default()
    }
}

/// The moment so far from now. `None`: none that the clock can tell.
pub(super) fn after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
