//! What a connection's socket is good for beyond the driver: a look at it before a loan, and limits
//! that hold whatever the server does. Where the system has no such sockets, or it was not found,
//! there is neither.

use std::io;
#[cfg(feature = "mysql")]
use std::time::Duration;
use std::time::Instant;

#[cfg(unix)]
use crate::adapters::socket::{Leash, Sight, Socket, Tied};
#[cfg(unix)]
use std::sync::Arc;

/// The socket beneath a connection, if it is known.
#[derive(Clone, Debug, Default)]
pub(in crate::adapters::mysql) struct Line {
    #[cfg(unix)]
    socket: Option<Arc<Socket>>,
}

/// Until it is dropped, the connection is cut once its limit has passed.
#[must_use]
#[derive(Debug, Default)]
pub(in crate::adapters::mysql) struct Limit {
    #[cfg(unix)]
    #[cfg_attr(not(feature = "mysql"), expect(dead_code, reason = "it counts that it is there"))]
    leash: Option<Leash>,
}

#[cfg(unix)]
impl Line {
    pub(in crate::adapters::mysql) fn of(socket: Option<Socket>) -> Self {
        Self { socket: socket.map(Arc::new) }
    }

    /// Whether the server has hung up, or has said something that it was not asked for: the next
    /// answer would be taken for another one's.
    pub(in crate::adapters::mysql) fn is_dead(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.look() != Sight::Quiet)
    }

    /// The port of its own end, if it is known to have one.
    pub(in crate::adapters::mysql) fn local_port(&self) -> Option<u16> {
        self.socket.as_ref().and_then(|socket| socket.local_port())
    }

    /// Nothing waits for the server any more, not even a goodbye.
    #[cfg(feature = "mysql")]
    pub(in crate::adapters::mysql) fn cut(&self) {
        self.socket.iter().for_each(|socket| socket.shut_down());
    }

    /// # Errors
    ///
    /// Returns the system's error if it has no thread left to watch.
    pub(in crate::adapters::mysql) fn until(&self, limit: Instant) -> io::Result<Limit> {
        let tied = self.socket.clone().map(Tied::Known);
        Ok(Limit { leash: tied.map(|tied| Leash::until(limit, tied)).transpose()? })
    }
}

#[cfg(not(unix))]
impl Line {
    pub(in crate::adapters::mysql) fn is_dead(&self) -> bool {
        false
    }

    pub(in crate::adapters::mysql) fn local_port(&self) -> Option<u16> {
        None
    }

    #[cfg(feature = "mysql")]
    pub(in crate::adapters::mysql) fn cut(&self) {}

    pub(in crate::adapters::mysql) fn until(&self, _: Instant) -> io::Result<Limit> {
        Ok(Limit {})
    }
}

impl Line {
    /// Without a limit if no moment is so far off.
    ///
    /// # Errors
    ///
    /// Returns the system's error if it has no thread left to watch.
    #[cfg(feature = "mysql")]
    pub(in crate::adapters::mysql) fn within(&self, timeout: Duration) -> io::Result<Limit> {
        match Instant::now().checked_add(timeout) {
            Some(limit) => self.until(limit),
            None => Ok(Limit::default()),
        }
    }
}

#[cfg(feature = "mysql")]
impl Limit {
    /// Whether it was kept.
    pub(in crate::adapters::mysql) fn end(self) -> bool {
        #[cfg(unix)]
        return self.leash.is_none_or(Leash::end);
        #[cfg(not(unix))]
        true
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    #[test]
    #[ignore = "measures, and so needs a release build on a quiet machine"]
    fn soak_a_look_takes_less_than_a_microsecond() {
        const LOOKS: u32 = 1_000_000;
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let line = Line::of(Socket::of(client.as_raw_fd()));
        let begun = Instant::now();
        for _ in 0..LOOKS {
            assert!(!line.is_dead());
        }
        let look = begun.elapsed() / LOOKS;
        println!("a look takes {look:?}");
        assert!(look.as_nanos() < 1_000, "{look:?}");
    }
}
