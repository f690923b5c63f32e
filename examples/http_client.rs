//! A pool of something that is no database: kept-alive HTTP/1.1 connections, with what HTTP says of
//! when one may be used again. The server is within.
//!
//! `cargo run --example http_client`

use caliburn::health::PingOnBorrow;
use caliburn::{BlockingManager, Deadline, EvictionCause, Manager, Pool};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// The rest of a body is worth reading up to here; beyond, a new connection is cheaper.
const WORTH_READING: u64 = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

/// One connection, and where it stands.
struct Line {
    stream: BufReader<TcpStream>,
    /// How much of a body is yet to be read.
    unread: u64,
    /// In the midst of a request, or after one that was the last.
    is_spent: bool,
}

impl Line {
    /// Asks for a page; the answer is its status. Its body can be read from the line, or be left
    /// there.
    fn ask(&mut self, path: &str) -> io::Result<u16> {
        let mut is_last = false;
        self.is_spent = true;
        let request = format!("GET {path} HTTP/1.1\r\nHost: example\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.header()?.split(' ').nth(1).and_then(|status| status.parse().ok());
        while let Some((name, value)) = self.header()?.to_lowercase().split_once(": ") {
            match (name, value) {
                ("content-length", length) => {
                    self.unread = length.parse().map_err(|_| ErrorKind::InvalidData)?;
                }
                ("connection", value) => is_last = value == "close",
                _ => {}
            }
        }
        self.is_spent = is_last;
        status.ok_or_else(|| ErrorKind::InvalidData.into())
    }

    fn header(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().into()),
        }
    }
}

/// The body of the response, and no more than that.
impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (&mut self.stream).take(self.unread).read(buffer)?;
        self.unread -= length as u64;
        Ok(length)
    }
}

struct Http(SocketAddr);

impl Manager for Http {
    type Connection = Line;
    type Error = io::Error;

    fn has_broken(&self, line: &mut Line) -> bool {
        line.is_spent || line.unread > WORTH_READING
    }

    fn needs_reset(&self, line: &mut Line) -> bool {
        line.unread > 0
    }
}

impl BlockingManager for Http {
    fn connect(&self, deadline: &Deadline) -> io::Result<Line> {
        let stream = TcpStream::connect_timeout(&self.0, deadline.remaining())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Line { stream: BufReader::new(stream), unread: 0, is_spent: false })
    }

    /// HTTP has no ping, but a look does: a server that is there has nothing to say unasked.
    fn ping(&self, line: &mut Line, _: &Deadline) -> io::Result<()> {
        let stream = line.stream.get_ref();
        stream.set_nonblocking(true)?;
        let seen = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        match seen {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            seen => Err(seen.err().unwrap_or_else(|| ErrorKind::ConnectionAborted.into())),
        }
    }

    fn reset(&self, line: &mut Line, _: &Deadline) -> io::Result<()> {
        io::copy(line, &mut io::sink()).map(drop)
    }
}

/// Hangs up after `/last`, and on clients that are silent for a fifth of a second.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while let Some(request) = lines.next().transpose()? {
        lines.by_ref().find(|line| !line.as_ref().is_ok_and(|line| !line.is_empty()));
        let path = request.split(' ').nth(1).unwrap_or_default();
        let body = "x".repeat(if path == "/large" { 1_000_000 } else { 1_000 });
        let more = if path == "/last" { "Connection: close\r\n" } else { "" };
        let head = format!("HTTP/1.1 200 OK\r\n{more}Content-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes())?;
        if path == "/last" {
            break;
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let pool = Pool::builder(Http(listener.local_addr()?))
        .max_size(4)
        .health(PingOnBorrow::always())
        .build()?;
    thread::spawn(move || {
        listener.incoming().flatten().for_each(|stream| drop(thread::spawn(|| serve(stream))));
    });

    let bytes = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let mut line = pool.get().expect("a connection");
                    line.ask("/").expect("a response");
                    bytes.fetch_add(line.read_to_end(&mut Vec::new()).expect("a body"), SeqCst);
                }
            });
        }
    });
    let connects = pool.stats().connects;
    println!("16 threads read {} bytes over {connects} connections", bytes.load(SeqCst));

    pool.get()?.ask("/")?;
    println!("a small body left unread was read in the background");
    pool.get()?.ask("/large")?;
    println!("a large one cost the connection, and so did");
    pool.get()?.ask("/last")?;
    println!("a response with `Connection: close`");

    thread::sleep(Duration::from_millis(400));
    let status = pool.get()?.ask("/")?;
    println!(
        "all others were closed by the server by now, and yet the next was answered: {status}"
    );

    pool.close_within(PATIENCE);
    let stats = pool.stats();
    let (broken, silent) = (EvictionCause::Broken, EvictionCause::PingFailed);
    println!(
        "in all: {} loans, {} connects, {} drained, {} not fit for another request, \
         {} found closed",
        stats.checkouts,
        stats.connects,
        stats.resets,
        stats.evictions.by(broken),
        stats.evictions.by(silent),
    );
    Ok(())
}
