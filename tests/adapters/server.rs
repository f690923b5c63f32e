//! The web server of the examples, as a process of its own, under load.
#![cfg(all(unix, feature = "rusqlite", feature = "tokio-postgres", feature = "serde"))]

mod browser;
mod live;

use crate::common::{Ends, PLENTY, eventually};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const CLIENTS: usize = 16;
/// The pool's size.
const SIZE: u64 = 8;
const SECOND: Duration = Duration::from_secs(1);

/// Cargo builds examples along with all tests, but not for `--test adapters` or `--tests` alone.
fn program() -> PathBuf {
    static BUILD: Mutex<()> = Mutex::new(());
    let _alone = BUILD.lock().unwrap_or_else(PoisonError::into_inner);
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("examples/server");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/server");
    let written = |path: &Path| path.metadata().and_then(|metadata| metadata.modified());
    let files = source.read_dir().unwrap().map(|file| file.unwrap().path());
    let changed = files.map(|file| written(&file).unwrap()).max().unwrap();
    if written(&program).is_ok_and(|built| built < changed) || !program.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--all-features", "--example", "server"]);
        cargo.args((!cfg!(debug_assertions)).then_some("--release"));
        assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
    }
    assert!(program.exists(), "{} is missing: cargo build --example server", program.display());
    program
}

struct Server {
    process: Child,
    address: SocketAddr,
    output: BufReader<ChildStdout>,
}

impl Server {
    fn start(file: Option<&Path>, url: Option<&str>) -> Self {
        let mut command = Command::new(program());
        command.args(["--listen", "127.0.0.1:0"]).args(file).env_remove("DATABASE_URL");
        command.envs(url.map(|url| ("DATABASE_URL", url)));
        let mut process =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the example");
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").expect("an address");
        Self { process, address: address.parse().unwrap(), output }
    }

    fn client(&self) -> Client {
        Client::of(self.address).unwrap()
    }

    /// One request over a connection of its own.
    fn ask(&self, path: &str) -> Reply {
        self.client().ask(path).unwrap()
    }

    fn is_healthy(&self) -> bool {
        let reply = self.ask("/health");
        let is_healthy = reply.status == 200;
        assert!(is_healthy || reply.status == 503, "{reply:?}");
        assert_eq!(reply.body, json!({ "healthy": is_healthy }));
        is_healthy
    }

    fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// How it ended, and what it said at last.
    fn ended(mut self) -> (ExitStatus, String) {
        let mut status = None;
        eventually("it ends", || {
            status = self.process.try_wait().unwrap();
            std::thread::sleep(Duration::from_millis(1));
            status.is_some()
        });
        let mut said = String::new();
        self.output.read_to_string(&mut said).unwrap();
        (status.unwrap(), said)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    retry_after: Option<String>,
    is_last: bool,
    body: Value,
}

impl Reply {
    /// The server's way to say no: one word for whoever asked, and when to come again.
    fn is_polite_refusal(&self) -> bool {
        self.status == 503
            && self.body == json!({ "error": "come again" })
            && self.retry_after.as_deref() == Some("1")
    }
}

/// A connection that is kept alive.
struct Client(BufReader<TcpStream>);

impl Client {
    fn of(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PLENTY))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// `None`: the server had hung up before, without a word. A reply that has begun must be a
    /// whole one.
    fn ask(&mut self, path: &str) -> Option<Reply> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).ok()?;
        let mut head = String::new();
        match self.0.read_line(&mut head) {
            Ok(0) => return None,
            // It hung up with the request unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            result => assert!(result.unwrap() > 0),
        }
        while !head.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut head).unwrap() > 0, "cut off: {head:?}");
        }
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest[..3].parse().ok());
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines
                .filter(|(found, _)| found.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
                .next()
        };
        let length = header("content-length").and_then(|length| length.parse().ok());
        let mut body = vec![0; length.unwrap_or_else(|| panic!("no length: {head:?}"))];
        self.0.read_exact(&mut body).unwrap_or_else(|error| panic!("cut off: {error}"));
        assert_eq!(header("content-type"), Some("application/json"));
        Some(Reply {
            status: status.unwrap_or_else(|| panic!("no status: {head:?}")),
            retry_after: header("retry-after").map(Into::into),
            is_last: header("connection") == Some("close"),
            body: serde_json::from_slice(&body).unwrap(),
        })
    }
}

/// Clients ask one after the other for as long as `goes_on`, and nothing but whole and right
/// answers comes. Being hung up on is right only once the server `is_stopping`. How many answers
/// came.
fn drive(server: &Server, is_stopping: &AtomicBool, goes_on: impl Fn() -> bool + Sync) -> usize {
    let tables = json!(["album", "artist", "song"]);
    let count = AtomicUsize::new(0);
    let work = |number: usize| {
        let mut client = server.client();
        let paths = ["/tables", "/", "/tables", "/health", "/tables", "/pool"];
        for path in paths.iter().cycle().skip(number) {
            if !goes_on() {
                return;
            }
            // Before the request: what happens after may be the reason for its end.
            let reply = client.ask(path);
            let Some(reply) = reply else {
                assert!(is_stopping.load(SeqCst), "hung up on");
                return;
            };
            assert_eq!(reply.status, 200, "{reply:?}");
            match *path {
                "/health" => assert_eq!(reply.body, json!({ "healthy": true })),
                "/pool" => assert_eq!(reply.body["capacity"], SIZE),
                _ => assert_eq!(reply.body, tables),
            }
            count.fetch_add(1, SeqCst);
            if reply.is_last {
                assert!(is_stopping.load(SeqCst), "sent away");
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let work = &work;
            scope.spawn(move || work(number));
        }
    });
    count.into_inner()
}

#[test]
fn sixteen_clients_get_whole_answers_and_the_accounts_agree_afterwards() {
    let server = Server::start(None, None);
    let begun = Instant::now();
    let served = drive(&server, &AtomicBool::new(false), || begun.elapsed() < 2 * SECOND);
    println!("{served} answers in {:?}", begun.elapsed());
    assert!(served > 100, "{served} in two seconds");
    eventually("the accounts agree", || {
        let pool = server.ask("/pool").body;
        let figure = |name: &str| pool[name].as_u64().unwrap_or_else(|| panic!("{name}: {pool}"));
        figure("idle") == SIZE && figure("checkouts") == figure("returns")
    });
    let pool = server.ask("/pool").body;
    // All answers but those of `/pool`.
    assert!(pool["checkouts"].as_u64().unwrap() >= served as u64 / 2, "{pool}");
    assert_eq!((&pool["timeouts"], &pool["evictions"]["broken"]), (&json!(0), &json!(0)), "{pool}");
    assert_eq!(Command::new(program()).arg("--help").output().unwrap().status.code(), Some(0));
}

#[test]
fn sigterm_under_load_cuts_no_answer_off_and_ends_with_zero_and_a_report() {
    for _ in 0..3 {
        let server = Server::start(None, None);
        let (is_stopping, served) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                eventually("there is load", || {
                    server.ask("/pool").body["checkouts"].as_u64().unwrap() > 500
                });
                is_stopping.store(true, SeqCst);
                server.terminate();
            });
            // Until each has been hung up on.
            served.store(drive(&server, &is_stopping, || true), SeqCst);
        });
        assert!(served.into_inner() > 400);
        let (status, said) = server.ended();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(said.ends_with("closed, nothing left\n"), "{said}");
    }
}

/// A file with one table.
fn database(directory: &Path) -> (PathBuf, Connection) {
    let path = directory.join("test.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("CREATE TABLE song (title TEXT)").unwrap();
    (path, conn)
}

/// A writer's lock on the whole file makes queries slow, as slow as one likes.
#[test]
fn a_pool_full_of_slow_queries_is_healthy_and_refuses_politely_and_sigterm_waits_for_them() {
    let directory = tempfile::tempdir().unwrap();
    let (path, writer) = database(directory.path());
    let server = Server::start(Some(&path), None);
    let gauge = |name: &str| server.ask("/pool").body[name].as_u64().unwrap();
    eventually("all are open", || gauge("idle") == SIZE);
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let begun = Instant::now();
    let mut replies = Vec::new();
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| server.client().ask("/tables").unwrap())).collect();
        eventually("the pool is full", || gauge("lent") == SIZE && gauge("waiting") > 0);
        // Until the first have waited in vain; on a slow machine not for as long as would be an
        // illness.
        let mut looks = 0;
        while !clients.iter().any(|client| client.is_finished()) && begun.elapsed() < 4 * SECOND {
            assert!(server.is_healthy() || begun.elapsed() > 4 * SECOND, "full, and so ill");
            looks += 1;
        }
        assert!(looks > 0);
        server.terminate();
        eventually("it takes no more requests", || Client::of(server.address).is_err());
        writer.execute_batch("COMMIT").unwrap();
        replies.extend(clients.into_iter().map(|client| client.join().unwrap()));
    });
    let (served, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    assert!(served.iter().all(|reply| reply.body == json!(["song"])), "{served:?}");
    assert!(refused.iter().all(|reply| reply.is_polite_refusal()), "{refused:?}");
    if begun.elapsed() < 4 * SECOND {
        assert_eq!((served.len(), refused.len()), (SIZE as usize, CLIENTS - SIZE as usize));
    }
    let (status, said) = server.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.ends_with("closed, nothing left\n"), "{said}");
}

#[test]
fn a_dead_database_is_not_healthy_and_nobody_is_told_why_and_once_it_is_there_all_is_well() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("not yet").join("test.db");
    let server = Server::start(Some(&path), None);
    eventually("it has been looked for", || {
        server.ask("/pool").body["connect_failures"].as_u64().unwrap() > 0
    });
    assert!(!server.is_healthy());
    let reply = server.ask("/tables");
    assert!(reply.is_polite_refusal(), "{reply:?}");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let (path, conn) = database(path.parent().unwrap());
    let begun = Instant::now();
    eventually("it is there", || server.is_healthy());
    assert!(begun.elapsed() < 3 * SECOND, "{:?}", begun.elapsed());
    assert_eq!(server.ask("/tables").body, json!(["song"]));
    drop(conn);
    // A query that fails, as opposed to one that has no connection.
    std::fs::write(path, [b'?'; 8192]).unwrap();
    let reply = server.ask("/tables");
    let told = json!({ "error": "the query failed" });
    assert_eq!((reply.status, reply.retry_after, reply.body), (500, None, told));
}

#[test]
fn a_mistake_on_the_command_line_is_told_and_ends_with_another_code() {
    for arguments in [["--listen", "nowhere"], ["--what", "this"]] {
        let output = Command::new(program()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(!output.stderr.is_empty());
    }
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_postgresql_that_is_killed_or_frozen_under_load_is_not_healthy_until_it_is_back() {
    let mut postgres = crate::common::servers::postgres::Postgres::start(&[]);
    postgres.ask("CREATE TABLE song (title TEXT)");
    let server = Server::start(None, Some(&postgres.dsn()));
    eventually("it is there", || server.is_healthy());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = Ends(&is_over);
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = server.client();
                while !is_over.load(SeqCst) {
                    let reply = client.ask("/tables").expect("kept alive");
                    let is_failed_query =
                        reply.status == 500 && reply.body == json!({ "error": "the query failed" });
                    let is_answer = reply.status == 200 && reply.body == json!(["song"]);
                    assert!(is_answer || is_failed_query || reply.is_polite_refusal(), "{reply:?}");
                }
            });
        }
        for frozen in [false, true] {
            if frozen {
                postgres.freeze()
            } else {
                postgres.kill()
            }
            eventually("it is missed", || !server.is_healthy());
            std::thread::sleep(SECOND);
            assert!(!server.is_healthy());
            if frozen {
                postgres.thaw()
            } else {
                postgres.restart()
            }
            let begun = Instant::now();
            eventually("it is back", || server.is_healthy());
            println!("healthy after {:?}", begun.elapsed());
            assert!(begun.elapsed() < 3 * SECOND, "{:?}", begun.elapsed());
        }
        is_over.store(true, SeqCst);
    });
    assert_eq!(server.ask("/tables").body, json!(["song"]));
    server.terminate();
    let (status, said) = server.ended();
    assert_eq!(status.code(), Some(0), "{said}");
}
