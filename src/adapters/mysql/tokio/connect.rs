//! How a connection is opened within its limit.

use crate::Deadline;
use crate::adapters::addresses::Favourite;
use crate::adapters::mysql::session::address::{is_local, look_up};
use crate::adapters::mysql::session::errors::without_tls;
use crate::adapters::mysql::session::line::Line;
use crate::adapters::race::{HEAD_START, race};
use mysql_async::{Conn, Error, Opts, OptsBuilder, Result};
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::time::{Duration, Instant};

/// When silence makes the system ask whether the server's machine is still there.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How the driver is to connect.
#[derive(Debug, Default)]
pub(super) struct Connect {
    /// `None`: only to the machine itself.
    may_send_password: Option<bool>,
    favourite: Favourite<IpAddr>,
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
            return attempt(opts, None, until).await;
        }
        let attempts = self.addresses(&opts).await?.into_iter().map(|address| {
            let opts = opts.clone();
            async move { Ok((attempt(opts, Some(address), until).await?, address)) }
        });
        let won = race(attempts, HEAD_START, is_an_answer).await;
        let (opened, address) = won.unwrap_or_else(|| Err(no_address()))?;
        self.favourite.set(address);
        Ok(opened)
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

    /// Without TLS any server could ask for the password, to be encrypted with a key that it
    /// presents itself, and the driver would always answer.
    fn guard(&self, opts: &Opts) -> Result<()> {
        let is_private = opts.ssl_opts().is_some() || opts.socket().is_some();
        let has_secret = opts.pass().is_some_and(|password| !password.is_empty());
        let is_allowed =
            || self.may_send_password.unwrap_or_else(|| is_local(opts.ip_or_hostname()));
        if is_private || !has_secret || is_allowed() {
            return Ok(());
        }
        let message = "without TLS the server could ask for the password; use TLS, or allow it \
                       with password_without_tls";
        Err(io::Error::new(io::ErrorKind::PermissionDenied, message).into())
    }
}

/// When a future must have been dropped: a little after its deadline.
pub(super) fn cut_off(deadline: &Deadline) -> Instant {
    let left = deadline.remaining();
    Instant::now() + left + left / 40 + Duration::from_millis(2)
}

/// A host whose name leads nowhere.
fn no_address() -> Error {
    io::Error::new(io::ErrorKind::NotFound, "the host has no address").into()
}

/// One that was refused was reached: the next address would lead to the same refusal.
fn is_an_answer(error: &Error) -> bool {
    !matches!(error, Error::Io(_))
}

/// On Linux a connect is cut off at its limit even while the server keeps its task busy.
async fn attempt(opts: Opts, address: Option<IpAddr>, until: Instant) -> Result<(Conn, Line)> {
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
