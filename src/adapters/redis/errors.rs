//! Errors: which there are, and which will not pass.

use crate::ErrorClass;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use std::io;
use std::time::Duration;

/// An answer to another question, or to none. Not repeated: it may be a borrower's.
pub(super) fn unexpected() -> RedisError {
    (ErrorKind::UnexpectedReturnType, "the answer belongs to another request").into()
}

/// The first refusal among these, as an error.
pub(super) fn refusal<'a>(answers: impl IntoIterator<Item = &'a Value>) -> RedisResult<()> {
    answers.into_iter().try_for_each(|answer| match answer {
        Value::ServerError(error) => Err(error.clone().into()),
        _ => Ok(()),
    })
}

pub(super) fn check_timeout(timeout: Option<Duration>) -> RedisResult<()> {
    match timeout {
        Some(Duration::ZERO) => {
            Err((ErrorKind::InvalidClientConfig, "the response timeout must not be zero").into())
        }
        _ => Ok(()),
    }
}

pub(super) fn out_of_time() -> RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

/// The runtime of the connection is gone, or not driven.
#[cfg(feature = "redis-tokio")]
pub(super) fn without_runtime() -> RedisError {
    let kind = io::ErrorKind::NotConnected;
    io::Error::new(kind, "nothing drives the runtime on which the connection lives").into()
}

pub(super) fn classify(error: &RedisError) -> ErrorClass {
    let will_not_pass = match error.kind() {
        // What answers is no Redis, unless it was cut off in the middle of a word.
        ErrorKind::Parse => !error.to_string().contains("end of input"),
        ErrorKind::AuthenticationFailed
        | ErrorKind::InvalidClientConfig
        | ErrorKind::RESP3NotSupported
        | ErrorKind::Server(ServerErrorKind::NoPerm) => true,
        // All that has no code of its own. That there is no room for more clients is among it.
        ErrorKind::Server(ServerErrorKind::ResponseError) => {
            let detail = error.detail().unwrap_or_default();
            CONFIGURATION.iter().any(|part| detail.contains(part))
        }
        _ => matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPROTO" | "DENIED")),
    };
    if will_not_pass { ErrorClass::Permanent } else { ErrorClass::Transient }
}

/// In what servers of all ages say of wrong passwords, users and databases.
const CONFIGURATION: [&str; 7] = [
    "invalid password",
    "AUTH",
    "'auth'",
    "DB index",
    "SELECT is not allowed",
    "unknown command",
    "Protocol version",
];
