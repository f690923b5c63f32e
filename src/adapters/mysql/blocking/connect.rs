//! How a connection is opened within its limit.

use crate::Deadline;
use crate::adapters::addresses::{Favourite, share};
use crate::adapters::mysql::session::address::{is_local, look_up};
use crate::adapters::mysql::session::errors::without_tls;
use crate::adapters::mysql::session::line::Line;
#[cfg(unix)]
use crate::adapters::socket::Socket;
#[cfg(target_os = "linux")]
use crate::adapters::socket::{Leash, Mark, Tied};
use mysql::{Conn, DriverError, Error, Opts, OptsBuilder, Result};
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// When silence makes the system ask whether the server's machine is still there, and how often
/// until it gives it up.
const KEEPALIVE_MS: u32 = 10_000;
#[cfg(any(target_os = "linux", target_os = "macos"))]
const KEEPALIVE_INTERVAL_S: u32 = 5;
#[cfg(any(target_os = "linux", target_os = "macos"))]
const KEEPALIVE_PROBES: u32 = 3;
/// How long the system waits for the receipt of what it has sent.
#[cfg(target_os = "linux")]
const USER_TIMEOUT_MS: u32 = 25_000;

/// Where the driver looks for the server's public key if it may not ask the server for it: where
/// there is none. Then it fails before it sends the password.
const NO_KEY: &str = "/dev/null/no key of the server is known";

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
    pub(super) fn open(&self, opts: &Opts, deadline: &Deadline) -> Result<(Conn, Line)> {
        let opts = self.guarded(careful(opts));
        let addresses = match goes_by_name(&opts) {
            true => vec![None],
            false => self.addresses(&opts)?.into_iter().map(Some).collect(),
        };
        self.one_of(addresses, &opts, deadline)
    }

    /// Those that are left share the time that is left.
    fn one_of(
        &self,
        mut addresses: Vec<Option<IpAddr>>,
        opts: &Opts,
        deadline: &Deadline,
    ) -> Result<(Conn, Line)> {
        addresses.reverse();
        loop {
            let (address, others) = (addresses.pop().flatten(), addresses.len());
            let limit = share(deadline.remaining(), others + 1);
            match attempt(opts, address, limit).map_err(|error| plainly(error, opts)) {
                Ok(opened) => {
                    address.inspect(|address| self.favourite.set(*address));
                    return Ok(opened);
                }
                Err(error) if others == 0 || is_an_answer(&error) => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn addresses(&self, opts: &Opts) -> Result<Vec<IpAddr>> {
        let host = opts.get_ip_or_hostname();
        let mut addresses = look_up(&host).map_err(|error| {
            let whom = format!("{host}:{}", opts.get_tcp_port());
            let reason = (whom, error.to_string(), error.kind());
            Error::from(DriverError::CouldNotConnect(Some(reason)))
        })?;
        self.favourite.put_first(&mut addresses);
        Ok(addresses)
    }

    /// Without TLS any server could ask for the password, to be encrypted with a key that it
    /// presents itself.
    fn guarded(&self, opts: Opts) -> Opts {
        let is_private = opts.get_ssl_opts().is_some() || opts.get_socket().is_some();
        let is_allowed =
            self.may_send_password.unwrap_or_else(|| is_local(&opts.get_ip_or_hostname()));
        if is_private || is_allowed {
            return opts;
        }
        let key = opts.get_server_key_path().map_or_else(|| PathBuf::from(NO_KEY), Path::to_owned);
        let builder = OptsBuilder::from_opts(opts).server_key_path(Some(key));
        builder.enable_cleartext_plugin(false).into()
    }
}

/// Whether the driver must look up the host itself: to check the name in the certificate, or
/// because it goes through a file.
fn goes_by_name(opts: &Opts) -> bool {
    let checks_the_name = opts.get_ssl_opts().is_some_and(|tls| !tls.skip_domain_validation());
    opts.get_socket().is_some() || checks_the_name
}

/// One that was refused was reached: the next address would lead to the same refusal.
fn is_an_answer(error: &Error) -> bool {
    !matches!(
        error,
        Error::IoError(_)
            | Error::CodecError(_)
            | Error::DriverError(DriverError::ConnectTimeout | DriverError::CouldNotConnect(_))
    )
}

/// What the lack of a key really means.
fn plainly(error: Error, opts: &Opts) -> Error {
    let is_guarded = opts.get_server_key_path() == Some(Path::new(NO_KEY));
    match error {
        Error::IoError(error)
            if is_guarded
                && matches!(
                    error.kind(),
                    io::ErrorKind::NotADirectory | io::ErrorKind::NotFound
                ) =>
        {
            let message = "the server asked for the password, which is not sent without TLS; \
                           use TLS, or allow it with password_without_tls";
            io::Error::new(io::ErrorKind::PermissionDenied, message).into()
        }
        error => error,
    }
}

fn attempt(opts: &Opts, address: Option<IpAddr>, limit: Duration) -> Result<(Conn, Line)> {
    if limit.is_zero() {
        return Err(DriverError::ConnectTimeout.into());
    }
    let until = Instant::now() + limit;
    let own = opts.get_tcp_connect_timeout().map_or(limit, |own| own.min(limit));
    let mut builder = OptsBuilder::from_opts(opts.clone()).tcp_connect_timeout(Some(own));
    if let Some(address) = address {
        builder = builder.ip_or_hostname(Some(host_of(address)));
    }
    #[cfg(target_os = "linux")]
    #[cfg(target_os = "linux")]
    let user_timeout = opts.get_tcp_user_timeout_ms().map(|ms| Duration::from_millis(ms.into()));
    #[cfg(target_os = "linux")]
    let leash = {
        let mark = Mark::instead_of(user_timeout);
        let timeout = u32::try_from(mark.user_timeout().as_millis()).unwrap_or(u32::MAX);
        builder = builder.tcp_user_timeout_ms(Some(timeout));
        Leash::until(until, Tied::Marked(mark))?
    };
    let opened = match opts.get_ssl_opts() {
        None => Conn::new(builder),
        Some(_) => {
            // Asked for TLS that was not compiled in, the driver panics.
            let opened = catch_unwind(AssertUnwindSafe(|| Conn::new(builder)));
            opened.unwrap_or_else(|panic| Err(without_tls(panic).into()))
        }
    };
    #[cfg(target_os = "linux")]
    if !leash.end() {
        return Err(DriverError::ConnectTimeout.into());
    }
    let conn = opened?;
    #[cfg(unix)]
    let socket = Socket::of(std::os::fd::AsRawFd::as_raw_fd(&conn));
    #[cfg(target_os = "linux")]
    socket.iter().for_each(|socket| Mark::replace(socket, user_timeout));
    #[cfg(unix)]
    return Ok((conn, Line::of(socket)));
    #[cfg(not(unix))]
    Ok((conn, Line::default()))
}

/// As the driver's options have it.
fn host_of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Fills in what guards against a peer that is gone, and leaves out the second session.
fn careful(opts: &Opts) -> Opts {
    let idle = opts.get_tcp_keepalive_time_ms();
    let mut builder = OptsBuilder::from_opts(opts.clone()).prefer_socket(false);
    builder = builder.tcp_keepalive_time_ms(idle.or(Some(KEEPALIVE_MS)));
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        let interval = opts.get_tcp_keepalive_probe_interval_secs();
        let count = opts.get_tcp_keepalive_probe_count();
        builder = builder
            .tcp_keepalive_probe_interval_secs(interval.or(Some(KEEPALIVE_INTERVAL_S)))
            .tcp_keepalive_probe_count(count.or(Some(KEEPALIVE_PROBES)));
    }
    #[cfg(target_os = "linux")]
    {
        let receipt = opts.get_tcp_user_timeout_ms();
        builder = builder.tcp_user_timeout_ms(receipt.or(Some(USER_TIMEOUT_MS)));
    }
    builder.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{Ipv4Addr, TcpListener};

    /// "Too many connections", by a server that can be told from others.
    const FULL: &[u8] = b"\x17\0\0\0\xff\x10\x04Too many connections";

    #[cfg(target_os = "linux")]
    #[test]
    fn a_mute_server_at_the_first_address_leaves_time_for_the_second() {
        let there = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = there.local_addr().unwrap().port();
        let second = Ipv4Addr::new(127, 0, 0, 2);
        let _mute = TcpListener::bind((second, port)).unwrap();
        let server = std::thread::spawn(move || {
            for _ in 0..2 {
                there.accept().unwrap().0.write_all(FULL).unwrap();
            }
        });
        let opts = Opts::from(OptsBuilder::new().tcp_port(port));
        let connect = Connect::default();
        for (first, next) in [(second, Ipv4Addr::LOCALHOST), (Ipv4Addr::LOCALHOST, second)] {
            let addresses = vec![Some(first.into()), Some(next.into())];
            let deadline = Deadline::after(Duration::from_millis(800));
            let error = connect.one_of(addresses, &opts, &deadline).unwrap_err();
            assert!(matches!(&error, Error::MySqlError(error) if error.code == 1040), "{error}");
            assert!(!deadline.is_past());
        }
        server.join().unwrap();
    }
}
