//! A database server on loopback that misbehaves on command. One thread per session; nothing of it
//! outlives the [`Server`].
//!
//! It speaks in lines: `hello <password>` → `welcome <session>` or `denied`; `ping` → `pong`; `echo
//! <n>` → `<n>`; `begin`, `commit`, `rollback` → `ok`; `work <ms>` → `ok` after so long; `bye` ends
//! the session. A second `begin` is answered with `error`, so that a transaction left open by
//! somebody else shows.

use super::proxy::{Listener, reset_when_closed};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The password that a [`Server`] lets in, unless told otherwise.
pub const PASSWORD: &str = "sesame";

/// What a session does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Ok,
    /// Waits for so long before each reply.
    Slow(Duration),
    /// Reads, and never answers.
    Mute,
    /// Resets the connection (RST) as soon as a byte comes.
    Reset,
    /// Sends the first half of a reply, then nothing more.
    HalfReply,
    /// Lets nobody in.
    BadAuth,
}

/// True books, kept by the server itself.
#[derive(Debug, Default)]
pub struct Tally {
    /// TCP connections accepted.
    pub accepted: AtomicUsize,
    /// Sessions open now.
    pub open: AtomicUsize,
    /// The most that were ever open at once.
    pub most_open: AtomicUsize,
    /// Commands read and answered in full, handshakes included.
    pub commands: AtomicUsize,
    pub pings: AtomicUsize,
    pub rollbacks: AtomicUsize,
}

pub struct Server {
    listener: Listener,
    house: Arc<House>,
}

struct House {
    tally: Tally,
    password: Mutex<String>,
    behaviour: Mutex<Behaviour>,
    hello_takes: Mutex<Duration>,
    sessions: Mutex<Vec<(Arc<Session>, JoinHandle<()>)>>,
}

struct Session {
    id: u64,
    /// Its thread has the strong one, so that the socket is closed when the thread ends.
    stream: Weak<TcpStream>,
    behaviour: Mutex<Option<Behaviour>>,
    is_over: Mutex<bool>,
    bell: Condvar,
}

impl Server {
    pub fn start() -> Self {
        let house = Arc::new(House {
            tally: Tally::default(),
            password: Mutex::new(PASSWORD.into()),
            behaviour: Mutex::new(Behaviour::Ok),
            hello_takes: Mutex::default(),
            sessions: Mutex::default(),
        });
        let listener = Listener::bind({
            let house = house.clone();
            move |stream| house.clone().welcome(stream)
        });
        Self { listener, house }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.address
    }

    pub fn tally(&self) -> &Tally {
        &self.house.tally
    }

    /// What sessions do that were not told otherwise, present and future ones.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.house.behaviour.lock().unwrap() = behaviour;
    }

    /// What those of the present sessions do that are chosen, whatever the others do.
    pub fn behave_where(&self, behaviour: Behaviour, is_chosen: impl Fn(u64) -> bool) {
        for (session, _) in self.house.sessions.lock().unwrap().iter() {
            if is_chosen(session.id) {
                *session.behaviour.lock().unwrap() = Some(behaviour);
            }
        }
    }

    pub fn behave_for(&self, id: u64, behaviour: Behaviour) {
        self.behave_where(behaviour, |session| session == id);
    }

    /// How long the reply to `hello` takes, on top of what the behaviour says.
    pub fn hello_takes(&self, time: Duration) {
        *self.house.hello_takes.lock().unwrap() = time;
    }

    pub fn set_password(&self, password: &str) {
        *self.house.password.lock().unwrap() = password.into();
    }

    /// Closes the port: whoever connects is refused. Sessions go on.
    pub fn refuse(&self) {
        self.listener.close();
    }

    /// Opens the same port again.
    pub fn reopen(&self) {
        self.listener.open();
    }

    /// Closes all sessions, as a server does that is shut down. They are gone when this returns.
    pub fn kill_sessions(&self) -> usize {
        self.kill_sessions_where(|_| true)
    }

    pub fn kill_sessions_where(&self, is_chosen: impl Fn(u64) -> bool) -> usize {
        let mut sessions = self.house.sessions.lock().unwrap();
        let (killed, kept) = sessions
            .drain(..)
            .partition(|(session, thread)| is_chosen(session.id) && !thread.is_finished());
        *sessions = kept;
        drop(sessions);
        let killed: Vec<(Arc<Session>, JoinHandle<()>)> = killed;
        killed.iter().for_each(|(session, _)| session.end());
        let count = killed.len();
        killed.into_iter().for_each(|(_, thread)| thread.join().expect("a session panicked"));
        count
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listener.close();
        self.kill_sessions();
    }
}

impl House {
    fn welcome(self: Arc<Self>, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        let session = Arc::new(Session {
            id: self.tally.accepted.fetch_add(1, SeqCst) as u64,
            stream: Arc::downgrade(&stream),
            behaviour: Mutex::default(),
            is_over: Mutex::default(),
            bell: Condvar::new(),
        });
        let open = self.tally.open.fetch_add(1, SeqCst) + 1;
        self.tally.most_open.fetch_max(open, SeqCst);
        let mut sessions = self.sessions.lock().unwrap();
        sessions.retain(|(_, thread)| !thread.is_finished());
        let (house, its_own) = (self.clone(), session.clone());
        let thread = thread::spawn(move || {
            let _ = house.serve(&its_own, &stream);
            drop(stream);
            house.tally.open.fetch_sub(1, SeqCst);
        });
        sessions.push((session, thread));
    }

    /// A whole session, until either side ends it.
    fn serve(&self, session: &Session, mut stream: &TcpStream) -> io::Result<()> {
        let (mut line, mut is_welcome, mut in_transaction) = (String::new(), false, false);
        let (mut bytes, mut half_sent) = ([0; 128], false);
        loop {
            let length = stream.peek(&mut bytes)?;
            if length == 0 {
                return Ok(());
            }
            if self.behaviour_of(session) == Behaviour::Reset {
                return reset_when_closed(stream);
            }
            let end = bytes[..length].iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(length, |end| end + 1);
            stream.read_exact(&mut bytes[..taken])?;
            line += &String::from_utf8_lossy(&bytes[..end.unwrap_or(taken)]);
            if end.is_none() {
                continue;
            }
            let request = std::mem::take(&mut line);
            let (verb, argument) = request.split_once(' ').unwrap_or((&request, ""));
            let behaviour = self.behaviour_of(session);
            if let Behaviour::Slow(delay) = behaviour {
                session.nap(delay);
            }
            let reply = match verb {
                "hello" => {
                    let time = *self.hello_takes.lock().unwrap();
                    session.nap(time);
                    let is_right = argument == *self.password.lock().unwrap();
                    is_welcome = is_right && behaviour != Behaviour::BadAuth;
                    if is_welcome { format!("welcome {}", session.id) } else { "denied".into() }
                }
                _ if !is_welcome => "denied".into(),
                "ping" => "pong".into(),
                "echo" => argument.into(),
                "work" => {
                    session.nap(Duration::from_millis(argument.parse().unwrap_or(0)));
                    "ok".into()
                }
                "begin" if in_transaction => "error".into(),
                "begin" | "commit" | "rollback" => {
                    in_transaction = verb == "begin";
                    "ok".into()
                }
                // A mute server does not even take leave.
                "bye" if behaviour == Behaviour::Mute => continue,
                "bye" => return Ok(()),
                _ => String::from("error"),
            };
            match self.behaviour_of(session) {
                Behaviour::Mute => continue,
                Behaviour::HalfReply if half_sent => continue,
                Behaviour::HalfReply => {
                    half_sent = true;
                    stream.write_all(&reply.as_bytes()[..reply.len().div_ceil(2)])?;
                    continue;
                }
                Behaviour::Reset => return reset_when_closed(stream),
                _ => {}
            }
            // Counted first: whoever has read the reply finds it in the books.
            self.tally.commands.fetch_add(1, SeqCst);
            self.tally.pings.fetch_add(usize::from(verb == "ping"), SeqCst);
            self.tally.rollbacks.fetch_add(usize::from(verb == "rollback"), SeqCst);
            stream.write_all(format!("{reply}\n").as_bytes())?;
            if reply == "denied" {
                return Ok(());
            }
        }
    }

    fn behaviour_of(&self, session: &Session) -> Behaviour {
        let own = *session.behaviour.lock().unwrap();
        own.unwrap_or_else(|| *self.behaviour.lock().unwrap())
    }
}

impl Session {
    fn end(&self) {
        *self.is_over.lock().unwrap() = true;
        self.bell.notify_all();
        if let Some(stream) = self.stream.upgrade() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Waits for so long, or until the session is killed.
    fn nap(&self, time: Duration) {
        let over = self.is_over.lock().unwrap();
        drop(self.bell.wait_timeout_while(over, time, |over| !*over).unwrap());
    }
}
