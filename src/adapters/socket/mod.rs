//! The socket beneath a driver's connection: whether the peer has hung up while the connection lay
//! idle, and a way to end a call that blocks on it.
//!
//! Of the drivers only one tells which socket is its own. The others are found by a [`Mark`]: a TCP
//! user timeout that no other socket of the process has, which the driver is told to set.
//!
//! A search looks at descriptors of others, whose numbers may change hands meanwhile. So it
//! duplicates none that it has not seen to be what is looked for, and closes none that has turned
//! out to be something else: to close any descriptor of a file ends all locks (`fcntl`) that the
//! process has on the file.
#![allow(dead_code, reason = "no driver needs all of it")]

#[cfg(target_os = "linux")]
mod mark;
#[cfg(test)]
mod tests;
mod watchdog;

#[cfg(target_os = "linux")]
pub(super) use self::mark::Mark;
#[cfg(all(target_os = "linux", feature = "redis"))]
pub(super) use self::mark::find_by_read_timeout;
pub(super) use self::watchdog::{Leash, Tied};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::sockopt::socket_type;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many descriptors at most are left open for good. See [`keep`].
const MOST_LEFT: usize = 16;

static LEFT: AtomicUsize = AtomicUsize::new(0);

/// A second descriptor for a driver's socket: good for as long as it is kept, whatever the driver
/// does with its own. The peer sees the end of the connection once both are closed.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

/// Has `call` make one system call on a descriptor of that number, whatever it is. `None`: it is
/// no number of a descriptor.
#[allow(unsafe_code)]
fn borrow<T>(number: RawFd, call: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
    if number < 0 {
        return None;
    }
    // SAFETY: -1 was refused above. The descriptor may be closed at any time, and the number given
    // to another file: the owner does not know of us. The borrow ends with `call`, of which there
    // are two kinds, each harmless whatever is open there. Options are read, which changes nothing,
    // and fails for what is no socket. And it is duplicated, which gives us a descriptor of our own
    // and changes nothing for the owner's; what must not be done to such a second descriptor is to
    // close it blindly, and `keep` sees to that. Nothing is read, written or closed by the number.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    Some(call(borrowed))
}

/// The descriptor, if it is a socket's: to close that ends nothing but the descriptor. One of
/// anything else is left open for good, as to close it would end the locks that the process has on
/// the file. This takes a number that changed hands between two system calls, so it is next to
/// never; once it has happened [too often](MOST_LEFT), no more are made.
fn keep(second: OwnedFd) -> Option<OwnedFd> {
    if socket_type(&second).is_ok() {
        return Some(second);
    }
    // O11: a counter.
    LEFT.fetch_add(1, Ordering::Relaxed);
    std::mem::forget(second);
    None
}

/// What can be seen of an idle connection without a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// Nothing has come.
    Quiet,
    /// Something has come that was not asked for.
    Data,
    /// The peer has closed the connection, or the system has given it up.
    HungUp,
}

impl Socket {
    /// Of a descriptor that the caller knows to be open, and to be a socket. `None`: the system has
    /// no room for another one, or no socket of that number is open.
    pub(super) fn of(number: RawFd) -> Option<Self> {
        Self::if_it_is(number, |_| true)
    }

    /// Of that descriptor, if it is open, a socket, and `is_it`. All of them may change at any
    /// time, so they are looked at again once they are ours.
    fn if_it_is(number: RawFd, is_it: impl Fn(BorrowedFd<'_>) -> bool) -> Option<Self> {
        let is_it =
            |descriptor: BorrowedFd<'_>| socket_type(descriptor).is_ok() && is_it(descriptor);
        // O11: a limit that is kept roughly.
        if LEFT.load(Ordering::Relaxed) >= MOST_LEFT || !borrow(number, is_it)? {
            return None;
        }
        let second = borrow(number, |descriptor| fcntl_dupfd_cloexec(descriptor, 0))?.ok()?;
        keep(second).map(Self).filter(|socket| is_it(socket.as_fd()))
    }

    /// One system call that does not wait; two if there is something to read.
    pub(super) fn look(&self) -> Sight {
        let mut byte = [0_u8];
        match recv(&self.0, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => Sight::Quiet,
            Ok((0, _)) | Err(_) => Sight::HungUp,
            // Perhaps a farewell.
            Ok(_) if self.has_hung_up() => Sight::HungUp,
            Ok(_) => Sight::Data,
        }
    }

    /// Whether the peer has said that it will say no more, though there is something to read. Where
    /// the system does not tell, that is seen once it has been read.
    fn has_hung_up(&self) -> bool {
        #[cfg(target_os = "linux")]
        let farewell = PollFlags::RDHUP;
        #[cfg(not(target_os = "linux"))]
        let farewell = PollFlags::empty();
        let mut polled = [PollFd::new(&self.0, farewell)];
        let is_told = poll(&mut polled, Some(&Timespec::default())).is_ok();
        let gone = PollFlags::HUP | PollFlags::ERR | farewell;
        is_told && polled[0].revents().intersects(gone)
    }

    /// The port of its own end.
    pub(super) fn local_port(&self) -> Option<u16> {
        use rustix::net::{SocketAddrAny, getsockname};
        let address: SocketAddrAny = getsockname(&self.0).ok()?;
        std::net::SocketAddr::try_from(address).ok().map(|address| address.port())
    }

    /// Asks after `idle` of silence whether the peer's machine is still there, and gives it up
    /// within about half a minute.
    #[cfg(target_os = "linux")]
    pub(super) fn keep_alive(&self, idle: std::time::Duration) {
        use rustix::net::sockopt as set;
        let _ = set::set_tcp_keepidle(&self.0, idle);
        let _ = set::set_tcp_keepintvl(&self.0, std::time::Duration::from_secs(5));
        let _ = set::set_tcp_keepcnt(&self.0, 3);
        let _ = set::set_tcp_user_timeout(&self.0, 25_000);
    }

    /// Ends all that blocks on it, now and later. What has come by then can still be read.
    pub(super) fn shut_down(&self) {
        let _ = shutdown(&self.0, Shutdown::Both);
    }

    /// The same, and throws away what has come and was not read: a driver would go on with that,
    /// for as long as it lasts.
    fn cut_off(&self) {
        /// More than a system keeps for one socket.
        const MOST: usize = 64 << 20;
        self.shut_down();
        let (mut thrown_away, mut bytes) = (0, vec![0_u8; 1 << 16]);
        while thrown_away < MOST {
            match recv(&self.0, &mut bytes[..], RecvFlags::DONTWAIT) {
                Err(Errno::INTR) => {}
                Ok((0, _)) | Err(_) => break,
                Ok((read, _)) => thrown_away += read,
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
