//! A TCP proxy that loses, delays and cuts. Two threads per link; nothing of it outlives the
//! [`Proxy`].

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Each piece is late by so much.
    Delay(Duration),
    /// A black hole: bytes are swallowed both ways, and so are ends and resets; whoever connects is
    /// accepted and hears nothing. The links that it has caught stay dead for ever.
    Drop,
    /// Nothing gets through either way, and nobody is told, until the mode changes: then it does.
    Hold,
}

pub struct Proxy {
    listener: Listener,
    wires: Arc<Wires>,
}

struct Wires {
    server: SocketAddr,
    accepted: AtomicUsize,
    links: Mutex<Vec<(Weak<Link>, Pumps)>>,
    mode: Mutex<Mode>,
    /// Rung when the mode has changed or a link was cut.
    bell: Condvar,
}

/// One thread for each direction.
type Pumps = [JoinHandle<()>; 2];

struct Link {
    id: usize,
    client: TcpStream,
    /// There is none if the client was accepted by a black hole.
    server: Option<TcpStream>,
    is_dead: AtomicBool,
    is_cut: AtomicBool,
}

impl Proxy {
    pub fn to(server: SocketAddr) -> Self {
        let wires = Arc::new(Wires {
            server,
            accepted: AtomicUsize::new(0),
            links: Mutex::default(),
            mode: Mutex::new(Mode::Pass),
            bell: Condvar::new(),
        });
        let listener = Listener::bind({
            let wires = wires.clone();
            move |client| wires.clone().link(client)
        });
        Self { listener, wires }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.address
    }

    /// TCP connections accepted, ever.
    pub fn accepted(&self) -> usize {
        self.wires.accepted.load(SeqCst)
    }

    /// Links that are up now, dead ones included.
    pub fn links(&self) -> usize {
        let links = self.wires.links.lock().unwrap();
        links.iter().filter(|(link, _)| link.strong_count() > 0).count()
    }

    pub fn set(&self, mode: Mode) {
        let links = self.wires.links.lock().unwrap();
        *self.wires.mode.lock().unwrap() = mode;
        if mode == Mode::Drop {
            kill(&links);
        }
        self.wires.bell.notify_all();
    }

    /// The present links stay dead for ever, as after a failover.
    pub fn forget(&self) {
        kill(&self.wires.links.lock().unwrap());
    }

    /// Closes the port: whoever connects is refused. Links go on.
    pub fn refuse(&self) {
        self.listener.close();
    }

    /// Opens the same port again.
    pub fn reopen(&self) {
        self.listener.open();
    }

    /// Resets all links at both ends. They are gone when this returns.
    pub fn cut(&self) -> usize {
        self.cut_where(|_| true)
    }

    /// The same for some links: they are numbered from 0 in the order in which they were accepted.
    pub fn cut_where(&self, is_chosen: impl Fn(usize) -> bool) -> usize {
        let mut links = self.wires.links.lock().unwrap();
        let (mut chosen, mut pumps) = (Vec::new(), Vec::new());
        for (weak, its_pumps) in std::mem::take(&mut *links) {
            match weak.upgrade().filter(|link| is_chosen(link.id)) {
                Some(link) => {
                    link.is_cut.store(true, SeqCst);
                    chosen.push(link);
                    pumps.extend(its_pumps);
                }
                None => links.push((weak, its_pumps)),
            }
        }
        // None of them passes anything on any more when the first end learns of it.
        chosen.iter().for_each(|link| link.reset());
        drop(links);
        drop(self.wires.mode.lock().unwrap());
        self.wires.bell.notify_all();
        let count = chosen.len();
        drop(chosen);
        pumps.into_iter().for_each(|pump| pump.join().expect("a link panicked"));
        count
    }
}

fn kill(links: &[(Weak<Link>, Pumps)]) {
    for link in links.iter().filter_map(|(link, _)| link.upgrade()) {
        link.is_dead.store(true, SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.close();
        self.cut();
    }
}

impl Wires {
    fn link(self: Arc<Self>, client: TcpStream) {
        let mut links = self.links.lock().unwrap();
        links.retain(|(link, _)| link.strong_count() > 0);
        let id = self.accepted.fetch_add(1, SeqCst);
        let is_dead = *self.mode.lock().unwrap() == Mode::Drop;
        let server = if is_dead { None } else { TcpStream::connect(self.server).ok() };
        if server.is_none() && !is_dead {
            let _ = reset_when_closed(&client);
            return;
        }
        for stream in [Some(&client), server.as_ref()].into_iter().flatten() {
            let _ = stream.set_nodelay(true);
        }
        let (is_dead, is_cut) = (AtomicBool::new(is_dead), AtomicBool::new(false));
        let link = Arc::new(Link { id, client, server, is_dead, is_cut });
        let pumps = [true, false].map(|is_upward| {
            let (wires, link) = (self.clone(), link.clone());
            thread::spawn(move || {
                let (client, server) = (Some(&link.client), link.server.as_ref());
                let (from, to) = if is_upward { (client, server) } else { (server, client) };
                if let Some(from) = from
                    && wires.pump(&link, from, to).is_err()
                {
                    // One end was reset; so is the other.
                    link.reset();
                }
            })
        });
        links.push((Arc::downgrade(&link), pumps));
    }

    /// One direction of one link.
    fn pump(&self, link: &Link, mut from: &TcpStream, to: Option<&TcpStream>) -> io::Result<()> {
        let mut bytes = [0; 4096];
        loop {
            let read = from.read(&mut bytes);
            let mut mode = self.mode();
            if let Mode::Delay(delay) = *mode {
                let is_on = |_: &mut Mode| !link.is_cut.load(SeqCst);
                mode = self.bell.wait_timeout_while(mode, delay, is_on).unwrap().0;
            }
            let is_held = |mode: &mut Mode| *mode == Mode::Hold && !link.is_cut.load(SeqCst);
            mode = self.bell.wait_while(mode, is_held).unwrap();
            // Looked at after the wait and before the write: what is on its way is lost, too.
            let is_dead = link.is_dead.load(SeqCst);
            if is_dead && !matches!(read, Ok(1..)) {
                // An end gets through when the hole is gone: its sender keeps trying.
                let is_in = |mode: &mut Mode| *mode == Mode::Drop && !link.is_cut.load(SeqCst);
                mode = self.bell.wait_while(mode, is_in).unwrap();
            }
            drop(mode);
            match (read?, to) {
                _ if link.is_cut.load(SeqCst) => return Ok(()),
                (0, Some(to)) => return to.shutdown(Shutdown::Write),
                (0, None) => return Ok(()),
                (length, Some(mut to)) if !is_dead => to.write_all(&bytes[..length])?,
                _ => {}
            }
        }
    }

    fn mode(&self) -> MutexGuard<'_, Mode> {
        self.mode.lock().unwrap()
    }
}

impl Link {
    fn reset(&self) {
        self.is_cut.store(true, SeqCst);
        for stream in [Some(&self.client), self.server.as_ref()].into_iter().flatten() {
            let _ = reset_when_closed(stream);
            // Wakes its reader, and says nothing to the peer.
            let _ = stream.shutdown(Shutdown::Read);
        }
    }
}

/// Has the peer see a reset instead of an end when the socket is closed. The standard library
/// cannot say so; tokio can, and no runtime is needed for it.
pub fn reset_when_closed(stream: &TcpStream) -> io::Result<()> {
    tokio::net::TcpSocket::from_std_stream(stream.try_clone()?).set_zero_linger()
}

/// A port that can be closed and opened again.
pub struct Listener {
    pub address: SocketAddr,
    on_accept: Arc<dyn Fn(TcpStream) + Send + Sync>,
    door: Mutex<Option<(Arc<AtomicBool>, JoinHandle<()>)>>,
}

impl Listener {
    /// A port below those that the system gives to clients: while it is closed nobody can come by
    /// it.
    pub fn bind(on_accept: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let first = (std::process::id() % 1000) as u16 * 20;
        let listener = (0..20_000).find_map(|_| {
            let port = 12_000 + first.wrapping_add(NEXT.fetch_add(1, SeqCst)) % 20_000;
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
        });
        let listener = listener.expect("no free port");
        let address = listener.local_addr().unwrap();
        let new = Self { address, on_accept: Arc::new(on_accept), door: Mutex::default() };
        new.listen(listener);
        new
    }

    pub fn open(&self) {
        if self.door.lock().unwrap().is_none() {
            self.listen(TcpListener::bind(self.address).expect("the port is taken"));
        }
    }

    fn listen(&self, listener: TcpListener) {
        let (closing, on_accept) = (Arc::new(AtomicBool::new(false)), self.on_accept.clone());
        let is_closing = closing.clone();
        let thread = thread::spawn(move || {
            loop {
                let accepted = listener.accept();
                if is_closing.load(SeqCst) {
                    return;
                }
                // Out of files, perhaps; that passes.
                accepted.map_or_else(|_| thread::yield_now(), |(stream, _)| on_accept(stream));
            }
        });
        *self.door.lock().unwrap() = Some((closing, thread));
    }

    pub fn close(&self) {
        let Some((closing, thread)) = self.door.lock().unwrap().take() else { return };
        closing.store(true, SeqCst);
        let deadline = Instant::now() + super::PLENTY;
        while !thread.is_finished() && Instant::now() < deadline {
            // The knock that ends the wait for one.
            let _ = TcpStream::connect_timeout(&self.address, Duration::from_millis(50));
        }
        thread.join().expect("an acceptor panicked");
    }
}
