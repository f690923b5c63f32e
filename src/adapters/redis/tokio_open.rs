//! Opens connections of the driver for tasks.

use super::blocking_open::no_address;
use super::errors::{classify, unexpected};
use super::link::{Link, Unborn};
use super::pulse::Pulse;
use super::target::{Greeter, Target};
use super::wire::{State, Wire};
use crate::ErrorClass;
use crate::adapters::addresses::share;
use crate::adapters::race::{HEAD_START, race};
use redis::aio::MultiplexedConnection;
use redis::io::AsyncDNSResolver;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, RedisFuture, RedisResult};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::task::JoinHandle;

/// A connection that the server has taken.
pub(super) struct Opened {
    pub(super) driver: MultiplexedConnection,
    pub(super) line: Line,
    pub(super) pulse: Pulse,
}

/// What keeps a driver's connection going; dropped, it ends that, clones and all.
pub(super) struct Line {
    /// `None`: the driver looks after it.
    task: Option<JoinHandle<()>>,
    pub(super) link: Link,
    state: Option<Arc<State>>,
    /// The server has nothing to say that it was not asked for.
    is_silent: bool,
    is_left_alone: bool,
}

/// How much a server may say while no borrower waits for an answer of its: the driver keeps an
/// answer until its end has come.
const UNASKED: usize = 4 << 20;

impl Line {
    /// Whether the driver has given the connection up.
    pub(super) fn is_gone(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.is_gone())
    }

    /// How much has come so far, in bytes. Always 0 if the stream is the driver's.
    pub(super) fn heard(&self) -> usize {
        self.state.as_ref().map_or(0, |state| state.heard())
    }

    /// A borrower is to have whatever the server says.
    pub(super) fn lift_bound(&self) {
        self.state.iter().for_each(|state| state.allow(None));
    }

    /// There is nothing to come for a borrower, but perhaps for the pool.
    pub(super) fn bound(&self) {
        self.state.iter().for_each(|state| state.allow(Some(UNASKED)));
    }

    /// There is nothing to come.
    pub(super) fn bound_if_silent(&self) {
        if self.is_silent {
            self.bound();
        }
    }

    /// It ends with the last clone of the driver's connection.
    pub(super) fn leave_alone(mut self) {
        self.is_left_alone = true;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_left_alone {
            return;
        }
        // The runtime may never come to end the task: the server hears of it all the same.
        self.link.shut_down();
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Target {
    /// If the name has several addresses, they are raced, greeting and all.
    pub(super) async fn open_async(
        &self,
        config: &AsyncConnectionConfig,
        resolver: Option<&dyn AsyncDNSResolver>,
        left: Duration,
    ) -> RedisResult<Opened> {
        let (host, port) = match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => (host, *port),
            ConnectionAddr::TcpTls { host, port, .. } => (host, *port),
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => return self.greet(Wire::unix(path).await?, config).await,
            _ => return self.attempt_driver(None, config).await,
        };
        let found: Vec<SocketAddr> = match resolver {
            Some(resolver) => resolver.resolve(host, port).await?.collect(),
            None => lookup_host((&**host, port)).await?.collect(),
        };
        let order = self.addresses.in_order(found);
        let attempt = |address| async move {
            let opened = if self.is_secured() {
                self.attempt_driver(Some(address), config).await?
            } else {
                self.attempt_plain(address, config).await?
            };
            Ok((opened, address))
        };
        let ends_it = |error: &_| classify(error) == ErrorClass::Permanent;
        let head_start = HEAD_START.min(share(left, order.len() + 1));
        let won = race(order.into_iter().map(attempt), head_start, ends_it).await;
        let (opened, address) = won.unwrap_or_else(|| Err(no_address(true)))?;
        self.addresses.set(address);
        Ok(opened)
    }

    async fn attempt_plain(
        &self,
        address: SocketAddr,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<Opened> {
        if address.ip().is_unspecified() {
            return Err(
                (ErrorKind::InvalidClientConfig, "a wildcard address cannot be reached").into()
            );
        }
        self.greet(Wire::tcp(address, self.info.tcp_settings()).await?, config).await
    }

    /// Over a stream of our own: the greeting is read before the driver sees it, which would drop
    /// what it has not asked for, and so why the server hangs up.
    async fn greet(&self, mut wire: Wire, config: &AsyncConnectionConfig) -> RedisResult<Opened> {
        let greeting = self.greeting(Greeter::Ourselves);
        let answers = wire.exchange(&greeting.commands).await?;
        let pulse = greeting.judge(&answers)?;
        let (link, state) = (wire.link(), wire.state());
        let session = self.info.redis_settings();
        let opened = MultiplexedConnection::new_with_config(session, wire, config.clone()).await;
        let (driver, work) = opened?;
        let task = Some(tokio::spawn(work));
        let is_silent = !self.speaks_resp3();
        let line = Line { task, link, state: Some(state), is_silent, is_left_alone: false };
        line.lift_bound();
        Ok(Opened { driver, line, pulse })
    }

    /// Over a stream of the driver's.
    async fn attempt_driver(
        &self,
        address: Option<SocketAddr>,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<Opened> {
        let (unborn, info) = Unborn::mark(self.for_driver());
        let client = Client::open(info)?;
        let mut config = config.clone();
        if let Some(address) = address {
            config = config.set_dns_resolver(Just(address));
        }
        let mut driver = client.get_multiplexed_async_connection_with_config(&config).await?;
        let link = unborn.find();
        let line = Line { task: None, link, state: None, is_silent: false, is_left_alone: false };
        let greeting = self.greeting(Greeter::Driver);
        let mut answers = Vec::new();
        let mut commands = greeting.commands.cmd_iter();
        // By itself: a server that refuses it hangs up, and of answers to several commands the
        // driver would then say only that some are missing.
        if let Some(first) = commands.next() {
            answers.push(driver.send_packed_command(first).await?);
            super::errors::refusal(&answers)?;
        }
        let mut rest = redis::pipe();
        commands.for_each(|command| {
            rest.add_command(command.clone());
        });
        if !rest.is_empty() {
            answers.extend(driver.send_packed_commands(&rest, 0, rest.len()).await?);
        }
        if answers.len() != greeting.commands.len() {
            return Err(unexpected());
        }
        Ok(Opened { driver, line, pulse: greeting.judge(&answers)? })
    }
}

/// One address, whatever the name.
struct Just(SocketAddr);

impl AsyncDNSResolver for Just {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _: &'b str,
        _: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async { Ok(Box::new([self.0].into_iter()) as Box<_>) })
    }
}
