//! An executor that polls what was woken so much later.

use std::future::poll_fn;
use std::pin::pin;
use std::task::ready;
use std::time::Duration;
use tokio::time::sleep;

/// Polls `future` so long `after` it was woken.
pub async fn late<F: Future>(after: Duration, future: F) -> F::Output {
    let mut future = pin!(future);
    // Until then, once it was woken: what wakes it in the meantime only looks at this again.
    let mut wait = None;
    poll_fn(|cx| {
        let wake_up = wait.get_or_insert_with(|| Box::pin(sleep(after)));
        ready!(wake_up.as_mut().poll(cx));
        wait = None;
        future.as_mut().poll(cx)
    })
    .await
}
