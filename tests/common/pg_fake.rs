//! A server that talks PostgreSQL's protocol as badly as a test wants it to.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// Each client is talked to on a thread of its own, which ends with it. Returns the port.
pub fn serve(talk: impl Fn(&mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    serve_on(listener, talk);
    port
}

pub fn serve_on(
    listener: TcpListener,
    talk: impl Fn(&mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
) {
    let talk = Arc::new(talk);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let talk = talk.clone();
            thread::spawn(move || talk(&mut stream.unwrap()));
        }
    });
}

/// Reads the startup message (or another one without a tag).
pub fn startup(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4)];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// Lets the client in.
pub fn welcome(stream: &mut TcpStream) -> io::Result<()> {
    startup(stream)?;
    stream.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 0])?;
    stream.write_all(&[b'K', 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 2])?;
    ready(stream, b'I')
}

pub fn ready(stream: &mut TcpStream, state: u8) -> io::Result<()> {
    stream.write_all(&[b'Z', 0, 0, 0, 5, state])
}

/// Done, and in no transaction.
pub fn done(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"C\0\0\0\x07OK\0Z\0\0\0\x05I")
}

/// The next message of the client: its tag and its text.
pub fn request(stream: &mut TcpStream) -> io::Result<(u8, String)> {
    let mut tag = [0];
    stream.read_exact(&mut tag)?;
    let body = startup(stream)?;
    Ok((tag[0], String::from_utf8_lossy(&body).trim_end_matches('\0').into()))
}

pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag], length.as_slice(), body].concat()
}

pub fn notice() -> Vec<u8> {
    message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mmind the gap\0\0")
}

pub fn notification() -> Vec<u8> {
    message(b'A', b"\0\0\0\x01tide\0high\0")
}

/// Says the same without pause until the client hangs up; returns how many bytes it said.
pub fn flood(stream: &mut TcpStream, what: &[u8]) -> usize {
    let much = what.repeat(1 + 64 * 1024 / what.len());
    let mut said = 0;
    while let Ok(written) = stream.write(&much[said % what.len()..]) {
        said += written;
    }
    said
}
