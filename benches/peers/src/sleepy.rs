//! A driver that only takes its time: one delay to connect, another for each query.

use crate::driver::{Async, Blocking, Books, Driver, Open};
use crate::timer;
use std::io;
use std::thread;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Sleepy {
    pub connect: Duration,
    pub query: Duration,
    pub books: Books,
}

impl Driver for Sleepy {
    type Connection = Open;

    fn has_broken(&self, _: &mut Open) -> bool {
        false
    }
}

impl Blocking for Sleepy {
    fn connect(&self) -> io::Result<Open> {
        let attempt = self.books.attempt();
        thread::sleep(self.connect);
        Ok(attempt.succeeded())
    }

    fn ping(&self, _: &mut Open) -> io::Result<()> {
        Ok(())
    }

    fn query(&self, _: &mut Open) -> io::Result<()> {
        thread::sleep(self.query);
        Ok(())
    }
}

/// Its delays are as exact as those of threads: tokio's own timer would round 2 ms up to 3.
impl Async for Sleepy {
    async fn connect(&self) -> io::Result<Open> {
        let attempt = self.books.attempt();
        timer::sleep(self.connect).await;
        Ok(attempt.succeeded())
    }

    async fn ping(&self, _: &mut Open) -> io::Result<()> {
        Ok(())
    }

    async fn query(&self, _: &mut Open) -> io::Result<()> {
        timer::sleep(self.query).await;
        Ok(())
    }
}
