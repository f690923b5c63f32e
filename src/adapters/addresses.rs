//! A name with several addresses: in which order they are tried, and how they share the time.
#![allow(dead_code, reason = "no driver needs all of it")]

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// With a port or without.
pub(super) trait Address: Copy + PartialEq {
    fn is_v6(&self) -> bool;
}

impl Address for IpAddr {
    fn is_v6(&self) -> bool {
        self.is_ipv6()
    }
}

impl Address for SocketAddr {
    fn is_v6(&self) -> bool {
        self.is_ipv6()
    }
}

/// Without those that are named twice.
pub(super) fn distinct<A: Address>(found: impl IntoIterator<Item = A>) -> Vec<A> {
    let mut distinct = Vec::new();
    for address in found {
        if !distinct.contains(&address) {
            distinct.push(address);
        }
    }
    distinct
}

/// Each once, the families by turns as RFC 8305 says, beginning with that of the first, which the
/// system prefers; each family in its order.
pub(super) fn by_turns<A: Address>(found: impl IntoIterator<Item = A>) -> Vec<A> {
    let found = distinct(found);
    let begins_with_v6 = found.first().is_some_and(A::is_v6);
    let mut turns = Vec::with_capacity(found.len());
    let (first, second): (Vec<A>, Vec<A>) =
        found.into_iter().partition(|address| address.is_v6() == begins_with_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let before = turns.len();
        turns.extend(first.next());
        turns.extend(second.next());
        if turns.len() == before {
            return turns;
        }
    }
}

/// The address that has served last is tried first.
#[derive(Debug)]
pub(super) struct Favourite<A>(Mutex<Option<A>>);

impl<A> Default for Favourite<A> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<A: Address> Favourite<A> {
    /// The favourite, and then the others [by turns](by_turns).
    pub(super) fn in_order(&self, found: impl IntoIterator<Item = A>) -> Vec<A> {
        let mut order = by_turns(found);
        self.put_first(&mut order);
        order
    }

    pub(super) fn put_first(&self, addresses: &mut [A]) {
        let favourite = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = favourite.and_then(|own| addresses.iter().position(|address| *address == own));
        if let Some(at) = at {
            addresses[..=at].rotate_right(1);
        }
    }

    pub(super) fn set(&self, address: A) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }
}

/// What the next of several attempts gets of the time that is left.
pub(super) fn share(left: Duration, attempts: usize) -> Duration {
    left / u32::try_from(attempts.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_each_address_is_named_once() {
        for (found, expected) in [
            (
                &["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"][..],
                &["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"][..],
            ),
            (&["1.0.0.1", "::1", "::2"], &["1.0.0.1", "::1", "::2"]),
            (&["1.0.0.1", "1.0.0.2"], &["1.0.0.1", "1.0.0.2"]),
            (&["::1", "::2", "1.0.0.1", "::1"], &["::1", "1.0.0.1", "::2"]),
            (&[], &[]),
        ] {
            assert_eq!(by_turns(addresses(found)), addresses(expected));
        }
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
    fn families_take_turns_and_what_served_last_comes_first() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let found = ["[::1]:1", "[::2]:1", "127.0.0.1:1", "[::1]:1", "127.0.0.2:1"].map(parse);
        let favourite = Favourite::default();
        let order = ["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1"].map(parse);
        assert_eq!(favourite.in_order(found), order);
        favourite.set(parse("[::2]:1"));
        let order = ["[::2]:1", "[::1]:1", "127.0.0.1:1", "127.0.0.2:1"].map(parse);
        assert_eq!(favourite.in_order(found), order);
    }

    #[test]
    fn the_last_address_may_take_all_that_is_left() {
        let left = Duration::from_secs(9);
        assert_eq!(share(left, 3), left / 3);
        assert_eq!(share(left, 1), left);
        assert_eq!(share(left, 0), left);
    }
}
