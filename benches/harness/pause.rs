//! A sleep for tasks as exact as that of a thread: tokio's own timers go by whole milliseconds.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

type Call = (Instant, Waker);

/// One thread keeps them all.
static ALARM: LazyLock<Sender<Call>> = LazyLock::new(|| {
    let (sender, calls) = channel();
    thread::spawn(move || keep(&calls));
    sender
});

pub(crate) fn pause(time: Duration) -> impl Future<Output = ()> + Send {
    let until = Instant::now() + time;
    poll_fn(move |cx| {
        if Instant::now() >= until {
            return Poll::Ready(());
        }
        ALARM.send((until, cx.waker().clone())).expect("the alarm's thread never ends");
        Poll::Pending
    })
}

fn keep(calls: &Receiver<Call>) {
    // Numbered, as two may end at the same time.
    let mut sleepers = BTreeMap::new();
    for number in 0u64.. {
        let first = sleepers.first_key_value().map(|((until, _), _): (&(Instant, u64), _)| *until);
        let rest =
            first.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        match calls.recv_timeout(rest) {
            Ok((until, waker)) => drop(sleepers.insert((until, number), waker)),
            Err(RecvTimeoutError::Timeout) => {
                let later = sleepers.split_off(&(Instant::now(), u64::MAX));
                std::mem::replace(&mut sleepers, later).into_values().for_each(Waker::wake);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
