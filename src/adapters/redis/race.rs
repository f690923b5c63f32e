//! Several attempts, each begun a while after the one before unless that has failed sooner; what
//! succeeds first ends the others.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::time::sleep;

/// So long RFC 8305 has the next attempt wait.
const HEAD_START: Duration = Duration::from_millis(250);

/// # Errors
///
/// Returns the first error that `ends_it`; or else the last, after all attempts have failed.
/// `None`: there was nothing to attempt.
pub(super) async fn race<A, T, E, F>(
    starters: impl IntoIterator<Item = A>,
    attempt: impl Fn(A) -> F,
    left: Duration,
    ends_it: impl Fn(&E) -> bool,
) -> Option<Result<T, E>>
where
    F: Future<Output = Result<T, E>>,
{
    let waiting: Vec<A> = starters.into_iter().collect();
    let shares = u32::try_from(waiting.len()).unwrap_or(u32::MAX).saturating_add(1);
    let head_start = HEAD_START.min(left / shares);
    let mut waiting = waiting.into_iter();
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    let mut failure = None;
    loop {
        match waiting.next() {
            Some(starter) => running.push(Box::pin(attempt(starter))),
            None if running.is_empty() => return failure.map(Err),
            None => {}
        }
        let mut next = pin!(sleep(head_start));
        let has_next = waiting.len() > 0;
        let ended = poll_fn(|context| {
            for at in 0..running.len() {
                if let Poll::Ready(outcome) = running[at].as_mut().poll(context) {
                    drop(running.swap_remove(at));
                    return Poll::Ready(Some(outcome));
                }
            }
            match next.as_mut().poll(context) {
                Poll::Ready(()) if has_next => Poll::Ready(None),
                _ => Poll::Pending,
            }
        });
        match ended.await {
            Some(Ok(winner)) => return Some(Ok(winner)),
            Some(Err(error)) if ends_it(&error) => return Some(Err(error)),
            Some(Err(error)) => failure = Some(error),
            None => {}
        }
    }
}
