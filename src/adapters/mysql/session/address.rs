//! Where a server is: the addresses behind its name, how the time for a connect is shared among
//! them, and whether the way to it can be overheard.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};
#[cfg(feature = "mysql")]
use std::time::Duration;

/// Whether nothing that is sent there leaves the machine.
pub(in crate::adapters::mysql) fn is_local(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_loopback)
}

/// The addresses behind `host`, each once: first the system's favourite, and then one of each
/// family in turn.
///
/// # Errors
///
/// Returns the system's error if it knows none.
pub(in crate::adapters::mysql) fn look_up(host: &str) -> io::Result<Vec<IpAddr>> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = (host, 0).to_socket_addrs()?.map(|address: SocketAddr| address.ip());
    let mut addresses = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    }
    Ok(in_turn(addresses))
}

fn in_turn(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let begins_with_ipv6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (mut first, mut second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == begins_with_ipv6);
    first.reverse();
    second.reverse();
    let mut in_turn = Vec::with_capacity(first.len() + second.len());
    while let Some(next) = first.pop().or_else(|| second.pop()) {
        in_turn.push(next);
        std::mem::swap(&mut first, &mut second);
    }
    in_turn
}

/// The address that has answered last is tried first.
#[derive(Debug, Default)]
pub(in crate::adapters::mysql) struct Favourite(Mutex<Option<IpAddr>>);

impl Favourite {
    pub(in crate::adapters::mysql) fn put_first(&self, addresses: &mut [IpAddr]) {
        let favourite = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = favourite.and_then(|own| addresses.iter().position(|address| *address == own));
        if let Some(at) = at {
            addresses[..=at].rotate_right(1);
        }
    }

    pub(in crate::adapters::mysql) fn set(&self, address: IpAddr) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }
}

/// What the next of several attempts gets of the time that is left.
#[cfg(feature = "mysql")]
pub(in crate::adapters::mysql) fn share(left: Duration, attempts: usize) -> Duration {
    left / u32::try_from(attempts).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let found = addresses(&["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"]);
        let expected = addresses(&["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]);
        assert_eq!(in_turn(found), expected);
    }

    #[test]
    fn who_answered_last_is_asked_first() {
        let favourite = Favourite::default();
        let mut found = addresses(&["::1", "10.0.0.1", "::2"]);
        favourite.put_first(&mut found);
        assert_eq!(found, addresses(&["::1", "10.0.0.1", "::2"]));
        favourite.set("::2".parse().unwrap());
        favourite.put_first(&mut found);
        assert_eq!(found, addresses(&["::2", "::1", "10.0.0.1"]));
    }

    #[test]
    fn only_the_machine_itself_is_local() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["db.example", "10.0.0.1", "localhost.example", "", "::2", "0.0.0.0"] {
            assert!(!is_local(host), "{host}");
        }
        assert!(is_local("::ffff:127.0.0.1"));
    }
}
