//! How a socket is found among those of the process.

use super::Socket;
#[cfg(any(feature = "postgres", feature = "tokio-postgres"))]
use rustix::net::sockopt::set_tcp_user_timeout;
use rustix::net::sockopt::{socket_keepalive, tcp_keepidle, tcp_user_timeout};
use std::fs;
#[cfg(any(feature = "postgres", feature = "tokio-postgres"))]
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// About what the system itself waits for the receipt of what it has sent.
const DEFAULT: Duration = Duration::from_secs(15 * 60);
/// So many marks are told apart by their user timeout, a millisecond each.
const MARKS: u32 = 1 << 15;
/// So many are told apart by their keepalive, a second each, beginning with as many.
const KEEPALIVE_MARKS: u32 = 1 << 14;

/// A setting that no other socket of the process has, unless there are tens of thousands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::adapters) enum Mark {
    /// The TCP user timeout, in milliseconds.
    UserTimeout(u32),
    /// When keepalive begins, in seconds: hours, so it is to be set anew when the socket is found.
    Keepalive(u32),
}

impl Mark {
    /// A user timeout of a little more than `timeout`, or else than what the system would wait
    /// anyway.
    pub(in crate::adapters) fn above(timeout: Option<Duration>) -> Self {
        let number = 1 + next() % MARKS;
        let timeout = timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(DEFAULT);
        let most = u128::from(u32::MAX / 2);
        Self::UserTimeout(timeout.as_millis().min(most) as u32 + number)
    }

    /// For drivers that can be told of no user timeout.
    pub(in crate::adapters) fn by_keepalive() -> Self {
        Self::Keepalive(KEEPALIVE_MARKS + next() % KEEPALIVE_MARKS)
    }

    /// What the driver is to set.
    pub(in crate::adapters) fn user_timeout(self) -> Duration {
        self.setting()
    }

    /// What the driver is to set.
    pub(in crate::adapters) fn setting(self) -> Duration {
        match self {
            Self::UserTimeout(ms) => Duration::from_millis(ms.into()),
            Self::Keepalive(s) => Duration::from_secs(s.into()),
        }
    }

    /// The socket on which the driver has set it. Some system calls for each socket of the process.
    pub(in crate::adapters) fn find(self) -> Option<Socket> {
        find(|socket| self.is_on(socket))
    }

    /// The socket of that descriptor, if the mark is on it.
    #[cfg(any(feature = "postgres", feature = "tokio-postgres"))]
    pub(in crate::adapters) fn of(self, number: RawFd) -> Option<Socket> {
        Socket::of(number).filter(|socket| self.is_on(socket))
    }

    /// Takes the mark off again. `None`: the system's own timeout.
    #[cfg(any(feature = "postgres", feature = "tokio-postgres"))]
    pub(in crate::adapters) fn replace(socket: &Socket, timeout: Option<Duration>) {
        let most = u128::from(u32::MAX / 2);
        let timeout = timeout.unwrap_or_default().as_millis().min(most) as u32;
        // At worst the mark stays, which is a timeout like any other.
        let _ = set_tcp_user_timeout(&socket.0, timeout);
    }

    fn is_on(self, Socket(socket): &Socket) -> bool {
        match self {
            Self::UserTimeout(ms) => tcp_user_timeout(socket).is_ok_and(|set| set == ms),
            Self::Keepalive(_) => {
                socket_keepalive(socket).unwrap_or(false)
                    && tcp_keepidle(socket).is_ok_and(|set| set == self.setting())
            }
        }
    }
}

fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // O11: a counter.
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The one of all sockets of the process, whatever its kind, whose reads time out after `timeout`:
/// a whole number of seconds, as others are rounded.
#[cfg(feature = "redis")]
pub(in crate::adapters) fn find_by_read_timeout(timeout: Duration) -> Option<Socket> {
    use rustix::net::sockopt::{Timeout, socket_timeout};
    find(|socket| socket_timeout(socket, Timeout::Recv).is_ok_and(|found| found == Some(timeout)))
}

fn find(is_it: impl Fn(&Socket) -> bool) -> Option<Socket> {
    let descriptors = fs::read_dir("/proc/self/fd").ok()?.flatten();
    let mut sockets = descriptors.filter(|entry| is_socket(&entry.path())).filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Socket::of(number).filter(&is_it)
    });
    sockets.next()
}

fn is_socket(descriptor: &Path) -> bool {
    let target = fs::read_link(descriptor).unwrap_or_default();
    target.to_str().is_some_and(|target| target.starts_with("socket:"))
}
