//! How a socket is found among those of the process.

use super::Socket;
use rustix::net::sockopt::tcp_user_timeout;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// About what the system itself waits for the receipt of what it has sent.
const DEFAULT: Duration = Duration::from_secs(15 * 60);
/// So many marks are told apart, a millisecond each.
const MARKS: u32 = 1 << 15;

/// A TCP user timeout that no other socket of the process has, unless there are tens of thousands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::adapters) struct Mark(u32);

impl Mark {
    /// A little more than `timeout`, or else than what the system would wait anyway.
    pub(in crate::adapters) fn above(timeout: Option<Duration>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // O11: a counter.
        let number = 1 + NEXT.fetch_add(1, Ordering::Relaxed) % MARKS;
        let timeout = timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(DEFAULT);
        let most = u128::from(u32::MAX / 2);
        Self(timeout.as_millis().min(most) as u32 + number)
    }

    /// What the driver is to set.
    pub(in crate::adapters) fn user_timeout(self) -> Duration {
        Duration::from_millis(self.0.into())
    }

    /// The socket on which the driver has set it. Some system calls for each socket of the process.
    pub(in crate::adapters) fn find(self) -> Option<Socket> {
        let descriptors = fs::read_dir("/proc/self/fd").ok()?.flatten();
        let mut sockets =
            descriptors.filter(|entry| is_socket(&entry.path())).filter_map(|entry| {
                let number = entry.file_name().to_str()?.parse().ok()?;
                let socket = Socket::of(number)?;
                let is_marked = tcp_user_timeout(&socket.0).is_ok_and(|timeout| timeout == self.0);
                is_marked.then_some(socket)
            });
        sockets.next()
    }
}

fn is_socket(descriptor: &Path) -> bool {
    let target = fs::read_link(descriptor).unwrap_or_default();
    target.to_str().is_some_and(|target| target.starts_with("socket:"))
}
