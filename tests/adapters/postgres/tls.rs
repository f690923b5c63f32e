//! What goes over the wire when a PostgreSQL connection is secured, and when it ought to be and is
//! not. The server is a fake that answers in PostgreSQL's protocol, and "secures" by doing nothing:
//! what matters is who stands between the driver and the socket.
#![cfg(all(feature = "postgres", feature = "tokio-postgres"))]

use crate::common::pg::{Driver, Pretence, Pretended, assert_more_than_one_is_tried, both, single};
use crate::common::{PLENTY, eventually};
use caliburn::adapters::postgres::{AsyncPostgresManager, PostgresManager};
use caliburn::{GetError, Pool, error::Phase};
use std::convert::Infallible;
use std::future::{Pending, Ready, pending, ready};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{NoTls, Socket};

/// What the server was asked, `TLS?` and `Sync` among it.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn note(&self, what: &str) {
        self.0.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A server that has TLS or has not; returns its port.
fn serve(has_tls: bool) -> (u16, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Heard::default();
    thread::spawn({
        let heard = heard.clone();
        move || {
            for stream in listener.incoming() {
                let heard = heard.clone();
                // Ends with its client.
                thread::spawn(move || converse(stream.unwrap(), has_tls, &heard));
            }
        }
    });
    (port, heard)
}

fn converse(mut stream: TcpStream, has_tls: bool, heard: &Heard) -> io::Result<()> {
    const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();
    let mut body = body_of(&mut stream)?;
    if body == SSL_REQUEST {
        heard.note("TLS?");
        stream.write_all(if has_tls { b"S" } else { b"N" })?;
        body = body_of(&mut stream)?;
    }
    assert_eq!(body[..2], [0, 3], "a startup message");
    stream.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 0])?;
    stream.write_all(&[b'K', 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 2])?;
    let mut status = b'I';
    loop {
        stream.write_all(&[b'Z', 0, 0, 0, 5, status])?;
        let mut tag = [0];
        stream.read_exact(&mut tag)?;
        let body = body_of(&mut stream)?;
        let text = String::from_utf8_lossy(&body).trim_end_matches('\0').to_owned();
        heard.note(if tag == *b"S" { "Sync" } else { &text });
        if tag == *b"X" {
            return Ok(());
        }
        if tag == *b"Q" {
            status = match &*text {
                "BEGIN" => b'T',
                "two" => status,
                _ => b'I',
            };
            if let Some((_, rest)) = text.split_once("SELECT ") {
                stream.write_all(&row(rest.split(';').next().unwrap()))?;
            }
            stream.write_all(b"C\0\0\0\x07OK\0")?;
        }
    }
}

/// With one column of text and its description.
fn row(value: &str) -> Vec<u8> {
    let description = [b"\0\x01a\0".as_slice(), &[0; 6], &[0, 0, 0, 25], &[0; 8]].concat();
    let length = u32::try_from(value.len()).unwrap().to_be_bytes();
    let data = [b"\0\x01".as_slice(), &length, value.as_bytes()].concat();
    [message(b'T', &description), message(b'D', &data)].concat()
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag], length.as_slice(), body].concat()
}

/// A server that has TLS, and is just starting up.
fn serve_but_refuse() -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            body_of(&mut stream).unwrap();
            stream.write_all(b"S").unwrap();
            body_of(&mut stream).unwrap();
            let fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0";
            stream.write_all(&message(b'E', fields)).unwrap();
            // Until the client hangs up.
            let _ = stream.read(&mut [0]);
        }
    });
    (port, served)
}

fn body_of(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// Never comes to an end.
#[derive(Clone, Debug)]
struct Endless;

impl MakeTlsConnect<Socket> for Endless {
    type Stream = Pretended;
    type TlsConnect = Self;
    type Error = Infallible;

    fn make_tls_connect(&mut self, _: &str) -> Result<Self, Infallible> {
        Ok(self.clone())
    }
}

impl TlsConnect<Socket> for Endless {
    type Stream = Pretended;
    type Error = Infallible;
    type Future = Pending<Result<Pretended, Infallible>>;

    fn connect(self, _: Socket) -> Self::Future {
        pending()
    }
}

/// Fails with these words.
#[derive(Clone, Debug)]
struct Refusing(&'static str);

impl MakeTlsConnect<Socket> for Refusing {
    type Stream = Pretended;
    type TlsConnect = Self;
    type Error = Infallible;

    fn make_tls_connect(&mut self, _: &str) -> Result<Self, Infallible> {
        Ok(self.clone())
    }
}

impl TlsConnect<Socket> for Refusing {
    type Stream = Pretended;
    type Error = io::Error;
    type Future = Ready<Result<Pretended, io::Error>>;

    fn connect(self, _: Socket) -> Self::Future {
        ready(Err(io::Error::other(self.0)))
    }
}

fn dsn(port: u16, mode: &str) -> String {
    format!("host=127.0.0.1 port={port} user=app sslmode={mode}")
}

/// Borrows twice, the second time with a transaction left open, and closes the pool.
fn converse_with<D: Driver>(manager: D) {
    let pool: Pool<D> = single(manager);
    D::ask(&mut pool.get_timeout(PLENTY).unwrap(), "one").unwrap();
    let mut client = pool.get_timeout(PLENTY).unwrap();
    D::ask(&mut client, "BEGIN").unwrap();
    D::ask(&mut client, "two").unwrap();
    drop(client);
    drop(pool.get_timeout(PLENTY).unwrap());
    assert!(pool.close_within(PLENTY).is_complete());
}

/// What that is to the server when each transaction is noticed, and nothing else is done.
const PLAIN: [&str; 5] = ["one", "BEGIN", "two", "Sync", "ROLLBACK"];

/// And when it must be supposed each time. The number that is asked for at the end differs.
const UNTAPPED: [&str; 7] = ["TLS?", "one", PROBE, "BEGIN", "two", PROBE, PROBE];
const PROBE: &str = "BEGIN; ROLLBACK; BEGIN";

/// Long enough for some tries.
const BRIEFLY: Duration = Duration::from_millis(1_500);

#[track_caller]
fn assert_heard(heard: &Heard, expected: &[&str]) {
    eventually("the goodbye is heard", || heard.all().last().is_some_and(String::is_empty));
    let mut heard = heard.all();
    heard.pop();
    for what in &mut heard {
        if what.starts_with(PROBE) {
            what.truncate(PROBE.len());
        }
    }
    assert_eq!(heard, expected);
}

both! {
    fn without_tls_the_server_is_not_asked_for_any_and_a_transaction_is_noticed<D: Driver>() {
        for mode in ["disable", "prefer"] {
            let (port, heard) = serve(true);
            converse_with(D::open(&dsn(port, mode)));
            assert_heard(&heard, &PLAIN);
            let (port, heard) = serve(true);
            converse_with(D::open(&dsn(port, mode)).secured_by(NoTls));
            assert_heard(&heard, &PLAIN);
        }
        let (port, heard) = serve(true);
        converse_with(D::open(&dsn(port, "disable")).secured_by(Pretence));
        assert_heard(&heard, &PLAIN);
    }

    fn a_transaction_is_noticed_behind_tls_too<D: Driver>() {
        for mode in ["prefer", "require"] {
            let (port, heard) = serve(true);
            converse_with(D::open(&dsn(port, mode)).secured_by(Pretence));
            let mut expected = vec!["TLS?"];
            expected.extend(PLAIN);
            assert_heard(&heard, &expected);
        }
    }

    fn when_tls_is_preferred_and_refused_each_return_costs_a_round_trip<D: Driver>() {
        let (port, heard) = serve(false);
        converse_with(D::open(&dsn(port, "prefer")).secured_by(Pretence));
        assert_heard(&heard, &UNTAPPED);
    }

    fn when_tls_is_required_and_not_to_be_had_nothing_is_said_in_plain<D: Driver>() {
        for connects in [
            |port| D::open(&dsn(port, "require")).secured_by(Pretence),
            |port| D::open(&dsn(port, "require")),
        ] {
            let (port, heard) = serve(false);
            let error = single(connects(port)).get_timeout(BRIEFLY).unwrap_err();
            assert!(matches!(error, GetError::TimedOut { phase: Phase::Connect, .. }), "{error}");
            assert!(format!("{error:#}").contains("server does not support TLS"), "{error:#}");
            assert!(heard.all().iter().all(|what| what == "TLS?"), "{:?}", heard.all());
        }
        // Here the server would, but the manager has nothing to do it with.
        let (port, heard) = serve(true);
        let error = single(D::open(&dsn(port, "require"))).get_timeout(PLENTY).unwrap_err();
        assert!(matches!(error, GetError::Connect { .. }), "{error}");
        assert!(format!("{error:#}").contains("no TLS implementation configured"), "{error:#}");
        assert!(heard.all().iter().all(|what| what == "TLS?"), "{:?}", heard.all());
    }

    fn a_server_without_tls_after_one_with_it_is_not_taken_for_that_one<D: Driver>() {
        let (secure, _) = serve_but_refuse();
        let (plain, heard) = serve(false);
        let dsn = format!("host=127.0.0.1,127.0.0.1 port={secure},{plain} user=app sslmode=prefer");
        converse_with(D::open(&dsn).secured_by(Pretence));
        assert_heard(&heard, &UNTAPPED);
    }

    fn a_handshake_that_never_ends_fails_at_the_limit<D: Driver>() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let dsn = format!("{} sslnegotiation=direct", dsn(port, "require"));
        let pool = D::open(&dsn)
            .secured_by(Endless)
            .builder()
            .max_size(1)
            .connect_timeout(Duration::from_millis(100))
            .build()
            .unwrap();
        pool.get_timeout(BRIEFLY).map(drop).unwrap_err();
        assert_more_than_one_is_tried(&pool);
        eventually("nothing is stuck", || pool.stats().quarantined == 0);
    }

    fn what_no_second_try_would_change_is_told_at_once<D: Driver>() {
        let (port, _) = serve(true);
        for words in [
            "invalid peer certificate: UnknownIssuer",
            "certificate verify failed: (hostname mismatch)",
            "received fatal alert: UnknownCA",
            "received fatal alert: CertificateRequired",
        ] {
            let pool = single(D::open(&dsn(port, "require")).secured_by(Refusing(words)));
            let error = pool.get_timeout(PLENTY).unwrap_err();
            assert!(matches!(error, GetError::Connect { .. }), "{words}: {error}");
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
        let pool = single(D::open(&dsn(port, "require")).secured_by(Refusing("connection reset")));
        let error = pool.get_timeout(BRIEFLY).unwrap_err();
        assert!(matches!(error, GetError::TimedOut { .. }), "{error}");

        let nameless = format!("hostaddr=127.0.0.1 port={port} user=app sslmode=require");
        let pool = single(D::open(&nameless).secured_by(Pretence));
        let error = pool.get_timeout(PLENTY).unwrap_err();
        assert!(matches!(error, GetError::Connect { .. }), "{error}");
        assert!(format!("{error:#}").contains("no hostname"), "{error:#}");
    }
}
