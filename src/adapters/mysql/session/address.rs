//! Where a server is: the addresses behind its name, and whether the way to it can be overheard.

use crate::adapters::addresses::by_turns;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};

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
    let addresses = by_turns((host, 0).to_socket_addrs()?.map(|address| address.ip()));
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

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
