//! What both Redis adapters know of connecting: whom to reach, and how to greet.

use super::errors::{refusal, unexpected};
use super::pulse::{Pulse, Question};
use super::url::{IntoServer, connection_info};
use crate::adapters::addresses::Favourite;
use redis::{ConnectionAddr, ConnectionInfo, Pipeline, RedisConnectionInfo, RedisResult, Value};
use std::fmt;
use std::net::SocketAddr;

/// A server, and what to say to it first.
///
/// The driver would introduce itself too, but it drops what the server answers to a password: a
/// server that has no room left would pass for one that knows another password.
pub(super) struct Target {
    /// Its session says nothing but which protocol to speak.
    pub(super) info: ConnectionInfo,
    pub(super) session: RedisConnectionInfo,
    pub(super) after_connect: Pipeline,
    pub(super) addresses: Favourite<SocketAddr>,
}

/// Who greets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeter {
    /// This crate, before the driver gets to see the connection.
    Ourselves,
    /// The driver's connection, which has agreed on RESP3 by itself if it is to speak it.
    Driver,
}

impl Target {
    pub(super) fn new(server: impl IntoServer) -> RedisResult<Self> {
        let info = connection_info(server)?;
        let session = info.redis_settings().clone();
        let bare =
            RedisConnectionInfo::default().set_protocol(session.protocol()).set_skip_set_lib_name();
        Ok(Self {
            info: info.set_redis_settings(bare),
            session,
            after_connect: redis::pipe(),
            addresses: Favourite::default(),
        })
    }

    pub(super) fn speaks_resp3(&self) -> bool {
        self.session.protocol().supports_resp3()
    }

    pub(super) fn is_secured(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
    }

    /// For a driver that connects and agrees on the protocol by itself.
    pub(super) fn for_driver(&self) -> ConnectionInfo {
        let mut bare = self.info.redis_settings().clone();
        if self.speaks_resp3() {
            if let Some(name) = self.session.username() {
                bare = bare.set_username(name);
            }
            if let Some(password) = self.session.password() {
                bare = bare.set_password(password);
            }
        }
        self.info.clone().set_redis_settings(bare)
    }

    /// What to send to a server just reached.
    pub(super) fn greeting(&self, greeter: Greeter) -> Greeting {
        let session = &self.session;
        let mut commands = redis::pipe();
        if self.speaks_resp3() {
            if greeter == Greeter::Ourselves {
                commands.cmd("HELLO").arg(3);
                if let Some(password) = session.password() {
                    commands.arg("AUTH").arg(session.username().unwrap_or("default")).arg(password);
                }
            }
        } else if let Some(password) = session.password() {
            commands.cmd("AUTH");
            // It goes without saying, and servers before 6.0 would not have it said.
            if let Some(name) = session.username().filter(|name| *name != "default") {
                commands.arg(name);
            }
            commands.arg(password);
        }
        if session.db() != 0 {
            commands.cmd("SELECT").arg(session.db());
        }
        // A server that takes connections may yet be loading its data.
        let (question, asked) = (Question::new(), commands.len());
        question.add_to(&mut commands, Pulse::Echoes);
        self.after_connect.cmd_iter().for_each(|command| {
            commands.add_command(command.clone());
        });
        let important = commands.len();
        if !session.skip_set_lib_name() {
            // Servers before 7.2 do not know these.
            commands.cmd("CLIENT").arg("SETINFO").arg("LIB-NAME");
            commands.arg(session.lib_name().unwrap_or("redis-rs(caliburn)"));
            commands.cmd("CLIENT").arg("SETINFO").arg("LIB-VER");
            commands.arg(session.lib_ver().unwrap_or(env!("CARGO_PKG_VERSION")));
        }
        Greeting { commands, important, question, asked }
    }
}

/// See [`Target::greeting`].
pub(super) struct Greeting {
    pub(super) commands: Pipeline,
    /// So many answers, from the first, must be no refusals.
    important: usize,
    question: Question,
    /// Which of the commands is the question.
    asked: usize,
}

impl Greeting {
    /// Whether the server takes the connection, and how it answers from now on.
    pub(super) fn judge(&self, answers: &[Value]) -> RedisResult<Pulse> {
        let answer = answers.get(self.asked).ok_or_else(unexpected)?;
        refusal(&answers[..self.asked])?;
        let pulse = self.question.learn(answer)?;
        refusal(answers.get(self.asked + 1..self.important).unwrap_or_default())?;
        Ok(pulse)
    }
}

impl fmt::Debug for Target {
    /// Without user and password, and without what is sent on connecting.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("address", &format_args!("{}", self.info.addr()))
            .field("database", &self.session.db())
            .field("protocol", &self.session.protocol())
            .finish_non_exhaustive()
    }
}
