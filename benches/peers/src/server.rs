//! A server of one-line requests, and the path to it, which can be cut and healed.
//!
//! It answers `<verb> <number>` with `ok <number>`. While the path is cut nothing gets through
//! either way, and nobody is told: no end, no reset. Who connects is accepted, as by a kernel, and
//! hears nothing. What was sent meanwhile arrives when the path is healed, as TCP would see to it,
//! only without TCP's delay.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

pub struct Server {
    address: SocketAddr,
    path: Arc<Path>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Path {
    state: Mutex<State>,
    /// Rung when the path is healed, and at the end.
    bell: Condvar,
}

#[derive(Default)]
struct State {
    is_cut: bool,
    is_over: bool,
    /// Sessions with a lower number get nothing through any more.
    lost_below: usize,
    /// All sessions ever, for the end.
    sessions: Vec<(TcpStream, JoinHandle<()>)>,
}

impl Server {
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let path = Arc::new(Path::default());
        let acceptor = thread::spawn({
            let path = Arc::clone(&path);
            move || while listener.accept().is_ok_and(|(stream, _)| path.welcome(stream)) {}
        });
        Ok(Self { address, path, acceptor: Mutex::new(Some(acceptor)) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn cut(&self) {
        self.path.lock().is_cut = true;
    }

    /// Sessions with a number below `lost_below` get nothing through any more, as after a failover.
    pub fn heal(&self, lost_below: usize) {
        let mut state = self.path.lock();
        state.is_cut = false;
        state.lost_below = lost_below;
        self.path.bell.notify_all();
    }

    /// Sessions ever.
    pub fn sessions(&self) -> usize {
        self.path.lock().sessions.len()
    }

    /// Ends all sessions, so that nobody waits for an answer any more, and lets nobody in.
    pub fn hang_up(&self) {
        let acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(acceptor) = acceptor else { return };
        let sessions = {
            let mut state = self.path.lock();
            state.is_over = true;
            self.path.bell.notify_all();
            std::mem::take(&mut state.sessions)
        };
        // The knock that ends the wait for one.
        let _ = TcpStream::connect(self.address);
        let _ = acceptor.join();
        for (stream, thread) in sessions {
            let _ = stream.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.hang_up();
    }
}

impl Path {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False: the server is closed.
    fn welcome(self: &Arc<Self>, stream: TcpStream) -> bool {
        let mut state = self.lock();
        let (path, number) = (Arc::clone(self), state.sessions.len());
        let Ok(handle) = stream.try_clone() else { return true };
        if state.is_over {
            return false;
        }
        let session = thread::spawn(move || drop(path.serve(stream, number)));
        state.sessions.push((handle, session));
        true
    }

    fn serve(&self, mut stream: TcpStream, number: usize) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut bytes, mut heard) = ([0; 256], String::new());
        loop {
            let length = stream.read(&mut bytes)?;
            // The client's end of it does not get through either.
            if !self.is_through(number) || length == 0 {
                return stream.shutdown(Shutdown::Both);
            }
            heard += &String::from_utf8_lossy(&bytes[..length]);
            while let Some((request, rest)) = heard.split_once('\n') {
                let (_, number) = request.split_once(' ').unwrap_or_default();
                let reply = format!("ok {number}\n");
                heard = rest.to_owned();
                stream.write_all(reply.as_bytes())?;
            }
        }
    }

    /// Waits until the path is open for this session. False: it never will be.
    fn is_through(&self, number: usize) -> bool {
        let is_shut =
            |state: &mut State| !state.is_over && (state.is_cut || number < state.lost_below);
        let state = self.bell.wait_while(self.lock(), is_shut);
        !state.unwrap_or_else(PoisonError::into_inner).is_over
    }
}
