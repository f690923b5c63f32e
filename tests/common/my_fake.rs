//! A server that speaks as much MySQL as the adapters' own calls need, and misbehaves on command.

use super::hostile::{Manner, Server, Step};
use super::proxy::Listener;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// When the server misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Greeting,
    Login,
    /// At the first statement, with which a driver reads settings.
    Settings,
    Ping,
    /// At the statement with which the pool makes sure.
    Proof,
    /// At any other statement.
    Query,
    /// After the answer to it.
    Return,
    Goodbye,
}

/// What it does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Mute,
    /// A byte in 20 ms of a packet that never ends.
    Trickle,
    /// One packet after the other without pause.
    Flood,
    /// Announces as much as a packet can have, and sends it.
    Huge,
    /// The right answer, and another one.
    Twice,
    Cut,
}

pub struct FakeMySql {
    listener: Listener,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Of sessions before that number.
    misbehaviour: Mutex<Option<(When, How, usize)>>,
    streams: Mutex<Vec<TcpStream>>,
    accepted: AtomicUsize,
    plugin: Mutex<Option<FullAuthentication>>,
}

/// Asks for the password, and keeps what it was told.
#[derive(Clone, Default)]
pub struct FullAuthentication {
    /// What came after the key was asked for or shown.
    pub answers: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl FakeMySql {
    pub fn start() -> Self {
        let state = Arc::new(State::default());
        let listener = Listener::bind({
            let state = Arc::clone(&state);
            move |stream| {
                let _ = stream.set_nodelay(true);
                state.streams.lock().unwrap().push(stream.try_clone().unwrap());
                let number = state.accepted.fetch_add(1, SeqCst);
                let state = Arc::clone(&state);
                thread::spawn(move || drop(Session { stream, number, state }.serve()));
            }
        });
        Self { listener, state }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.address
    }

    pub fn url(&self) -> String {
        format!("mysql://app@{}/songs", self.address())
    }

    pub fn accepted(&self) -> usize {
        self.state.accepted.load(SeqCst)
    }

    /// All sessions do so, those that are open too.
    pub fn misbehave(&self, when: When, how: How) {
        *self.state.misbehaviour.lock().unwrap() = Some((when, how, usize::MAX));
    }

    /// Those that have been opened so far do so.
    pub fn misbehave_so_far(&self, when: When, how: How) {
        *self.state.misbehaviour.lock().unwrap() = Some((when, how, self.accepted()));
    }

    pub fn behave(&self) {
        *self.state.misbehaviour.lock().unwrap() = None;
    }

    /// Has each client asked for its password.
    pub fn ask_for_passwords(&self) -> FullAuthentication {
        let asked = FullAuthentication::default();
        *self.state.plugin.lock().unwrap() = Some(asked.clone());
        asked
    }

    /// Says something to all that are connected, unasked.
    pub fn speak_up(&self) {
        for mut stream in self.state.streams.lock().unwrap().iter() {
            let _ = stream.write_all(&packet(0, &OK));
        }
    }
}

impl Server for FakeMySql {
    fn start() -> Self {
        Self::start()
    }

    fn address(&self) -> SocketAddr {
        self.address()
    }

    fn turn_hostile(&self, step: Step, manner: Manner) {
        let when = match step {
            Step::StartUp(0) | Step::Handshake(_) => When::Greeting,
            Step::StartUp(1) => When::Login,
            Step::StartUp(_) => When::Settings,
            Step::Ping => When::Ping,
            Step::Reset => When::Proof,
            Step::Return => When::Return,
            Step::Close => When::Goodbye,
        };
        let how = match manner {
            Manner::Mute => How::Mute,
            Manner::Trickle => How::Trickle,
            Manner::Flood => How::Flood,
            Manner::Huge => How::Huge,
            Manner::Extra => How::Twice,
            Manner::Cut => How::Cut,
        };
        match step {
            Step::StartUp(_) | Step::Handshake(_) => self.misbehave(when, how),
            _ => self.misbehave_so_far(when, how),
        }
    }

    fn hang_up(&self) {
        self.behave();
        for stream in self.state.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for FakeMySql {
    fn drop(&mut self) {
        self.listener.close();
        for stream in self.state.streams.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

struct Session {
    stream: TcpStream,
    number: usize,
    state: Arc<State>,
}

const OK: [u8; 7] = [0, 0, 0, 2, 0, 0, 0];

impl Session {
    fn serve(mut self) -> io::Result<()> {
        self.answer(When::Greeting, 0, &[greeting(self.number as u32)])?;
        let (mut number, _) = self.read()?;
        let asked = self.state.plugin.lock().unwrap().clone();
        if let Some(asked) = asked {
            number = self.ask_for_the_password(number, &asked)?;
        }
        self.answer(When::Login, number + 1, &[OK.to_vec()])?;
        let mut is_first = true;
        loop {
            let (_, command) = self.read()?;
            let sql = String::from_utf8_lossy(&command[1..]).into_owned();
            let when = match command[0] {
                1 => When::Goodbye,
                3 if sql.ends_with("LIMIT 1") && !sql.starts_with("ROLLBACK") => When::Ping,
                3 if sql.starts_with("ROLLBACK") => When::Proof,
                3 if is_first => When::Settings,
                _ => When::Query,
            };
            is_first = false;
            match command[0] {
                1 => {
                    self.answer(when, 1, &[])?;
                    return Ok(());
                }
                3 => {
                    self.answer(when, 1, &results(&sql))?;
                    if when == When::Query {
                        self.misbehave_after(When::Return, &results(&sql))?;
                    }
                }
                // A statement is closed without an answer.
                25 => {}
                _ => self.answer(when, 1, &[OK.to_vec()])?,
            }
        }
    }

    /// As a server with `caching_sha2_password` does that has not seen the account yet.
    fn ask_for_the_password(&mut self, number: u8, asked: &FullAuthentication) -> io::Result<u8> {
        let mut switch = b"\xfecaching_sha2_password\0".to_vec();
        switch.extend(b"12345678901234567890\0");
        self.stream.write_all(&packet(number + 1, &switch))?;
        let (number, _scramble) = self.read()?;
        self.stream.write_all(&packet(number + 1, &[1, 4]))?;
        let (number, answer) = self.read()?;
        asked.answers.lock().unwrap().push(answer);
        let mut key = vec![1];
        key.extend(KEY.as_bytes());
        self.stream.write_all(&packet(number + 1, &key))?;
        let (number, answer) = self.read()?;
        asked.answers.lock().unwrap().push(answer);
        Ok(number)
    }

    fn read(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((head[3], body))
    }

    /// What the server does instead, if anything.
    fn how(&self, when: When) -> Option<How> {
        let misbehaviour = *self.state.misbehaviour.lock().unwrap();
        let now = misbehaviour.filter(|(then, _, end)| *then == when && self.number < *end);
        now.map(|(_, how, _)| how)
    }

    /// The right packets, or what the server does instead.
    fn answer(&mut self, when: When, first: u8, packets: &[Vec<u8>]) -> io::Result<()> {
        let answer = numbered(first, packets);
        match self.how(when) {
            None => self.stream.write_all(&answer),
            Some(How::Twice) => self.stream.write_all(&answer.repeat(2)),
            Some(how) => self.commit(how, first, &answer),
        }
    }

    /// What it adds to what was answered.
    fn misbehave_after(&mut self, when: When, packets: &[Vec<u8>]) -> io::Result<()> {
        match self.how(when) {
            None => Ok(()),
            Some(how) => self.commit(how, 1, &numbered(1, packets)),
        }
    }

    fn commit(&mut self, how: How, first: u8, answer: &[u8]) -> io::Result<()> {
        match how {
            How::Cut => self.stream.shutdown(Shutdown::Both),
            How::Mute => self.mute(),
            How::Twice => self.stream.write_all(answer),
            How::Trickle => {
                self.stream.write_all(&[0, 0, 1, first])?;
                loop {
                    self.stream.write_all(&[10])?;
                    thread::sleep(Duration::from_millis(20));
                }
            }
            How::Huge => {
                self.stream.write_all(&[0xfe, 0xff, 0xff, first])?;
                let piece = vec![10; 1 << 16];
                loop {
                    self.stream.write_all(&piece)?;
                }
            }
            How::Flood => self.flood(first, answer),
        }
    }

    /// Reads, and never answers.
    fn mute(&mut self) -> io::Result<()> {
        let mut bytes = [0; 1024];
        while self.stream.read(&mut bytes)? > 0 {}
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    /// Rows without end, or greetings.
    fn flood(&mut self, first: u8, answer: &[u8]) -> io::Result<()> {
        let (head, piece) = match results("SELECT 7").as_slice() {
            [count, column, end, row, _] if first == 1 => {
                let head = [count, column, end].map(|body| body.clone());
                (head.to_vec(), row.clone())
            }
            _ => (Vec::new(), answer.get(4..).unwrap_or_default().to_vec()),
        };
        for (number, body) in head.iter().enumerate() {
            self.stream.write_all(&packet(first + number as u8, body))?;
        }
        let mut number = first.wrapping_add(head.len() as u8);
        loop {
            let mut bytes = Vec::new();
            for _ in 0..1024 {
                bytes.extend(packet(number, &piece));
                number = number.wrapping_add(1);
            }
            self.stream.write_all(&bytes)?;
        }
    }
}

fn numbered(first: u8, packets: &[Vec<u8>]) -> Vec<u8> {
    let numbers = (0..).map(|number: u8| first.wrapping_add(number));
    numbers.zip(packets).flat_map(|(number, body)| packet(number, body)).collect()
}

fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = (body.len() as u32).to_le_bytes()[..3].to_vec();
    packet.push(number);
    packet.extend(body);
    packet
}

fn greeting(number: u32) -> Vec<u8> {
    let mut body = vec![10];
    body.extend(b"8.0.30-fake\0");
    body.extend(number.to_le_bytes());
    body.extend(b"12345678\0");
    // Protocol 4.1, a database at the login, TLS, which is for a front of it to give, transactions,
    // secure connections, several statements and results, plugins.
    body.extend([0x09, 0xaa, 45, 2, 0, 0x0b, 0, 21]);
    body.extend([0; 10]);
    body.extend(b"123456789012\0mysql_native_password\0");
    body
}

/// The packets of an answer, each statement's in turn.
fn results(sql: &str) -> Vec<Vec<u8>> {
    let statements: Vec<&str> = sql.split("; ").collect();
    let mut packets = Vec::new();
    for (at, statement) in statements.iter().enumerate() {
        // More results exist; autocommit.
        let status = if at + 1 < statements.len() { 10 } else { 2 };
        let Some(list) = statement.strip_prefix("SELECT ") else {
            packets.push(vec![0, 0, 0, status, 0, 0, 0]);
            continue;
        };
        let list = list.replace("+ */ 0, 0)", "");
        let values: Vec<String> = list.split(", ").map(value).collect();
        packets.push(vec![values.len() as u8]);
        packets.extend(values.iter().map(|_| column()));
        packets.push(vec![0xfe, 0, 0, status, 0]);
        packets.push(values.iter().flat_map(|value| text(value)).collect());
        packets.push(vec![0xfe, 0, 0, status, 0]);
    }
    packets
}

fn value(expression: &str) -> String {
    let expression = expression.trim_end_matches(" LIMIT 1");
    let known = [
        ("@@max_allowed_packet", "16777216"),
        ("@@wait_timeout", "28800"),
        ("@@autocommit", "1"),
        ("CHAR_LENGTH(@@init_connect)", "0"),
        ("CHAR_LENGTH", "1"),
        ("CRC32", "7"),
        ("DATABASE()", "songs"),
        ("IFNULL(", "0"),
    ];
    let known = known.iter().find(|(begin, _)| expression.starts_with(begin));
    known.map_or_else(|| expression.into(), |(_, value)| (*value).into())
}

fn text(value: &str) -> Vec<u8> {
    let mut text = vec![value.len() as u8];
    text.extend(value.as_bytes());
    text
}

fn column() -> Vec<u8> {
    let mut column: Vec<u8> = ["def", "", "", "", "x", "x"].iter().flat_map(|t| text(t)).collect();
    column.extend([12, 45, 0, 255, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
    column
}

/// Somebody's.
const KEY: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAqFdOsM2uj/apM5OJmGO/
iBjwOjClBCyzajSqh+PGWzOJKQst7m1FqZF/uBeFmJ28v2AG8g6DCmELZmStj7lH
mri5ZqtM+aU5X9WUOCef8tWYJ9Q9C9Ggbq7FQYVbrw6MGvpfdLF5D1E+sin8IFyt
iG2aNIPrhXr7mb+FKf4F1C1JOvNnI5L08DkrXAwOVjJhrMonPn8QiG3XjYbBqWFb
vdgAPxeJYqIXH7QZSAgLR9lKuRua+opmSaCxSZrPmPIE8U2DGtnHs70YNwb4BXuS
Z0KXdQjN21ycDT5K+AmkhJSDCUtXrZbVDaQ6EI0SsHGz8VUhDV31rVkN60QJeXoy
ywIDAQAB
-----END PUBLIC KEY-----
";
