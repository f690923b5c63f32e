//! What both Redis adapters know of connecting: whom to reach, how to greet, and which failures
//! will not pass.

use crate::ErrorClass;
use redis::{
    Client, ConnectionInfo, ErrorKind, IntoConnectionInfo, Pipeline, RedisConnectionInfo,
    RedisError, RedisResult, ServerErrorKind, Value,
};
use std::fmt;
use std::io;
use std::time::Duration;

/// A server, and what to say to it first.
///
/// The driver would introduce itself too, but it drops what the server answers to a password: a
/// server that has no room left would pass for one that knows another password.
pub(super) struct Target {
    /// Leaves the introduction to us, but for RESP3, which the driver must know of.
    pub(super) client: Client,
    pub(super) session: RedisConnectionInfo,
    pub(super) on_connect: Pipeline,
}

impl Target {
    pub(super) fn new(server: impl IntoConnectionInfo) -> RedisResult<Self> {
        let info = server.into_connection_info()?;
        let session = info.redis_settings().clone();
        let mut bare =
            RedisConnectionInfo::default().set_protocol(session.protocol()).set_skip_set_lib_name();
        if session.protocol().supports_resp3() {
            if let Some(name) = session.username() {
                bare = bare.set_username(name);
            }
            if let Some(password) = session.password() {
                bare = bare.set_password(password);
            }
        }
        let client = Client::open(info.set_redis_settings(bare))?;
        Ok(Self { client, session, on_connect: redis::pipe() })
    }

    pub(super) fn info(&self) -> &ConnectionInfo {
        self.client.get_connection_info()
    }

    /// What to send to a server just reached, and how many answers at its end do not matter.
    pub(super) fn greeting(&self) -> (Pipeline, usize) {
        let session = &self.session;
        let mut greeting = redis::pipe();
        if !session.protocol().supports_resp3()
            && let Some(password) = session.password()
        {
            greeting.cmd("AUTH");
            // It goes without saying, and servers before 6.0 would not have it said.
            if let Some(name) = session.username().filter(|name| *name != "default") {
                greeting.arg(name);
            }
            greeting.arg(password);
        }
        if session.db() != 0 {
            greeting.cmd("SELECT").arg(session.db());
        }
        // A server that takes connections may yet be loading its data.
        greeting.cmd("PING");
        self.on_connect.cmd_iter().for_each(|command| {
            greeting.add_command(command.clone());
        });
        if session.skip_set_lib_name() {
            return (greeting, 0);
        }
        // Servers before 7.2 do not know these.
        greeting.cmd("CLIENT").arg("SETINFO").arg("LIB-NAME");
        greeting.arg(session.lib_name().unwrap_or("redis-rs(caliburn)"));
        greeting.cmd("CLIENT").arg("SETINFO").arg("LIB-VER");
        greeting.arg(session.lib_ver().unwrap_or(env!("CARGO_PKG_VERSION")));
        (greeting, 2)
    }
}

impl fmt::Debug for Target {
    /// Without user and password, and without what is sent on connecting.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("address", &format_args!("{}", self.info().addr()))
            .field("database", &self.session.db())
            .field("protocol", &self.session.protocol())
            .finish_non_exhaustive()
    }
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
            Err((ErrorKind::InvalidClientConfig, "a response timeout of nothing").into())
        }
        _ => Ok(()),
    }
}

pub(super) fn out_of_time() -> RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
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
