//! A server that speaks as much of PostgreSQL's protocol as the adapters' own calls need, and turns
//! hostile when it is told to.

use super::hostile::{Manner, Server, Sessions, Step, fall_silent};
use super::pg_fake::{flood, message, notice, request, serve_on, startup};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What either side says once it has heard the other: see `PretenceWithHellos`.
pub const HELLO: [u8; 64] = [22; 64];

pub struct FakePostgres {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    told: Mutex<Option<(Step, Manner)>>,
    sessions: Sessions,
}

/// The question for TLS.
const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();
const AUTHENTICATED: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 0];
const KEY: [u8; 13] = [b'K', 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 2];

impl Server for FakePostgres {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        serve_on(listener, {
            let state = Arc::clone(&state);
            move |stream| {
                let _ = stream.set_nodelay(true);
                state.sessions.add(stream);
                state.converse(stream)
            }
        });
        Self { address, state }
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn turn_hostile(&self, step: Step, manner: Manner) {
        *self.state.told.lock().unwrap() = Some((step, manner));
    }

    fn hang_up(&self) {
        *self.state.told.lock().unwrap() = None;
        self.state.sessions.hang_up();
    }
}

/// The same, asked for TLS before all else: it "secures" by saying hello.
pub struct Secured(FakePostgres);

impl Server for Secured {
    const HANDSHAKES: usize = 2;

    fn start() -> Self {
        Self(FakePostgres::start())
    }

    fn address(&self) -> SocketAddr {
        self.0.address()
    }

    fn turn_hostile(&self, step: Step, manner: Manner) {
        self.0.turn_hostile(step, manner);
    }

    fn hang_up(&self) {
        self.0.hang_up();
    }
}

impl State {
    fn converse(&self, stream: &mut TcpStream) -> io::Result<()> {
        let mut body = startup(stream)?;
        if body == SSL_REQUEST {
            self.answer(Step::Handshake(0), stream, b"S")?;
            stream.read_exact(&mut [0])?;
            self.answer(Step::Handshake(1), stream, &HELLO)?;
            body = startup(stream)?;
        }
        if body[..2] != [0, 3] {
            // A request to cancel.
            return Ok(());
        }
        self.answer(Step::StartUp(0), stream, &AUTHENTICATED)?;
        self.answer(Step::StartUp(1), stream, &[&KEY[..], &ready(b'I')].concat())?;
        let mut status = b'I';
        loop {
            let (tag, text) = request(stream)?;
            let (step, answer) = match (tag, &*text) {
                (b'X', _) => (Step::Close, Vec::new()),
                // Within a transaction it is the reset that makes sure.
                (b'S', _) if status == b'I' => (Step::Ping, ready(status)),
                (b'S', _) => (Step::Reset, ready(status)),
                (_, "BEGIN") => {
                    status = b'T';
                    stream.write_all(&done(status))?;
                    continue;
                }
                (_, "ROLLBACK") => {
                    status = b'I';
                    (Step::Reset, done(status))
                }
                _ => {
                    stream.write_all(&done(status))?;
                    (Step::Return, Vec::new())
                }
            };
            self.answer(step, stream, &answer)?;
            if tag == b'X' {
                return Ok(());
            }
        }
    }

    /// The right answer, or what the server does instead.
    fn answer(&self, step: Step, stream: &mut TcpStream, answer: &[u8]) -> io::Result<()> {
        let told = self.told.lock().unwrap().take_if(|(at, _)| *at == step);
        match told.map(|(_, manner)| manner) {
            None => return stream.write_all(answer),
            Some(Manner::Mute) => fall_silent(stream),
            Some(Manner::Trickle) => {
                stream.write_all(&[b'N', 0, 1, 0, 0])?;
                loop {
                    stream.write_all(b"S")?;
                    thread::sleep(Duration::from_millis(20));
                }
            }
            Some(Manner::Flood) => drop(flood(stream, &notice())),
            Some(Manner::Huge) => {
                stream.write_all(&[b'D', 0x3f, 0xff, 0xff, 0xff])?;
                loop {
                    stream.write_all(&[0; 1 << 16])?;
                }
            }
            Some(Manner::Extra) => {
                stream.write_all(answer)?;
                return stream.write_all(&done(b'I'));
            }
            Some(Manner::Cut) => {
                stream.write_all(&answer[..answer.len() / 2])?;
                stream.shutdown(Shutdown::Write)?;
                fall_silent(stream);
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn ready(status: u8) -> Vec<u8> {
    message(b'Z', &[status])
}

/// A statement, and then what the session is in.
fn done(status: u8) -> Vec<u8> {
    [message(b'C', b"OK\0"), ready(status)].concat()
}
