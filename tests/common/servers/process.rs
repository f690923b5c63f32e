//! A server as a child of the test: it can be killed, frozen and thawed, and never outlives the test.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take to come up or to go down on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An account without rights, for servers that refuse to run as root.
pub const NOBODY: u32 = 65534;

/// Whether the test itself runs as root, and so must make itself smaller for some servers.
pub fn is_root() -> bool {
    let me = Command::new("id").arg("-u").output().expect("id");
    me.stdout.starts_with(b"0\n")
}

/// A port that nobody listens on: a new one each time, below those that the kernel gives to clients, so that
/// no connection takes it before the server does, or while it is down.
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

/// Runs a tool to its end, as `nobody` if asked and the test is root. Fails the test with what it said.
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

/// `setpriv` puts itself aside for the server, so the child is the server itself: with fewer rights if asked,
/// and with the wish to be killed when the thread that started it ends.
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

/// One running server and its children.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    has_ended: bool,
}

impl Process {
    /// What it says goes to `log`.
    ///
    /// It dies with the thread that calls this: call it from the thread of the test, not from a passing one.
    pub fn start(as_nobody: bool, program: &str, arguments: &[&str], log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("a log");
        let mut command = command(as_nobody, program, arguments);
        command.stdout(file.try_clone().expect("a log")).stderr(file);
        let child = command.spawn().expect("setpriv (of util-linux)");
        Self { child, name: program.into(), has_ended: false }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` says so. Fails if the server ends before.
    pub fn await_ready(&mut self, log: &Path, mut ready: impl FnMut() -> bool) {
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

    /// As a crash of the machine: at once and all of it, children too.
    pub fn kill(&mut self) {
        // Its number may be another's by now.
        if self.has_ended {
            return;
        }
        // So that it cannot have more children meanwhile.
        self.signal("STOP");
        self.signal_children("KILL");
        self.signal("KILL");
        self.has_ended = self.child.wait().is_ok();
    }

    /// Asks it to go and waits until it has; kills it if it does not.
    pub fn terminate(&mut self, signal: &str) {
        self.signal(signal);
        let begun = Instant::now();
        while self.child.try_wait().expect("a child").is_none() {
            if begun.elapsed() > PATIENCE {
                return self.kill();
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.has_ended = true;
    }

    /// All of it stands still when this returns; its sockets stay open and the kernel goes on taking connects
    /// for it.
    pub fn freeze(&self) {
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
        let parent = self.id().to_string();
        let children = Command::new("pgrep").args(["-P", &parent]).output().expect("pgrep");
        let children = String::from_utf8(children.stdout).expect("numbers");
        children.lines().chain([&*parent]).any(|id| {
            let threads = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten();
            threads.flatten().any(|thread| {
                let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                // The name of the program is between brackets, and the state after it.
                stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with(['T', 'Z']))
            })
        })
    }

    pub fn thaw(&self) {
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
    fn drop(&mut self) {
        self.kill();
    }
}
