//! Several attempts, raced as RFC 8305 says: a family of addresses that leads nowhere costs a
//! moment, not the whole time.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The head start of each attempt before the next (its "Connection Attempt Delay").
pub(super) const HEAD_START: Duration = Duration::from_millis(250);

/// The first success. The next attempt begins when one has failed, or the last begun has had its
/// head start; those that have lost are dropped. With no success, the first failure that `ends_it`,
/// or else the last. `None`: there was nothing to attempt.
pub(super) async fn race<F, T, E>(
    attempts: impl IntoIterator<Item = F>,
    head_start: Duration,
    ends_it: impl Fn(&E) -> bool,
) -> Option<Result<T, E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut rest = attempts.into_iter().fuse();
    let mut running: Vec<Pin<Box<F>>> = vec![Box::pin(rest.next()?)];
    let mut timer = Box::pin(sleep(head_start));
    poll_fn(|context| {
        loop {
            let mut failure = None;
            let mut at = 0;
            while let Some(attempt) = running.get_mut(at) {
                match attempt.as_mut().poll(context) {
                    Poll::Ready(Ok(success)) => return Poll::Ready(Some(Ok(success))),
                    Poll::Ready(Err(error)) if ends_it(&error) => {
                        return Poll::Ready(Some(Err(error)));
                    }
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
                (None, Some(failure)) if running.is_empty() => {
                    return Poll::Ready(Some(Err(failure)));
                }
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
            let attempts = attempts.into_iter().map(attempt);
            let outcome = run(race(attempts, Duration::from_millis(10), |_| false));
            assert_eq!(outcome, Some(expected));
        }
    }

    #[test]
    fn a_refusal_does_not_wait_for_the_head_start() {
        let begun = std::time::Instant::now();
        let attempts = ["refused 1", "refused 2", "good 3"].map(attempt);
        let outcome = run(race(attempts, Duration::from_secs(60), |_| false));
        assert_eq!(outcome, Some(Ok("good 3")));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_failure_that_ends_it_is_the_outcome() {
        let attempts = ["mute 1", "refused 2", "good 3"].map(attempt);
        let outcome = run(race(attempts, Duration::from_millis(10), |_| true));
        assert_eq!(outcome, Some(Err("refused 2")));
    }

    #[test]
    fn of_no_attempt_nothing_comes() {
        let attempts: [std::future::Ready<Result<(), ()>>; 0] = [];
        assert_eq!(run(race(attempts, HEAD_START, |()| false)), None);
    }
}
