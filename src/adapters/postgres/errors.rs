//! Which of the drivers' errors are final, and errors of their kind.

use crate::ErrorClass;
use std::error::Error;
use std::str::FromStr;
#[cfg(feature = "tokio-postgres")]
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
#[cfg(feature = "tokio-postgres")]
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
#[cfg(feature = "tokio-postgres")]
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, Error as DriverError};

/// Whether an error in connecting (or in what is to be done on each new connection) may pass.
pub(super) fn classify(error: &DriverError, may_be_had_elsewhere: bool) -> ErrorClass {
    let is_permanent = match error.as_db_error() {
        Some(error) => is_permanent(error.code(), error.message()),
        None => is_misconfigured(error),
    };
    // Of several hosts, only what the last one said is known: another may be about to come back.
    if is_permanent && !may_be_had_elsewhere {
        ErrorClass::Permanent
    } else {
        ErrorClass::Transient
    }
}

/// By code (<https://www.postgresql.org/docs/current/errcodes-appendix.html>): no entry or wrong
/// password, no such database, no such schema, no right to what was asked or no sense in it, no
/// such value for a setting.
pub(super) fn is_permanent(code: &SqlState, message: &str) -> bool {
    const CLASSES: [&str; 4] = ["28", "3D", "3F", "42"];
    // That there is already one of that name may be another client's doing.
    const DUPLICATES: [&str; 6] = ["42P03", "42P04", "42P05", "42P06", "42P07", "42710"];
    // PgBouncer has one code for all that it refuses by itself.
    const POOLER: [&str; 3] = ["no such database", "no such user", "authentication failed"];
    let is_final = CLASSES.iter().any(|class| code.code().starts_with(class))
        && !DUPLICATES.contains(&code.code());
    let is_poolers =
        *code == SqlState::PROTOCOL_VIOLATION && POOLER.iter().any(|text| message.contains(text));
    is_final || is_poolers || *code == SqlState::INVALID_PARAMETER_VALUE
}

/// The driver tells the kinds of its own errors apart by their text alone. ("server does not
/// support TLS" is not among these: so it calls all that a server says instead of yes, also that it
/// is out of processes.)
fn is_misconfigured(error: &DriverError) -> bool {
    const OWN: [&str; 3] =
        ["invalid configuration", "invalid connection string", "authentication error"];
    const CAUSES: [&str; 2] =
        ["no TLS implementation configured", "no hostname provided for TLS handshake"];
    let text = error.to_string();
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    let is_untrusted = text.starts_with("error performing TLS handshake") && is_untrusted(error);
    OWN.iter().any(|own| text.starts_with(own)) || CAUSES.contains(&&*cause) || is_untrusted
}

/// A certificate was refused, here or at the server. The libraries have no error in common; all of
/// them name the thing, or the protocol's alert that says so.
fn is_untrusted(error: &DriverError) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string().to_lowercase();
        if ["certificate", "unknown ca", "unknownca"].iter().any(|word| text.contains(word)) {
            return true;
        }
        source = error.source();
    }
    false
}

/// An error of the driver's kind, which only the driver can make: an answer was none.
pub(super) fn out_of_step() -> DriverError {
    let Err(error) = "out of step".parse::<Config>() else { unreachable!("this is no DSN") };
    error
}

/// As [`Config`]'s own, and of no error can any part of the user or of the password be read. The
/// driver names unknown options, which may be the second half of a password with a `?` or a `&` in
/// it; and a password with an `@` in it ends there, so that the rest would pass for a host.
pub(super) fn parse<C: FromStr<Err = DriverError>>(dsn: &str) -> Result<C, DriverError> {
    let heads = ["postgres://", "postgresql://"];
    let url = heads.iter().find_map(|head| dsn.strip_prefix(head));
    let split = url.and_then(|url| url.split_once('@'));
    let behind = split.map(|(_, behind)| behind);
    let is_ambiguous = |(user, behind): (&str, &str)| {
        let host = behind.split('?').next().unwrap_or_default();
        host.contains('@') || user.contains("password=")
    };
    if split.is_some_and(is_ambiguous) {
        return Err(unsaid());
    }
    dsn.parse().map_err(|error: DriverError| {
        // With one `@` all that the driver takes for options is behind user and password.
        let is_behind = behind.is_some_and(|behind| !behind.contains('@'));
        let has_password = url.and_then(|url| url.split_once('?'));
        let has_password = has_password.is_some_and(|(_, options)| options.contains("password"));
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        let quotes = ["unknown option", "unexpected character"];
        let is_quoted = quotes.iter().any(|quote| cause.contains(quote));
        if is_quoted && (!is_behind || has_password) { unsaid() } else { error }
    })
}

/// As of a DSN that ends too early, which quotes nothing.
fn unsaid() -> DriverError {
    "host".parse::<Config>().err().unwrap_or_else(out_of_step)
}

/// One that the driver makes when a stream has timed out.
#[cfg(feature = "tokio-postgres")]
pub(super) async fn timed_out() -> DriverError {
    let late = Config::new().user("nobody").connect_raw(Late, NoTls).await;
    late.err().unwrap_or_else(out_of_step)
}

/// A stream that has timed out.
#[cfg(feature = "tokio-postgres")]
struct Late;

#[cfg(feature = "tokio-postgres")]
impl AsyncRead for Late {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(feature = "tokio-postgres")]
impl AsyncWrite for Late {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
