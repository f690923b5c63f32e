//! The addresses of a name.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

/// The addresses of a name, asked for on a thread of its own: the system knows no limit for that.
/// The thread ends when the system answers.
pub(super) fn look_up(host: &str, port: u16, limit: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    let (sender, receiver) = channel();
    let host = host.to_owned();
    thread::Builder::new().name("caliburn-look-up".into()).spawn(move || {
        let found = (&*host, port).to_socket_addrs().map(Iterator::collect);
        // The receiver is gone if it took too long.
        let _ = sender.send(found);
    })?;
    let left = limit.saturating_duration_since(Instant::now());
    receiver.recv_timeout(left).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
