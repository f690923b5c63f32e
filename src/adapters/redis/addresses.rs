//! A name with several addresses: in which order they are tried, and how they share the limit.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Remembers which address has served last.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    last: Mutex<Option<SocketAddr>>,
}

impl Addresses {
    /// What served last comes first; then the families take turns, as RFC 8305 says, beginning with
    /// that which the system prefers.
    pub(super) fn in_order(&self, found: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        let mut found: Vec<SocketAddr> = found.into_iter().collect();
        let mut unique = Vec::with_capacity(found.len());
        found.retain(|address| {
            let is_new = !unique.contains(address);
            unique.push(*address);
            is_new
        });
        let prefers_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
        let (first, second): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|address| address.is_ipv6() == prefers_v6);
        let (mut first, mut second) = (first.into_iter(), second.into_iter());
        let mut order = Vec::with_capacity(unique.len());
        loop {
            let pair = [first.next(), second.next()];
            if pair == [None, None] {
                break;
            }
            order.extend(pair.into_iter().flatten());
        }
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = order.iter().position(|address| Some(*address) == last) {
            order[..=at].rotate_right(1);
        }
        order
    }

    pub(super) fn note(&self, served: SocketAddr) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(served);
    }
}

/// How much of what is left the first of so many addresses may take.
pub(super) fn share(left: Duration, addresses: usize) -> Duration {
    left / u32::try_from(addresses.max(1)).unwrap_or(u32::MAX)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_what_served_last_comes_first() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let found = ["[::1]:1", "[::2]:1", "127.0.0.1:1", "[::1]:1", "127.0.0.2:1"].map(parse);
        let addresses = Addresses::default();
        let order = ["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1"].map(parse);
        assert_eq!(addresses.in_order(found), order);
        addresses.note(parse("[::2]:1"));
        let order = ["[::2]:1", "[::1]:1", "127.0.0.1:1", "127.0.0.2:1"].map(parse);
        assert_eq!(addresses.in_order(found), order);
    }

    #[test]
    fn the_last_address_may_take_all_that_is_left() {
        let left = Duration::from_secs(9);
        assert_eq!(share(left, 3), left / 3);
        assert_eq!(share(left, 1), left);
    }
}
