//! A server as a child of the test: it can be killed, frozen and thawed, and never outlives the
//! test.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to come up, or to stand still, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An account without rights, for servers that refuse to run as root.
pub const NOBODY: u32 = 65534;

/// Whether the test itself runs as root, and so must make itself smaller for some servers.
pub fn is_root() -> bool {
    let me = Command::new("id").arg("-u").output().expect("id");
    me.stdout.starts_with(b"0\n")
}

/// A port that nobody listens on: a new one each time, below those that the kernel gives to
/// clients, so that no connection takes it before the server does, or while it is down.
pub fn free_port() -> u16 {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Tests of several processes run side by side.
        let place = std::process::id() * 97 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + place % COUNT).expect("a port");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Runs a tool to its end, as `nobody` if asked and the test is root. Fails the test with what it
/// said.
pub fn run(as_nobody: bool, program: &str, arguments: &[&str]) {
    let output = command(as_nobody, program, arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What takes seconds to make is made once, by a server's own tool, and then copied: beside the
/// program of the test, as `name`. `make` is told where.
pub fn template(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let program = std::env::current_exe().expect("a program");
    let home = program.parent().expect("a directory");
    let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let ready = home.join(name);
    if !ready.exists() {
        // Where an account without rights may go, too.
        let fresh = private_directory();
        let made = fresh.path().join("made");
        make(&made);
        let moved = tempfile::tempdir_in(home).expect("a directory");
        let copy = moved.path().join("made");
        copy_all(&made, &copy);
        // Somebody else may have been faster.
        let _ = std::fs::rename(copy, &ready);
    }
    ready
}

/// With owners and rights.
pub fn copy_all(from: &Path, to: &Path) {
    run(false, "cp", &["-a", text(from), text(to)]);
}

/// The version of an installed server, as a part of a name.
pub fn version(program: &str) -> String {
    let version = Command::new(program).arg("--version").output();
    let version = version.unwrap_or_else(|error| panic!("{program}: {error}")).stdout;
    String::from_utf8_lossy(&version).chars().filter(|c| c.is_alphanumeric()).collect()
}

/// One that an account without rights may write to, and anybody look into.
pub fn private_directory() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    if is_root() {
        std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).expect("chown");
    }
    directory
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// `setpriv` puts itself aside for the server, so the child is the server itself: with fewer rights
/// if asked, and with the wish to be killed when the thread that started it ends.
fn command(as_nobody: bool, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    if as_nobody && is_root() {
        let id = NOBODY.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
    }
    command.args(["--pdeathsig", "KILL", "--", program]).args(arguments);
    command.stdin(Stdio::null());
    command
}

/// Where a server lives: a port and a directory, which stay when it goes and comes back.
#[derive(Debug)]
pub struct Seat {
    pub port: u16,
    directory: TempDir,
    process: Option<Process>,
}

impl Seat {
    pub fn new(directory: TempDir) -> Self {
        Self { port: free_port(), directory, process: None }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the server, in the place of one that may still be there; returns when it `is_ready`.
    ///
    /// It dies with the thread that calls this: call it from the thread of the test, not from a
    /// passing one.
    pub fn start(
        &mut self,
        as_nobody: bool,
        program: &str,
        arguments: &[&str],
        is_ready: impl FnMut() -> bool,
    ) {
        let log = self.path("log");
        self.kill();
        let process = self.process.insert(Process::start(as_nobody, program, arguments, &log));
        process.await_ready(&log, is_ready);
    }

    /// As a crash of its machine.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// All of it stands still when this returns; its sockets stay open and the kernel goes on
    /// taking connects for it.
    pub fn freeze(&self) {
        self.running().freeze();
    }

    pub fn thaw(&self) {
        self.running().thaw();
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("a running server")
    }
}

/// Gives a server the ways of its seat.
macro_rules! seated {
    ($server:ty) => {
        impl std::ops::Deref for $server {
            type Target = Seat;

            fn deref(&self) -> &Seat {
                &self.seat
            }
        }

        impl std::ops::DerefMut for $server {
            fn deref_mut(&mut self) -> &mut Seat {
                &mut self.seat
            }
        }
    };
}
pub(crate) use seated;

/// One running server and its children.
#[derive(Debug)]
struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// What it says goes to `log`.
    fn start(as_nobody: bool, program: &str, arguments: &[&str], log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("a log");
        let mut command = command(as_nobody, program, arguments);
        command.stdout(file.try_clone().expect("a log")).stderr(file);
        let child = command.spawn().expect("setpriv (of util-linux)");
        Self { child, name: program.into() }
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` says so. Fails if the server ends before.
    fn await_ready(&mut self, log: &Path, mut ready: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !ready() {
            let ended = self.child.try_wait().expect("a child");
            assert!(
                ended.is_none() && begun.elapsed() < PATIENCE,
                "{} did not come up ({ended:?}): {}",
                self.name,
                std::fs::read_to_string(log).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn freeze(&self) {
        self.signal("STOP");
        self.signal_children("STOP");
        let begun = Instant::now();
        while self.is_moving() {
            assert!(begun.elapsed() < PATIENCE, "{} does not stop", self.name);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Some thread of it, or of a child, runs or may.
    fn is_moving(&self) -> bool {
        may_move(self.id()) || self.children().into_iter().any(may_move)
    }

    fn children(&self) -> Vec<u32> {
        let parent = self.id().to_string();
        let children = Command::new("pgrep").args(["-P", &parent]).output().expect("pgrep");
        let children = String::from_utf8_lossy(&children.stdout).into_owned();
        children.lines().filter_map(|id| id.parse().ok()).collect()
    }

    fn thaw(&self) {
        self.signal_children("CONT");
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        send(Command::new("kill").args([&format!("-{signal}"), &self.id().to_string()]));
    }

    /// By parentage, as the sessions of PostgreSQL have process groups of their own.
    fn signal_children(&self, signal: &str) {
        send(Command::new("pkill").args([&format!("-{signal}"), "-P", &self.id().to_string()]));
    }
}

/// Whether there was somebody to hear it is of no interest.
fn send(command: &mut Command) {
    let _ = command.stderr(Stdio::null()).status().expect("kill and pkill (of procps)");
}

impl Drop for Process {
    /// As a crash of the machine: at once and all of it, children too. When this returns they are
    /// gone, so that another may take their place.
    fn drop(&mut self) {
        // So that it cannot have more children meanwhile.
        self.signal("STOP");
        await_end(|| !may_move(self.id()));
        let children = self.children();
        self.signal_children("KILL");
        self.signal("KILL");
        let _ = self.child.wait();
        await_end(|| !children.iter().copied().any(may_move));
    }
}

/// Waits for what is about to happen; on a machine that stands still not for ever.
fn await_end(mut is_over: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_over() && begun.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether some thread of the process runs or may: it is neither stopped nor dead.
fn may_move(id: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten();
    threads.flatten().any(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The name of the program is between brackets, and the state after it.
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['T', 'Z']))
    })
}
