//! Opens connections of the driver for threads.

use super::addresses::look_up;
use super::errors::{classify, out_of_time};
use super::link::{Link, Unborn};
use super::pulse::Pulse;
use super::talk::{converse, exchange, left};
use super::target::{Greeter, Target};
use crate::ErrorClass;
use crate::adapters::addresses::share;
use redis::{
    Client, Connection, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult,
};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A connection that the server has taken.
pub(super) struct Opened {
    pub(super) driver: Connection,
    pub(super) link: Link,
    pub(super) pulse: Pulse,
}

impl Target {
    /// If the name has several addresses, one after the other is tried, each with its share of what
    /// is left of the limit.
    pub(super) fn open(&self, limit: Instant) -> RedisResult<Opened> {
        let info = self.for_driver();
        let (host, port) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host, *port),
            // The name is needed for the certificate, so the driver looks it up itself, and goes on
            // to the next address if one does not take the connection.
            ConnectionAddr::TcpTls { host, port, .. } => {
                let addresses = look_up(host, *port, limit)?.len();
                let timeout = share(left(limit)?, addresses);
                return self.attempt(info, timeout, limit);
            }
            _ => return self.attempt(info, left(limit)?, limit),
        };
        let addresses = look_up(host, port, limit)?;
        self.open_one_of(addresses, &info, limit)
    }

    fn open_one_of(
        &self,
        addresses: Vec<SocketAddr>,
        info: &ConnectionInfo,
        limit: Instant,
    ) -> RedisResult<Opened> {
        let addresses = self.addresses.in_order(addresses);
        let mut failure = None;
        for (tried, address) in addresses.iter().enumerate() {
            let Ok(left) = left(limit) else { break };
            let timeout = share(left, addresses.len() - tried);
            let place = ConnectionAddr::Tcp(host_of(*address), address.port());
            let info = info.clone().set_addr(place);
            match self.attempt(info, timeout, Instant::now() + timeout) {
                Ok(opened) => {
                    self.addresses.set(*address);
                    return Ok(opened);
                }
                Err(error) if classify(&error) == ErrorClass::Permanent => return Err(error),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| no_address(addresses.is_empty())))
    }

    /// `timeout` is for each address that the driver tries, `limit` for all.
    fn attempt(
        &self,
        info: ConnectionInfo,
        timeout: Duration,
        limit: Instant,
    ) -> RedisResult<Opened> {
        let is_local = matches!(info.addr(), ConnectionAddr::Unix(_));
        let (unborn, info) = Unborn::mark(info);
        let client = Client::open(info)?;
        let bound = unborn.limit(Some(limit).filter(|_| !is_local));
        let connected = client.get_connection_with_timeout(timeout);
        let is_kept = bound.end();
        let mut driver = connected.map_err(|error| if is_kept { error } else { out_of_time() })?;
        if !is_kept {
            return Err(out_of_time());
        }
        let link = if is_local {
            Link::by_read_timeout(|timeout| driver.set_read_timeout(timeout))?
        } else {
            unborn.find()
        };
        let is_plain = !self.is_secured() && !self.speaks_resp3();
        let greeting = self.greeting(Greeter::Driver);
        let answers = is_plain.then(|| exchange(&link, &greeting.commands, limit)).flatten();
        let answers = match answers {
            Some(answers) => answers?,
            None => converse(&mut driver, &link, &greeting.commands, limit)?,
        };
        let pulse = greeting.judge(&answers)?;
        Ok(Opened { driver, link, pulse })
    }
}

/// As the driver takes it.
fn host_of(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        _ => address.ip().to_string(),
    }
}

pub(super) fn no_address(is_unknown: bool) -> RedisError {
    if is_unknown {
        (ErrorKind::InvalidClientConfig, "the server's name has no address").into()
    } else {
        out_of_time()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    /// Answers each word that may be a question.
    fn serve(stream: TcpStream) {
        let mut answers = stream.try_clone().unwrap();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let answer = match &*line {
                "PING" => "+PONG\r\n",
                "CLIENT" => "+OK\r\n",
                _ => continue,
            };
            answers.write_all(answer.as_bytes()).unwrap();
        }
    }

    #[test]
    fn an_address_that_is_mute_costs_its_share_of_the_limit_and_only_once() {
        const LIMIT: Duration = Duration::from_secs(2);
        let [mute, other_mute, good] = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = [&mute, &other_mute, &good].map(|it| it.local_addr().unwrap());
        thread::spawn(move || {
            for stream in good.incoming() {
                thread::spawn(move || serve(stream.unwrap()));
            }
        });
        let target = Target::new("redis://several.example/").unwrap();
        let open = || {
            let begun = Instant::now();
            target.open_one_of(addresses.to_vec(), &target.for_driver(), begun + LIMIT).unwrap();
            begun.elapsed()
        };
        let first = open();
        assert!(first >= LIMIT / 3 && first < LIMIT, "{first:?}");
        let second = open();
        assert!(second < LIMIT / 3, "{second:?}");
    }
}
