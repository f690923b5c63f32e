//! Several addresses of one host, raced as RFC 8305 says: a family of addresses that leads nowhere
//! costs a moment, not the whole time.

use std::collections::hash_map::RandomState;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::IpAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The head start of each address before the next (its "Connection Attempt Delay").
pub(super) const HEAD_START: Duration = Duration::from_millis(250);

/// The families by turns, beginning with the first address's; each in its order.
pub(super) fn by_turns(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let is_first = |address: &&IpAddr| {
        addresses.first().is_some_and(|first| first.is_ipv6() == address.is_ipv6())
    };
    let mut first = addresses.iter().filter(is_first);
    let mut other = addresses.iter().filter(|address| !is_first(address));
    let mut turns = Vec::new();
    loop {
        let before = turns.len();
        turns.extend(first.next());
        turns.extend(other.next());
        if turns.len() == before {
            return turns;
        }
    }
}

/// Beginning anywhere.
pub(super) fn anywhere(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let any = RandomState::new().build_hasher().finish();
    let length = addresses.len().max(1);
    addresses.rotate_left((any % length as u64) as usize);
    addresses
}

/// The first success. The next attempt begins when one has failed, or the last begun has had its
/// head start; those that have lost are dropped. With no success, the last failure.
pub(super) async fn race<F, T, E>(
    first: F,
    rest: impl IntoIterator<Item = F>,
    head_start: Duration,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut running: Vec<Pin<Box<F>>> = vec![Box::pin(first)];
    let mut rest = rest.into_iter().fuse();
    let mut timer = Box::pin(sleep(head_start));
    poll_fn(|context| {
        loop {
            let mut failure = None;
            let mut at = 0;
            while let Some(attempt) = running.get_mut(at) {
                match attempt.as_mut().poll(context) {
                    Poll::Ready(Ok(success)) => return Poll::Ready(Ok(success)),
                    Poll::Ready(Err(error)) => {
                        failure = Some(error);
                        drop(running.remove(at));
                    }
                    Poll::Pending => at += 1,
                }
            }
            if failure.is_none() && timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            match (rest.next(), failure) {
                (Some(next), _) => running.push(Box::pin(next)),
                (None, Some(failure)) if running.is_empty() => return Poll::Ready(Err(failure)),
                (None, _) => return Poll::Pending,
            }
            timer.as_mut().reset(Instant::now() + head_start);
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(future)
    }

    async fn attempt(what: &'static str) -> Result<&'static str, &'static str> {
        match what.split_once(' ') {
            Some(("mute", _)) => pending().await,
            Some(("refused", _)) => Err(what),
            _ => Ok(what),
        }
    }

    #[test]
    fn the_first_that_answers_wins_whatever_became_of_those_before() {
        for (attempts, expected) in [
            (vec!["good 1", "good 2"], Ok("good 1")),
            (vec!["mute 1", "good 2"], Ok("good 2")),
            (vec!["refused 1", "mute 2", "good 3"], Ok("good 3")),
            (vec!["mute 1", "refused 2", "good 3"], Ok("good 3")),
            (vec!["refused 1", "refused 2"], Err("refused 2")),
            (vec!["refused 1"], Err("refused 1")),
        ] {
            let mut attempts = attempts.into_iter().map(attempt);
            let first = attempts.next().unwrap();
            assert_eq!(run(race(first, attempts, Duration::from_millis(10))), expected);
        }
    }

    #[test]
    fn a_refusal_does_not_wait_for_the_head_start() {
        let begun = std::time::Instant::now();
        let attempts = ["refused 1", "refused 2", "good 3"].map(attempt);
        let [first, rest @ ..] = attempts;
        assert_eq!(run(race(first, rest, Duration::from_secs(60))), Ok("good 3"));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn families_take_turns() {
        let turns = |text: &str| {
            let addresses: Vec<IpAddr> =
                text.split(' ').map(|address| address.parse().unwrap()).collect();
            by_turns(&addresses).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(turns("::1 ::2 ::3 1.0.0.1 1.0.0.2"), "::1 1.0.0.1 ::2 1.0.0.2 ::3");
        assert_eq!(turns("1.0.0.1 ::1 ::2"), "1.0.0.1 ::1 ::2");
        assert_eq!(turns("1.0.0.1 1.0.0.2"), "1.0.0.1 1.0.0.2");
        assert!(by_turns(&[]).is_empty());
        let mut all = anywhere(by_turns(&["::1".parse().unwrap(), "::2".parse().unwrap()]));
        all.sort_unstable();
        assert_eq!(all.len(), 2);
    }
}
