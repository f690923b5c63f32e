//! Sentinels: whom they name as the server to connect to.

use super::errors::{out_of_time, unexpected};
use super::target::Target;
use super::url::{IntoServer, connection_info};
use redis::{
    ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, Pipeline, RedisConnectionInfo,
    RedisError, RedisResult, Value, from_redis_value,
};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Redis servers watched by [sentinels]: each connect asks which server is the master, or a
/// replica.
///
/// Pass it to [`RedisManager::sentinel`](super::RedisManager::sentinel) or its counterpart for
/// tasks. The pool replaces a connection whose server turns out to be no master any more, by a ping
/// or by a command refused with `READONLY`. If the server that one sentinel names cannot be
/// reached, or has another role, the next sentinel is asked; while there is a next one, a server
/// may take half of the rest of the connect's limit.
///
/// ```
/// use caliburn::adapters::redis::{RedisManager, Sentinels};
/// use redis::RedisConnectionInfo;
///
/// # fn main() -> redis::RedisResult<()> {
/// let sentinels = ["redis://10.0.0.1:26379", "redis://10.0.0.2:26379"];
/// let master = Sentinels::new("music", sentinels)?
///     .server(RedisConnectionInfo::default().set_password("secret").set_db(3));
/// let manager = RedisManager::sentinel(master)?;
///
/// // Read from replicas; this URL's address does not matter, the rest holds for each of them.
/// let replicas = Sentinels::new("music", sentinels)?
///     .server_like("redis://app:secret@any/3")?
///     .replicas();
/// let reader = RedisManager::sentinel(replicas)?;
/// # let _ = (manager, reader);
/// # Ok(())
/// # }
/// ```
///
/// [sentinels]: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/
#[must_use]
pub struct Sentinels {
    service: String,
    addresses: Vec<ConnectionInfo>,
    server: ConnectionInfo,
    role: Role,
}

/// What a server is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Role {
    /// It does not matter.
    #[default]
    Any,
    Master,
    Replica,
}

impl Sentinels {
    /// Asks the sentinels at these URLs for the master that they know as `service`.
    ///
    /// # Errors
    ///
    /// Returns an error that does not repeat the URLs if one of them makes no sense, or if there is
    /// none.
    pub fn new<S: IntoServer>(
        service: impl Into<String>,
        sentinels: impl IntoIterator<Item = S>,
    ) -> RedisResult<Self> {
        let addresses = sentinels.into_iter().map(connection_info);
        let addresses = addresses.collect::<RedisResult<Vec<_>>>()?;
        if addresses.is_empty() {
            return Err((ErrorKind::InvalidClientConfig, "no sentinel is given").into());
        }
        // Where it is, is not known yet.
        let server = ("localhost", 6379).into_connection_info()?;
        Ok(Self { service: service.into(), addresses, server, role: Role::Master })
    }

    /// Sets user, password, database and protocol of the servers themselves. Default: those of a
    /// URL without any.
    pub fn server(mut self, settings: RedisConnectionInfo) -> Self {
        self.server = self.server.set_redis_settings(settings);
        self
    }

    /// Sets how to reach the servers: with TLS, or with settings of TCP. The address in `server`
    /// does not matter.
    ///
    /// # Errors
    ///
    /// Returns an error that does not repeat the URL if it makes no sense.
    pub fn server_like(mut self, server: impl IntoServer) -> RedisResult<Self> {
        self.server = connection_info(server)?;
        Ok(self)
    }

    /// Connects to the replicas in turn instead of to the master.
    pub fn replicas(mut self) -> Self {
        self.role = Role::Replica;
        self
    }

    pub(super) fn into_targets(self) -> RedisResult<(Target, Watch)> {
        let sentinels = self.addresses.into_iter().map(Target::new).collect::<RedisResult<_>>()?;
        let watch = Watch {
            service: self.service,
            sentinels,
            role: self.role,
            first: AtomicUsize::new(0),
            replica: AtomicUsize::new(0),
        };
        Ok((Target::new(self.server)?, watch))
    }
}

impl fmt::Debug for Sentinels {
    /// Without users and passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentinels")
            .field("service", &self.service)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// The sentinels, as a manager knows them.
#[derive(Debug)]
pub(super) struct Watch {
    service: String,
    sentinels: Vec<Target>,
    pub(super) role: Role,
    /// The one that has last named a server which was what it is to be.
    first: AtomicUsize,
    /// How many replicas have been asked for.
    replica: AtomicUsize,
}

impl Watch {
    pub(super) fn search(&self) -> Search<'_> {
        // O11: any will do.
        let first = self.first.load(Ordering::Relaxed);
        let count = self.sentinels.len();
        let numbers = (0..count).map(|number| (first + number) % count);
        Search {
            watch: self,
            unasked: numbers.map(|number| (number, &self.sentinels[number])).collect(),
            in_vain: Vec::new(),
            failure: None,
        }
    }

    pub(super) fn question(&self) -> Pipeline {
        let mut question = redis::pipe();
        let what = match self.role {
            Role::Replica => "REPLICAS",
            _ => "GET-MASTER-ADDR-BY-NAME",
        };
        question.cmd("SENTINEL").arg(what).arg(&self.service);
        question
    }

    pub(super) fn read(&self, answers: Vec<Value>) -> RedisResult<Place> {
        let answer = answers.into_iter().next().ok_or_else(unexpected)?;
        match answer {
            Value::ServerError(error) => return Err(error.into()),
            Value::Nil => return Err(not_known("the sentinel does not know the service")),
            _ => {}
        }
        if self.role != Role::Replica {
            return Ok(from_redis_value(answer)?);
        }
        let replicas: Vec<HashMap<String, String>> = from_redis_value(answer)?;
        let serves = |replica: &&HashMap<String, String>| {
            let flags = replica.get("flags").map_or("", |flags| flags);
            !["s_down", "o_down", "disconnected"].iter().any(|flag| flags.contains(flag))
        };
        let serving: Vec<_> = replicas.iter().filter(serves).collect();
        // O11: a counter.
        let turn = self.replica.fetch_add(1, Ordering::Relaxed);
        let chosen = serving.get(turn % serving.len().max(1));
        let place = chosen.and_then(|replica| {
            Some((replica.get("ip")?.clone(), replica.get("port")?.parse().ok()?))
        });
        place.ok_or_else(|| not_known("the service has no replica that is up"))
    }
}

/// Host and port.
pub(super) type Place = (String, u16);

/// What one connect knows of the sentinels. One that is cut off from the others names the server of
/// old, so its word is good only once that server was reached and is what it is to be.
pub(super) struct Search<'a> {
    watch: &'a Watch,
    /// With their numbers; first that whose word was good last.
    pub(super) unasked: Vec<(usize, &'a Target)>,
    in_vain: Vec<Place>,
    failure: Option<RedisError>,
}

impl Search<'_> {
    /// A sentinel has named a place. False: it was tried in vain.
    pub(super) fn is_new(&mut self, number: usize, place: &Place) -> bool {
        self.unasked.retain(|(other, _)| *other != number);
        !self.in_vain.contains(place)
    }

    /// What a server may take of the time that is left, so that another sentinel can be heard.
    pub(super) fn share(&self, left: Duration) -> Duration {
        if self.unasked.is_empty() { left } else { left / 2 }
    }

    pub(super) fn succeeded(&self, number: usize) {
        // O11: any will do.
        self.watch.first.store(number, Ordering::Relaxed);
    }

    pub(super) fn failed(&mut self, place: Place, error: RedisError) {
        self.in_vain.push(place);
        self.failure = Some(error);
    }

    /// What the servers were found to be says more than that the last sentinels kept silent.
    pub(super) fn failure(self, of_sentinels: Option<RedisError>) -> RedisError {
        self.failure.or(of_sentinels).unwrap_or_else(out_of_time)
    }
}

impl Target {
    /// The same server elsewhere.
    pub(super) fn moved_to(&self, (host, port): Place) -> Self {
        let address = match self.info.addr().clone() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Self {
            info: self.info.clone().set_addr(address),
            session: self.session.clone(),
            after_connect: self.after_connect.clone(),
            addresses: Default::default(),
        }
    }
}

impl Role {
    pub(super) fn add_question(self, commands: &mut Pipeline) {
        if self != Self::Any {
            commands.cmd("ROLE");
        }
    }

    /// Whether the server is what it is to be. `answer` is that to the question, if there was one.
    pub(super) fn check(self, answer: Option<&Value>) -> RedisResult<()> {
        let role = match self {
            Self::Any => return Ok(()),
            Self::Master => "master",
            Self::Replica => "slave",
        };
        match answer {
            Some(Value::Array(parts)) => match parts.first() {
                Some(Value::BulkString(it)) if it == role.as_bytes() => Ok(()),
                _ => Err(not_known("the server has another role than its sentinel says")),
            },
            Some(Value::ServerError(error)) => Err(error.clone().into()),
            _ => Err(unexpected()),
        }
    }
}

/// It may pass.
fn not_known(what: &'static str) -> RedisError {
    (ErrorKind::Client, what).into()
}
