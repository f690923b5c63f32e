//! Drivers for the [`Server`](super::server::Server)'s protocol: [`Wire`] blocks, [`AsyncWire`]
//! runs on tokio.
//!
//! A connection is broken from the moment a request is sent until its reply has been read: whoever
//! is cancelled, cut off or out of time in between leaves it so, and nobody gets another's answer.

use caliburn::{AsyncManager, BlockingManager, Builder, Deadline, ErrorClass, Manager, Pool};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::{fmt, time::Duration};
use tokio::net::TcpStream as AsyncStream;
use tokio::runtime::Handle;

/// How long a request of a borrower's waits for its reply; the pool's own calls have their limits.
pub const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub enum WireError {
    Io(io::Error),
    /// Wrong password.
    Denied,
    TimedOut,
    /// A request, and the answer to another one.
    OutOfStep(String, String),
    /// The reply to an earlier request was never read.
    Broken,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for WireError {}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        let is_late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        if is_late { Self::TimedOut } else { Self::Io(error) }
    }
}

/// The blocking driver. Clones share everything.
#[derive(Clone, Debug)]
pub struct Wire(pub Arc<Setup>);

/// The same for tasks, on tokio: see [`AsyncWire::builder`].
#[derive(Clone, Debug)]
pub struct AsyncWire(pub Wire);

#[derive(Debug)]
pub struct Setup {
    address: SocketAddr,
    password: Mutex<String>,
    /// Has blocking calls wait for ever, as those of a driver that takes no timeout.
    pub ignores_deadlines: AtomicBool,
    /// Connects begun.
    pub attempts: AtomicUsize,
    /// The session of each ping that did not succeed.
    pub failed_pings: Mutex<Vec<u64>>,
}

/// An open connection.
#[derive(Debug)]
pub struct Conn<S> {
    stream: S,
    /// The number that the server gave it.
    pub session: u64,
    pub in_transaction: bool,
    pub is_broken: bool,
    heard: Vec<u8>,
}

impl Wire {
    pub fn to(address: SocketAddr) -> Self {
        Self(Arc::new(Setup {
            address,
            password: Mutex::new(super::server::PASSWORD.into()),
            ignores_deadlines: AtomicBool::default(),
            attempts: AtomicUsize::default(),
            failed_pings: Mutex::default(),
        }))
    }

    /// What is shown to the server from the next connect on.
    pub fn set_password(&self, password: &str) {
        *self.0.password.lock().unwrap() = password.into();
    }

    fn limit<'a>(&self, deadline: &'a Deadline) -> Option<&'a Deadline> {
        Some(deadline).filter(|_| !self.0.ignores_deadlines.load(SeqCst))
    }

    fn hello(&self) -> String {
        self.0.attempts.fetch_add(1, SeqCst);
        format!("hello {}", self.0.password.lock().unwrap())
    }
}

impl AsyncWire {
    /// A pool whose connections live on the runtime that this is called on.
    pub fn builder(wire: &Wire) -> Builder<Self> {
        let handle = Handle::current();
        Pool::builder_async(Self(wire.clone())).spawner(move |task| drop(handle.spawn(task)))
    }
}

/// A ping under way: one that is dropped has failed.
struct Check<'a>(&'a Setup, Option<u64>);

impl Drop for Check<'_> {
    fn drop(&mut self) {
        self.0.failed_pings.lock().unwrap().extend(self.1);
    }
}

impl<S> Conn<S> {
    fn new(stream: S) -> Self {
        Self { stream, session: 0, in_transaction: false, is_broken: false, heard: Vec::new() }
    }

    /// What to send. Broken from here on, until [`settle`](Self::settle).
    fn ask(&mut self, request: &str) -> Result<Vec<u8>, WireError> {
        if std::mem::replace(&mut self.is_broken, true) && request != "bye" {
            return Err(WireError::Broken);
        }
        Ok(format!("{request}\n").into_bytes())
    }

    /// Some more bytes have come: perhaps they complete a line.
    fn hear(&mut self, bytes: &[u8]) -> Result<Option<String>, WireError> {
        if bytes.is_empty() {
            return Err(WireError::Io(ErrorKind::UnexpectedEof.into()));
        }
        self.heard.extend(bytes);
        let line = self.heard.strip_suffix(b"\n").map(|line| String::from_utf8_lossy(line).into());
        line.is_some().then(|| self.heard.clear());
        Ok(line)
    }

    /// The whole reply is there: is it one to this request?
    fn settle(&mut self, request: &str, reply: String) -> Result<(), WireError> {
        let (verb, argument) = request.split_once(' ').unwrap_or((request, ""));
        let welcome = reply.strip_prefix("welcome ").and_then(|session| session.parse().ok());
        match (verb, &*reply) {
            ("hello", "denied") => return Err(WireError::Denied),
            ("hello", _) if welcome.is_some() => self.session = welcome.unwrap_or_default(),
            ("ping", "pong") => {}
            ("echo", same) if same == argument => {}
            ("work", "ok") => {}
            ("begin" | "commit" | "rollback", "ok") => self.in_transaction = verb == "begin",
            _ => return Err(WireError::OutOfStep(request.into(), reply)),
        }
        self.is_broken = false;
        Ok(())
    }
}

/// What is left of it, but not zero, which the system takes for a mistake.
fn left(limit: Option<&Deadline>) -> Result<Option<Duration>, WireError> {
    let left = limit.map(Deadline::remaining);
    if left == Some(Duration::ZERO) { Err(WireError::TimedOut) } else { Ok(left) }
}

impl Conn<TcpStream> {
    pub fn tell(&mut self, request: &str) -> Result<(), WireError> {
        self.call(request, Some(&Deadline::after(PATIENCE)))
    }

    fn call(&mut self, request: &str, limit: Option<&Deadline>) -> Result<(), WireError> {
        let request_bytes = self.ask(request)?;
        self.stream.set_write_timeout(left(limit)?)?;
        self.stream.write_all(&request_bytes)?;
        let mut bytes = [0; 128];
        loop {
            self.stream.set_read_timeout(left(limit)?)?;
            let length = self.stream.read(&mut bytes)?;
            if let Some(reply) = self.hear(&bytes[..length])? {
                return self.settle(request, reply);
            }
        }
    }
}

impl Conn<AsyncStream> {
    pub async fn tell(&mut self, request: &str) -> Result<(), WireError> {
        let request_bytes = self.ask(request)?;
        let mut rest = &*request_bytes;
        while !rest.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(rest) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                sent => rest = &rest[sent?..],
            }
        }
        let mut bytes = [0; 128];
        loop {
            self.stream.readable().await?;
            let length = match self.stream.try_read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                read => read?,
            };
            if let Some(reply) = self.hear(&bytes[..length])? {
                return self.settle(request, reply);
            }
        }
    }
}

/// What both drivers have in common.
macro_rules! driver {
    ($manager:ty, $stream:ty $(, $async:tt $await:tt)?) => {
        impl Conn<$stream> {
            pub $($async)? fn echo(&mut self, n: u64) -> Result<(), WireError> {
                self.tell(&format!("echo {n}"))$(.$await)?
            }

            pub $($async)? fn work(&mut self, ms: u64) -> Result<(), WireError> {
                self.tell(&format!("work {ms}"))$(.$await)?
            }

            pub $($async)? fn begin(&mut self) -> Result<(), WireError> {
                self.tell("begin")$(.$await)?
            }
        }

        impl Manager for $manager {
            type Connection = Conn<$stream>;
            type Error = WireError;

            fn has_broken(&self, conn: &mut Conn<$stream>) -> bool {
                conn.is_broken
            }

            fn needs_reset(&self, conn: &mut Conn<$stream>) -> bool {
                conn.in_transaction
            }

            fn classify(&self, error: &WireError) -> ErrorClass {
                let WireError::Denied = error else { return ErrorClass::Transient };
                ErrorClass::Permanent
            }
        }
    };
}

driver!(Wire, TcpStream);
driver!(AsyncWire, AsyncStream, async await);

impl BlockingManager for Wire {
    fn connect(&self, deadline: &Deadline) -> Result<Conn<TcpStream>, WireError> {
        let (hello, limit) = (self.hello(), self.limit(deadline));
        let within = |left| TcpStream::connect_timeout(&self.0.address, left);
        let stream = left(limit)?.map_or_else(|| TcpStream::connect(self.0.address), within)?;
        stream.set_nodelay(true)?;
        let mut conn = Conn::new(stream);
        conn.call(&hello, limit).map(|()| conn)
    }

    fn ping(&self, conn: &mut Conn<TcpStream>, deadline: &Deadline) -> Result<(), WireError> {
        let mut check = Check(&self.0, Some(conn.session));
        conn.call("ping", self.limit(deadline)).map(|()| check.1 = None)
    }

    fn reset(&self, conn: &mut Conn<TcpStream>, deadline: &Deadline) -> Result<(), WireError> {
        conn.call("rollback", self.limit(deadline))
    }

    /// Says goodbye and waits for the server to hang up: a dead one keeps it waiting.
    fn close(&self, mut conn: Conn<TcpStream>, deadline: &Deadline) {
        let _ = conn.call("bye", self.limit(deadline));
    }
}

impl AsyncManager for AsyncWire {
    async fn connect(&self, _: &Deadline) -> Result<Conn<AsyncStream>, WireError> {
        let hello = self.0.hello();
        let stream = AsyncStream::connect(self.0.0.address).await?;
        stream.set_nodelay(true)?;
        let mut conn = Conn::new(stream);
        conn.tell(&hello).await.map(|()| conn)
    }

    async fn ping(&self, conn: &mut Conn<AsyncStream>, _: &Deadline) -> Result<(), WireError> {
        let mut check = Check(&self.0.0, Some(conn.session));
        conn.tell("ping").await.map(|()| check.1 = None)
    }

    async fn reset(&self, conn: &mut Conn<AsyncStream>, _: &Deadline) -> Result<(), WireError> {
        conn.tell("rollback").await
    }

    async fn close(&self, mut conn: Conn<AsyncStream>, _: &Deadline) {
        let _ = conn.tell("bye").await;
    }
}
