//! A server that speaks Redis's protocol, and misbehaves at a chosen moment as it is told.

use super::hostile::{Manner, Server, Sessions, Step};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// When it misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Startup,
    Ping,
    Reset,
    /// After the answer to a borrower's command.
    Return,
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Mute,
    /// One byte each 20 ms, without end.
    Trickle,
    /// Answers without end.
    Flood,
    /// An answer of a gigabyte.
    Huge,
    /// A line without end. Not among [`FAULTS`].
    Line,
    /// One answer too many.
    Extra,
    /// Half an answer, and the end.
    Cut,
}

pub const MOMENTS: [Moment; 5] =
    [Moment::Startup, Moment::Ping, Moment::Reset, Moment::Return, Moment::Close];
pub const FAULTS: [Fault; 6] =
    [Fault::Mute, Fault::Trickle, Fault::Flood, Fault::Huge, Fault::Extra, Fault::Cut];

pub struct Resp {
    pub address: SocketAddr,
    told: Told,
    sessions: Arc<Sessions>,
}

type Told = Arc<Mutex<Option<(Moment, Fault)>>>;

impl Resp {
    pub fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap())
    }

    pub fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let (address, told) = (listener.local_addr().unwrap(), Told::default());
        let sessions = Arc::<Sessions>::default();
        thread::spawn({
            let (told, sessions) = (Arc::clone(&told), Arc::clone(&sessions));
            move || {
                for stream in listener.incoming().map(Result::unwrap) {
                    let _ = stream.set_nodelay(true);
                    sessions.add(&stream);
                    let told = Arc::clone(&told);
                    // Each ends with its client.
                    thread::spawn(move || serve(stream, &told));
                }
            }
        });
        Self { address, told, sessions }
    }

    /// Once, the next time that this moment comes on any connection.
    pub fn misbehave(&self, at: Option<(Moment, Fault)>) {
        *self.told.lock().unwrap() = at;
    }

    pub fn url(&self) -> String {
        format!("redis://:secret@{}/", self.address)
    }
}

impl Server for Resp {
    fn start() -> Self {
        Self::start()
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn turn_hostile(&self, step: Step, manner: Manner) {
        let moment = match step {
            Step::StartUp(_) | Step::Handshake(_) => Moment::Startup,
            Step::Ping => Moment::Ping,
            Step::Reset => Moment::Reset,
            Step::Return => Moment::Return,
            Step::Close => Moment::Close,
        };
        let fault = match manner {
            Manner::Mute => Fault::Mute,
            Manner::Trickle => Fault::Trickle,
            Manner::Flood => Fault::Flood,
            Manner::Huge => Fault::Huge,
            Manner::Extra => Fault::Extra,
            Manner::Cut => Fault::Cut,
        };
        self.misbehave(Some((moment, fault)));
    }

    fn hang_up(&self) {
        self.misbehave(None);
        self.sessions.hang_up();
    }
}

fn serve(stream: TcpStream, told: &Told) -> Option<()> {
    let mut requests = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    let (mut is_first, mut is_greeted) = (true, false);
    loop {
        let words = request(&mut requests)?;
        let name = words[0].to_ascii_uppercase();
        let moment = match &*name {
            _ if std::mem::take(&mut is_first) => Moment::Startup,
            // The first is part of the greeting.
            "PING" if std::mem::replace(&mut is_greeted, true) => Moment::Ping,
            "DISCARD" => Moment::Reset,
            "ECHO" => Moment::Return,
            "QUIT" => Moment::Close,
            // Nothing is done there.
            _ => {
                stream.write_all(answer(&words).as_bytes()).ok()?;
                continue;
            }
        };
        let fault = told.lock().unwrap().take_if(|(at, _)| *at == moment).map(|(_, fault)| fault);
        let answer = answer(&words);
        match fault {
            None => stream.write_all(answer.as_bytes()).ok()?,
            Some(fault) => {
                let proper = if moment == Moment::Return { &*answer } else { "" };
                stream.write_all(proper.as_bytes()).ok()?;
                commit(fault, &mut stream, &answer)?;
            }
        }
        if name == "QUIT" {
            return None;
        }
    }
}

fn commit(fault: Fault, stream: &mut TcpStream, answer: &str) -> Option<()> {
    match fault {
        Fault::Mute => drop(std::io::copy(stream, &mut std::io::sink())),
        Fault::Trickle => {
            stream.write_all(b"+").ok()?;
            while stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        }
        Fault::Flood => while stream.write_all("+OK\r\n".repeat(10_000).as_bytes()).is_ok() {},
        Fault::Huge => {
            stream.write_all(b"$1000000000\r\n").ok()?;
            while stream.write_all(&[b'x'; 65536]).is_ok() {}
        }
        Fault::Line => {
            stream.write_all(b"+").ok()?;
            while stream.write_all(&[b'x'; 65536]).is_ok() {}
        }
        Fault::Extra => {
            let both = format!("{answer}+EXTRA\r\n");
            return stream.write_all(both.as_bytes()).ok();
        }
        Fault::Cut => {
            let half = &answer.as_bytes()[..answer.len() / 2];
            let _ = stream.write_all(half);
            let _ = stream.shutdown(Shutdown::Write);
            drop(std::io::copy(stream, &mut std::io::sink()));
        }
    }
    None
}

fn answer(words: &[String]) -> String {
    let said = |word: &str| format!("${}\r\n{word}\r\n", word.len());
    match &*words[0].to_ascii_uppercase() {
        "PING" if words.len() == 1 => "+PONG\r\n".into(),
        "PING" | "ECHO" => said(&words[1]),
        "HELLO" => "%1\r\n+proto\r\n:3\r\n".into(),
        _ => "+OK\r\n".into(),
    }
}

/// One request: an array of words.
fn request(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let words = number(stream)?;
    let words = (0..words).map(|_| {
        let mut word = vec![0; number(stream)? + 2];
        stream.read_exact(&mut word).ok()?;
        word.truncate(word.len() - 2);
        String::from_utf8(word).ok()
    });
    words.collect()
}

fn number(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    line.get(1..)?.trim_end().parse().ok()
}
