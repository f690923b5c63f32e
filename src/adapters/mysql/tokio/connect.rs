//! How a connection is opened within its limit.

use crate::Deadline;
use crate::adapters::mysql::session::address::{Favourite, is_local, look_up};
use crate::adapters::mysql::session::errors::without_tls;
use crate::adapters::mysql::session::line::Line;
use mysql_async::{Conn, Error, Opts, OptsBuilder, Result};
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// When silence makes the system ask whether the server's machine is still there.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How long an address may take before the next one is tried beside it, as RFC 8305 recommends.
const STAGGER: Duration = Duration::from_millis(250);

type Opening = Pin<Box<dyn Future<Output = (Option<IpAddr>, Result<(Conn, Line)>)> + Send>>;

/// How the driver is to connect.
#[derive(Debug, Default)]
pub(super) struct Connect {
    /// `None`: only to the machine itself.
    may_send_password: Option<bool>,
    favourite: Favourite,
}

impl Connect {
    /// Whether or not it goes over a network.
    pub(super) fn with_password(is_allowed: bool) -> Self {
        Self { may_send_password: Some(is_allowed), ..Self::default() }
    }

    /// # Errors
    ///
    /// Returns the error of the last address that was tried.
    pub(super) async fn open(&self, opts: Opts, deadline: &Deadline) -> Result<(Conn, Line)> {
        let until = cut_off(deadline);
        self.guard(&opts)?;
        if opts.socket().is_some() {
            return attempt(opts, None, until).await.1;
        }
        let addresses = self.addresses(&opts).await?;
        let attempts = addresses.into_iter().map(|address| {
            let opening: Opening = Box::pin(attempt(opts.clone(), Some(address), until));
            opening
        });
        let (address, opened) = first_of(attempts.collect()).await;
        if opened.is_ok() {
            address.inspect(|address| self.favourite.set(*address));
        }
        opened
    }

    async fn addresses(&self, opts: &Opts) -> Result<Vec<IpAddr>> {
        let mut addresses = match opts.resolved_ips() {
            Some(addresses) if !addresses.is_empty() => addresses.clone(),
            _ => {
                let host = opts.ip_or_hostname().to_owned();
                let looked_up = tokio::task::spawn_blocking(move || look_up(&host)).await;
                looked_up.map_err(|_| io::Error::other("the runtime ends"))??
            }
        };
        self.favourite.put_first(&mut addresses);
        Ok(addresses)
    }

    /// Without TLS a server that asks for the password, to be encrypted with a key that it shows
    /// itself, could be anybody; and the driver cannot be kept from giving it.
    fn guard(&self, opts: &Opts) -> Result<()> {
        let is_private = opts.ssl_opts().is_some() || opts.socket().is_some();
        let has_secret = opts.pass().is_some_and(|password| !password.is_empty());
        let is_allowed =
            || self.may_send_password.unwrap_or_else(|| is_local(opts.ip_or_hostname()));
        if is_private || !has_secret || is_allowed() {
            return Ok(());
        }
        let message = "without TLS the server could ask for the password, which is allowed only on \
                       the machine itself";
        Err(io::Error::new(io::ErrorKind::PermissionDenied, message).into())
    }
}

/// When a future must have been dropped: a little after its deadline.
pub(super) fn cut_off(deadline: &Deadline) -> Instant {
    let left = deadline.remaining();
    Instant::now() + left + left / 40 + Duration::from_millis(2)
}

/// Begins one after the other, the next one if the last has failed or takes long. The first that
/// succeeds, or is refused by a server, is the outcome; the others are dropped.
async fn first_of(mut waiting: Vec<Opening>) -> (Option<IpAddr>, Result<(Conn, Line)>) {
    waiting.reverse();
    let mut running: Vec<Opening> = waiting.pop().into_iter().collect();
    let mut pause = None;
    poll_fn(move |context| {
        loop {
            let mut ended = None;
            for (place, opening) in running.iter_mut().enumerate() {
                if let Poll::Ready(outcome) = opening.as_mut().poll(context) {
                    ended = Some((place, outcome));
                    break;
                }
            }
            if let Some((place, outcome)) = ended {
                drop(running.swap_remove(place));
                let is_last = running.is_empty() && waiting.is_empty();
                if is_last || outcome.1.as_ref().err().is_none_or(is_an_answer) {
                    return Poll::Ready(outcome);
                }
                running.extend(waiting.pop());
                pause = None;
                continue;
            }
            if waiting.is_empty() {
                return Poll::Pending;
            }
            let pause_now = pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(STAGGER)));
            if pause_now.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            pause = None;
            running.extend(waiting.pop());
        }
    })
    .await
}

/// One that was refused was reached: the next address would lead to the same refusal.
fn is_an_answer(error: &Error) -> bool {
    !matches!(error, Error::Io(_))
}

async fn attempt(
    opts: Opts,
    address: Option<IpAddr>,
    until: Instant,
) -> (Option<IpAddr>, Result<(Conn, Line)>) {
    (address, attempted(opts, address, until).await)
}

/// On Linux a connect is cut off at its limit even while the server keeps its task busy.
async fn attempted(opts: Opts, address: Option<IpAddr>, until: Instant) -> Result<(Conn, Line)> {
    let has_tls = opts.ssl_opts().is_some();
    let keepalive = opts.tcp_keepalive().unwrap_or(KEEPALIVE);
    let mut builder = OptsBuilder::from_opts(opts);
    if let Some(address) = address {
        builder = builder.resolved_ips(Some(vec![address]));
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = until;
        let conn = connected(builder.tcp_keepalive(Some(keepalive)), has_tls).await?;
        Ok((conn, Line::default()))
    }
    #[cfg(target_os = "linux")]
    {
        use crate::adapters::socket::{Leash, Mark, Tied};
        let mark = Mark::by_keepalive();
        let _leash = Leash::until(until, Tied::Marked(mark))?;
        let conn = connected(builder.tcp_keepalive(Some(mark.setting())), has_tls).await?;
        // It may take a while in a process with many sockets.
        let socket = tokio::task::spawn_blocking(move || {
            mark.find().inspect(|socket| socket.keep_alive(keepalive))
        });
        Ok((conn, Line::of(socket.await.ok().flatten())))
    }
}

async fn connected(opts: OptsBuilder, has_tls: bool) -> Result<Conn> {
    let mut connect = Conn::new(opts);
    if !has_tls {
        return connect.await;
    }
    // Asked for TLS that was not compiled in, the driver panics.
    poll_fn(move |context| {
        catch_unwind(AssertUnwindSafe(|| connect.as_mut().poll(context)))
            .unwrap_or_else(|panic| Poll::Ready(Err(without_tls(panic).into())))
    })
    .await
}
