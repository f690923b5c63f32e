//! Which socket a driver has connected to a server's file. Such sockets have no setting that could
//! mark them, but they are connected at once or not at all: so of those that the process has then,
//! it is the one that was not there a moment before.

use crate::adapters::socket::Socket;
use crate::fork::{Own, PerProcess};
use rustix::net::{SocketAddrUnix, getpeername};
use std::collections::HashSet;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// No connect has the turn for that long, unless the machine stands still. Then there is no socket
/// to look at.
const PATIENCE: Duration = Duration::from_millis(200);

/// The sockets of the process before one is connected. Until it is dropped, the crate connects no
/// other to a file.
#[derive(Debug)]
pub(super) struct Before {
    sockets: HashSet<PathBuf>,
    /// How the name of the server's file ends.
    name: String,
    _turn: Turn,
}

impl Before {
    pub(super) fn of(port: u16) -> Option<Self> {
        let turn = Turn::take()?;
        let sockets = sockets().map(|(_, socket)| socket).collect();
        Some(Self { sockets, name: format!(".s.PGSQL.{port}"), _turn: turn })
    }

    /// The one that was not there before. `None`: other code has connected one as well.
    pub(super) fn find(self) -> Option<Socket> {
        let fresh = sockets().filter(|(_, socket)| !self.sockets.contains(socket));
        let mut found = fresh.filter_map(|(number, name)| {
            let socket = Socket::of(number)?;
            let is_it = what_is(socket.as_fd().as_raw_fd()).as_ref() == Some(&name);
            (is_it && self.is_of_server(&socket)).then_some(socket)
        });
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    fn is_of_server(&self, socket: &Socket) -> bool {
        let peer = getpeername(socket).ok().flatten();
        let peer = peer.and_then(|peer| SocketAddrUnix::try_from(peer).ok());
        let file = peer.as_ref().and_then(SocketAddrUnix::path_bytes);
        file.is_some_and(|file| file.ends_with(self.name.as_bytes()))
    }
}

/// The numbers of descriptors, and what tells their sockets apart.
fn sockets() -> impl Iterator<Item = (i32, PathBuf)> {
    let descriptors = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    descriptors.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        what_is(number).map(|socket| (number, socket))
    })
}

/// `None`: no socket.
fn what_is(number: i32) -> Option<PathBuf> {
    let target = fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
    target.to_str()?.starts_with("socket:").then_some(target)
}

#[derive(Debug, Default)]
struct Turns {
    is_taken: Mutex<bool>,
    is_free: Condvar,
}

#[derive(Debug)]
struct Turn(Arc<Own<Turns>>);

static TURNS: PerProcess<Turns> = PerProcess::new();

impl Turn {
    fn take() -> Option<Self> {
        let turns = TURNS.get();
        let is_taken = turns.is_taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = turns.is_free.wait_timeout_while(is_taken, PATIENCE, |taken| *taken);
        let (mut is_taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let was_taken = std::mem::replace(&mut *is_taken, true);
        drop(is_taken);
        (!was_taken).then(|| Self(turns))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.is_taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.is_free.notify_one();
    }
}
