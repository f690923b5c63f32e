//! A driver for the [`Server`](crate::server::Server), as drivers are: it sends a numbered request
//! and waits for the answer, unless it was given a limit of its own for as long as the answer
//! takes. Answers to requests that were given up are passed over.

use crate::driver::{Async, Blocking, Books, Driver, Open};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

#[derive(Clone, Debug)]
pub struct Setup {
    pub address: SocketAddr,
    /// The driver's own limit on each answer.
    pub limit: Option<Duration>,
    /// Whether a request given up half-way makes `has_broken` true. Drivers that match answers to
    /// requests, as this one does, need not say so, and mostly do not.
    pub is_careful: bool,
    pub books: Books,
}

#[derive(Clone, Debug)]
pub struct BlockingLine(pub Setup);

#[derive(Clone, Debug)]
pub struct AsyncLine(pub Setup);

/// A connection over a stream of either kind.
pub struct Line<S> {
    stream: S,
    talk: Talk,
    _open: Open,
}

/// What was said and heard on a connection.
#[derive(Default)]
struct Talk {
    sent: u64,
    answered: u64,
    heard: String,
    has_failed: bool,
}

impl Talk {
    fn ask(&mut self, verb: &str) -> String {
        self.sent += 1;
        format!("{verb} {}\n", self.sent)
    }

    /// Some bytes have come. Is the answer to the last request among them?
    fn hear(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if bytes.is_empty() {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server hung up"));
        }
        self.heard += &String::from_utf8_lossy(bytes);
        while let Some((answer, rest)) = self.heard.split_once('\n') {
            let number = answer.strip_prefix("ok ").and_then(|number| number.parse().ok());
            let Some(number) = number else {
                return Err(io::Error::new(ErrorKind::InvalidData, "no answer of this protocol"));
            };
            self.answered = number;
            self.heard = rest.to_owned();
        }
        Ok(self.answered == self.sent)
    }

    fn is_broken(&self, setup: &Setup) -> bool {
        self.has_failed || (setup.is_careful && self.answered != self.sent)
    }

    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.has_failed |= result.is_err();
        result.map_err(|error| match error.kind() {
            // What a read says whose socket has a limit.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => no_answer(),
            _ => error,
        })
    }
}

fn no_answer() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "the server does not answer")
}

impl Line<TcpStream> {
    fn request(&mut self, verb: &str) -> io::Result<()> {
        let result = self.exchange(verb);
        self.talk.note(result)
    }

    fn exchange(&mut self, verb: &str) -> io::Result<()> {
        self.stream.write_all(self.talk.ask(verb).as_bytes())?;
        let mut bytes = [0; 256];
        loop {
            let length = self.stream.read(&mut bytes)?;
            if self.talk.hear(&bytes[..length])? {
                return Ok(());
            }
        }
    }
}

impl Line<tokio::net::TcpStream> {
    async fn request(&mut self, verb: &str, setup: &Setup) -> io::Result<()> {
        let exchange = self.exchange(verb);
        let result = match setup.limit {
            Some(limit) => timeout(limit, exchange).await.unwrap_or_else(|_| Err(no_answer())),
            None => exchange.await,
        };
        self.talk.note(result)
    }

    async fn exchange(&mut self, verb: &str) -> io::Result<()> {
        self.stream.write_all(self.talk.ask(verb).as_bytes()).await?;
        let mut bytes = [0; 256];
        loop {
            let length = self.stream.read(&mut bytes).await?;
            if self.talk.hear(&bytes[..length])? {
                return Ok(());
            }
        }
    }
}

impl Driver for BlockingLine {
    type Connection = Line<TcpStream>;

    fn has_broken(&self, connection: &mut Self::Connection) -> bool {
        connection.talk.is_broken(&self.0)
    }
}

impl Blocking for BlockingLine {
    fn connect(&self) -> io::Result<Self::Connection> {
        let attempt = self.0.books.attempt();
        let stream = TcpStream::connect(self.0.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(self.0.limit)?;
        let (talk, _open) = (Talk::default(), attempt.succeeded());
        let mut line = Line { stream, talk, _open };
        line.request("hello").map(|()| line)
    }

    fn ping(&self, connection: &mut Self::Connection) -> io::Result<()> {
        connection.request("ping")
    }

    fn query(&self, connection: &mut Self::Connection) -> io::Result<()> {
        connection.request("query")
    }
}

impl Driver for AsyncLine {
    type Connection = Line<tokio::net::TcpStream>;

    fn has_broken(&self, connection: &mut Self::Connection) -> bool {
        connection.talk.is_broken(&self.0)
    }
}

impl Async for AsyncLine {
    async fn connect(&self) -> io::Result<Self::Connection> {
        let attempt = self.0.books.attempt();
        let stream = tokio::net::TcpStream::connect(self.0.address).await?;
        stream.set_nodelay(true)?;
        let (talk, _open) = (Talk::default(), attempt.succeeded());
        let mut line = Line { stream, talk, _open };
        line.request("hello", &self.0).await.map(|()| line)
    }

    async fn ping(&self, connection: &mut Self::Connection) -> io::Result<()> {
        connection.request("ping", &self.0).await
    }

    async fn query(&self, connection: &mut Self::Connection) -> io::Result<()> {
        connection.request("query", &self.0).await
    }
}
