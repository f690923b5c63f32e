//! Redis.

use super::process::{Seat, loopback, private_directory, seated, text};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A server that keeps nothing.
#[derive(Debug)]
pub struct Redis {
    seat: Seat,
    settings: Vec<String>,
}

seated!(Redis);

impl Redis {
    /// A new server, running. `settings` are as on its command line: `["--maxclients", "16"]`.
    pub fn start(settings: &[&str]) -> Self {
        let settings = settings.iter().map(|&setting| setting.into()).collect();
        let mut server = Self { seat: Seat::new(private_directory()), settings };
        server.restart();
        server
    }

    /// One that watches over others, and knows none yet.
    pub fn start_sentinel() -> Self {
        let mut server = Self { seat: Seat::new(private_directory()), settings: Vec::new() };
        let (port, file) = (server.port, server.path("sentinel.conf"));
        // It keeps there what it learns.
        std::fs::write(&file, format!("port {port}\nbind 127.0.0.1\n")).expect("a file");
        let is_ready = || Eye::open(port).is_some_and(|mut eye| eye.try_ask("PING").is_some());
        server.seat.start(false, "redis-server", &[text(&file), "--sentinel"], is_ready);
        server
    }

    /// Comes back on the same port, empty, and returns when it serves.
    pub fn restart(&mut self) {
        let (port, directory) = (self.port.to_string(), self.path(""));
        let mut arguments = vec!["--port", &port, "--bind", "127.0.0.1", "--dir", text(&directory)];
        arguments.extend(["--save", "", "--loglevel", "warning"]);
        arguments.extend(self.settings.iter().map(String::as_str));
        let port = self.seat.port;
        let is_ready = || Eye::open(port).is_some_and(|mut eye| eye.try_ask("PING").is_some());
        self.seat.start(false, "redis-server", &arguments, is_ready);
    }

    /// A session that is not the pool's, already there when the server takes no more.
    pub fn eye(&self) -> Eye {
        let mut eye = Eye::open(self.port).expect("a running server");
        if let Some(password) = self.setting("--requirepass") {
            eye.ask(&format!("AUTH {password}"));
        }
        eye
    }

    pub fn url(&self) -> String {
        match self.setting("--requirepass") {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}/", self.port),
            None => format!("redis://127.0.0.1:{}/", self.port),
        }
    }

    fn setting(&self, name: &str) -> Option<&str> {
        let at = self.settings.iter().position(|setting| setting == name)?;
        self.settings.get(at + 1).map(String::as_str)
    }
}

/// Looks at a server without any driver.
#[derive(Debug)]
pub struct Eye(BufReader<TcpStream>);

impl Eye {
    fn open(port: u16) -> Option<Self> {
        let stream = TcpStream::connect(loopback(port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        Some(Self(BufReader::new(stream)))
    }

    /// What the server answers to a command whose words have no spaces.
    pub fn ask(&mut self, command: &str) -> String {
        let answer = self.try_ask(command);
        answer.unwrap_or_else(|| panic!("no answer to {command}"))
    }

    fn try_ask(&mut self, command: &str) -> Option<String> {
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let mut line = String::new();
        self.0.read_line(&mut line).ok()?;
        let line = line.strip_suffix("\r\n")?;
        let Some(length) = line.strip_prefix('$') else { return Some(line.into()) };
        // Nothing at all has the length -1.
        let Ok(length) = length.parse::<usize>() else { return Some(String::new()) };
        let mut text = vec![0; length + 2];
        self.0.read_exact(&mut text).ok()?;
        text.truncate(length);
        String::from_utf8(text).ok()
    }

    /// How many sessions there are beside this one.
    pub fn others(&mut self) -> usize {
        self.ask("CLIENT LIST").lines().count() - 1
    }
}
