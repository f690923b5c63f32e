//! How a socket is found among those of the process.

use super::Socket;
use rustix::net::sockopt::{
    set_tcp_user_timeout, socket_keepalive, tcp_keepidle, tcp_user_timeout,
};
use std::fs;
#[cfg(any(feature = "postgres", feature = "tokio-postgres"))]
use std::os::fd::RawFd;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Where the descriptors of the process are listed.
const DESCRIPTORS: &str = "/proc/self/fd";
/// So many marks are told apart by their user timeout, and the least of them. They lie between four
/// and seven hours and are odd numbers of milliseconds, which no other code sets.
const MARKS: u32 = 1 << 22;
const LEAST: u32 = 1 << 24;
/// So many are told apart by their keepalive: odd numbers of seconds between four and ten hours.
const KEEPALIVE_MARKS: u32 = 1 << 13;
const LEAST_KEEPALIVE: u32 = 1 << 14;

/// A setting that no other socket of the process has, unless thousands are being opened at once. It
/// is to be [replaced](Self::replace) when the socket is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::adapters) enum Mark {
    /// The TCP user timeout, in milliseconds.
    UserTimeout(u32),
    /// When keepalive begins, in seconds.
    Keepalive(u32),
    /// Where no search is possible: the timeout that is wanted, in milliseconds, or 0.
    None(u32),
}

impl Mark {
    /// A user timeout, to be replaced by `timeout`, or else by the system's own.
    pub(in crate::adapters) fn instead_of(timeout: Option<Duration>) -> Self {
        if fs::read_dir(DESCRIPTORS).is_err() {
            return Self::None(millis(timeout));
        }
        Self::UserTimeout(LEAST + 1 + 2 * (next() % MARKS))
    }

    /// For drivers that can be told of no user timeout.
    pub(in crate::adapters) fn by_keepalive() -> Self {
        Self::Keepalive(LEAST_KEEPALIVE + 1 + 2 * (next() % KEEPALIVE_MARKS))
    }

    /// What the driver is to set.
    pub(in crate::adapters) fn user_timeout(self) -> Duration {
        self.setting()
    }

    /// What the driver is to set.
    pub(in crate::adapters) fn setting(self) -> Duration {
        match self {
            Self::UserTimeout(ms) | Self::None(ms) => Duration::from_millis(ms.into()),
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
        Socket::if_it_is(number, |socket| self.is_on(socket))
    }

    /// Takes the mark off again. `None`: the system's own timeout.
    pub(in crate::adapters) fn replace(socket: &Socket, timeout: Option<Duration>) {
        // At worst the mark stays, which is a timeout like any other.
        let _ = set_tcp_user_timeout(socket.as_fd(), millis(timeout));
    }

    fn is_on(self, socket: BorrowedFd<'_>) -> bool {
        match self {
            Self::None(_) => false,
            Self::UserTimeout(ms) => tcp_user_timeout(socket).is_ok_and(|set| set == ms),
            Self::Keepalive(_) => {
                socket_keepalive(socket).unwrap_or(false)
                    && tcp_keepidle(socket).is_ok_and(|set| set == self.setting())
            }
        }
    }
}

fn millis(timeout: Option<Duration>) -> u32 {
    let most = u128::from(u32::MAX / 2);
    timeout.unwrap_or_default().as_millis().min(most) as u32
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

fn find(is_it: impl Fn(BorrowedFd<'_>) -> bool) -> Option<Socket> {
    let descriptors = fs::read_dir(DESCRIPTORS).ok()?.flatten();
    let mut sockets = descriptors.filter(|entry| is_socket(&entry.path())).filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Socket::if_it_is(number, &is_it)
    });
    sockets.next()
}

/// It saves most of the system calls where most descriptors are none.
fn is_socket(descriptor: &Path) -> bool {
    let target = fs::read_link(descriptor).unwrap_or_default();
    target.to_str().is_some_and(|target| target.starts_with("socket:"))
}
