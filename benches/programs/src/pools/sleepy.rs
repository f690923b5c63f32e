//! A driver that only takes its time: one delay to connect, others for each ping and each query.

use super::driver::{Books, Driver, Open};
use crate::harness::*;
use std::io;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Sleepy {
    pub connect: Duration,
    pub ping: Duration,
    pub query: Duration,
    /// Who borrows: threads sleep themselves.
    pub face: Face,
    pub books: Books,
}

pub struct Sleeper {
    pub is_broken: bool,
    _open: Open,
}

impl Driver for Sleepy {
    type Connection = Sleeper;

    fn has_broken(&self, sleeper: &mut Sleeper) -> bool {
        sleeper.is_broken
    }

    async fn connect(&self) -> io::Result<Sleeper> {
        let attempt = self.books.attempt();
        self.face.sleep(self.connect).await;
        Ok(Sleeper { is_broken: false, _open: attempt.succeeded() })
    }

    async fn ping(&self, _: &mut Sleeper) -> io::Result<()> {
        self.face.sleep(self.ping).await;
        Ok(())
    }

    async fn query(&self, _: &mut Sleeper) -> io::Result<()> {
        self.face.sleep(self.query).await;
        Ok(())
    }
}
