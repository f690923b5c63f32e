//! A driver whose connects and queries take as long as they are told, and which counts.

use crate::common::PLENTY;
use caliburn::{AsyncManager, BlockingManager, Builder, Deadline, Manager, Pool};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// The blocking driver. Clones share the books.
#[derive(Clone, Debug)]
pub(crate) struct Paced(Arc<Books>);

/// The same for tasks.
#[derive(Clone, Debug)]
pub(crate) struct AsyncPaced(pub(crate) Paced);

#[derive(Debug)]
struct Books {
    connect_takes: Duration,
    opened: AtomicUsize,
    dropped: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct Session {
    books: Arc<Books>,
    pub(crate) is_broken: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.books.dropped.fetch_add(1, SeqCst);
    }
}

impl Paced {
    pub(crate) fn new(connect_takes: Duration) -> Self {
        let count = AtomicUsize::default;
        Self(Arc::new(Books { connect_takes, opened: count(), dropped: count() }))
    }

    pub(crate) fn opened(&self) -> usize {
        self.0.opened.load(SeqCst)
    }

    /// Connections whose end has come.
    pub(crate) fn dropped(&self) -> usize {
        self.0.dropped.load(SeqCst)
    }

    fn open(&self) -> Session {
        self.0.opened.fetch_add(1, SeqCst);
        Session { books: self.0.clone(), is_broken: false }
    }

    /// A pool with so many connections, which may grow to `max_size`.
    pub(crate) fn pool(&self, open: usize, max_size: usize) -> Pool<Self> {
        start(Pool::builder(self.clone()), open, max_size)
    }
}

impl AsyncPaced {
    /// The same, with connects on `runtime`.
    pub(crate) fn pool(&self, runtime: &Runtime, open: usize, max_size: usize) -> Pool<Self> {
        let handle = runtime.handle().clone();
        let builder = Pool::builder_async(self.clone());
        start(builder.spawner(move |task| drop(handle.spawn(task))), open, max_size)
    }
}

fn start<M: Manager>(builder: Builder<M>, open: usize, max_size: usize) -> Pool<M> {
    let builder = builder.min_size(open).max_size(max_size).wait_ready(PLENTY);
    builder.build().expect("it always connects")
}

impl Manager for Paced {
    type Connection = Session;
    type Error = Infallible;

    fn has_broken(&self, session: &mut Session) -> bool {
        session.is_broken
    }
}

impl BlockingManager for Paced {
    fn connect(&self, _: &Deadline) -> Result<Session, Infallible> {
        thread::sleep(self.0.connect_takes);
        Ok(self.open())
    }

    fn ping(&self, _: &mut Session, _: &Deadline) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Manager for AsyncPaced {
    type Connection = Session;
    type Error = Infallible;

    fn has_broken(&self, session: &mut Session) -> bool {
        session.is_broken
    }
}

impl AsyncManager for AsyncPaced {
    async fn connect(&self, _: &Deadline) -> Result<Session, Infallible> {
        pause(self.0.0.connect_takes).await;
        Ok(self.0.open())
    }

    async fn ping(&self, _: &mut Session, _: &Deadline) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A sleep for tasks as exact as that of a thread: tokio's own timers go by whole milliseconds. One
/// thread keeps them all.
#[derive(Default)]
struct Alarm {
    wakers: Mutex<BTreeMap<(Instant, usize), Waker>>,
    bell: Condvar,
}

pub(crate) fn pause(time: Duration) -> impl Future<Output = ()> + Send {
    static DRAWN: AtomicUsize = AtomicUsize::new(0);
    let key = (Instant::now() + time, DRAWN.fetch_add(1, SeqCst));
    poll_fn(move |cx| {
        if Instant::now() >= key.0 {
            return Poll::Ready(());
        }
        let alarm = Alarm::get();
        let mut wakers = alarm.wakers.lock().expect("no waker panics");
        wakers.insert(key, cx.waker().clone());
        if wakers.first_key_value().is_some_and(|(first, _)| *first == key) {
            alarm.bell.notify_one();
        }
        Poll::Pending
    })
}

impl Alarm {
    fn get() -> &'static Self {
        static ALARM: OnceLock<&'static Alarm> = OnceLock::new();
        ALARM.get_or_init(|| {
            let alarm = Box::leak(Box::<Self>::default());
            thread::spawn(|| alarm.keep());
            alarm
        })
    }

    fn keep(&self) {
        let mut wakers = self.wakers.lock().expect("no waker panics");
        loop {
            let now = Instant::now();
            let later = wakers.split_off(&(now, usize::MAX));
            let due = std::mem::replace(&mut *wakers, later);
            if !due.is_empty() {
                drop(wakers);
                due.into_values().for_each(Waker::wake);
                wakers = self.wakers.lock().expect("no waker panics");
                continue;
            }
            let first = wakers.first_key_value().map(|((at, _), _)| *at);
            let rest = first.map_or(PLENTY, |first| first - now);
            wakers = self.bell.wait_timeout(wakers, rest).expect("no waker panics").0;
        }
    }
}
