//! A driver for the tests' [`Server`](crate::common::Server), as drivers are: it sends a
//! numbered request and waits for the answer, unless it was given a limit of its own for as long as
//! the answer takes. Answers to requests that were given up are passed over.

use super::driver::{Books, Driver, Open};
use crate::common::PASSWORD;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Handle;
use tokio::task::unconstrained;
use tokio::time::timeout;

#[derive(Clone, Debug)]
pub struct Line {
    pub address: SocketAddr,
    /// The driver's own limit on each answer.
    pub limit: Option<Duration>,
    /// Whether a request given up half-way makes `has_broken` true. Drivers that match answers to
    /// requests, as this one does, need not say so, and mostly do not.
    pub is_careful: bool,
    pub books: Books,
    /// Where its sockets live.
    pub runtime: Handle,
}

pub struct Session {
    answers: Lines<BufReader<OwnedReadHalf>>,
    requests: OwnedWriteHalf,
    sent: u64,
    answered: u64,
    has_failed: bool,
    _open: Open,
}

impl Session {
    async fn exchange(&mut self, request: String) -> io::Result<()> {
        self.requests.write_all(request.as_bytes()).await?;
        while self.answered != self.sent {
            let answer = self.answers.next_line().await?;
            let answer = answer.ok_or_else(|| io::Error::from(ErrorKind::UnexpectedEof))?;
            // Sessions have numbers, too.
            let number = if answer.starts_with("welcome ") { Ok(0) } else { answer.parse() };
            self.answered = number.map_err(io::Error::other)?;
        }
        Ok(())
    }
}

impl Line {
    async fn ask(&self, session: &mut Session) -> io::Result<()> {
        session.sent += 1;
        let request = format!("echo {}\n", session.sent);
        self.request(session, request).await
    }

    async fn request(&self, session: &mut Session, request: String) -> io::Result<()> {
        let exchange = session.exchange(request);
        let result = match self.limit {
            Some(limit) => timeout(limit, exchange).await.unwrap_or_else(|_| {
                Err(io::Error::new(ErrorKind::TimedOut, "the server does not answer"))
            }),
            None => exchange.await,
        };
        session.has_failed |= result.is_err();
        result
    }
}

impl Driver for Line {
    type Connection = Session;

    fn has_broken(&self, session: &mut Session) -> bool {
        session.has_failed || (self.is_careful && session.answered != session.sent)
    }

    async fn connect(&self) -> io::Result<Session> {
        let attempt = self.books.attempt();
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (read, requests) = stream.into_split();
        let answers = BufReader::new(read).lines();
        let (sent, answered, has_failed, _open) = (0, u64::MAX, false, attempt.succeeded());
        let mut session = Session { answers, requests, sent, answered, has_failed, _open };
        self.request(&mut session, format!("hello {PASSWORD}\n")).await.map(|()| session)
    }

    async fn ping(&self, session: &mut Session) -> io::Result<()> {
        self.ask(session).await
    }

    async fn query(&self, session: &mut Session) -> io::Result<()> {
        self.ask(session).await
    }

    fn block<T>(&self, call: impl Future<Output = T>) -> T {
        let _context = self.runtime.enter();
        pollster::block_on(unconstrained(call))
    }
}
