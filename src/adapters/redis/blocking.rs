//! Redis for threads, by way of [redis](https://docs.rs/redis).

use super::blocking_connection::RedisConnection;
use super::blocking_open::Opened;
use super::errors::{check_timeout, classify, out_of_time, unexpected};
use super::link::{Unasked, after};
use super::pulse::Question;
use super::role;
use super::sentinel::{Place, Role, Sentinels, Watch};
use super::talk::{converse, left};
use super::target::Target;
use super::url::IntoServer;
use crate::adapters::addresses::share;
use crate::adapters::doubt::Doubt;
use crate::adapters::idle::Occasion;
use crate::{BlockingManager, Deadline, ErrorClass, Manager, RoleDoubt, RoleReport};
use redis::{Pipeline, RedisError, RedisResult, Value};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Opens connections to one Redis server, or to another server that speaks its protocol.
///
/// A borrower finds its connection as good as new: an open transaction is discarded, watched keys
/// are unwatched, the database is that of the URL, timeouts are those of the manager. The
/// connection notes the commands that pass over it, so a loan that left nothing costs no round
/// trip. What cannot be undone, such as a subscription or another user, makes the pool close the
/// connection on its return.
///
/// A command that ran into its timeout, or otherwise did not get its whole answer, costs the
/// connection: the late answer reaches no borrower.
///
/// Wrong credentials, a database that the server does not have and a server that is no Redis are
/// [permanent](ErrorClass::Permanent) errors: borrowers get them at once. A server that refuses,
/// loads its data, or has too many clients is a transient error.
///
/// # Limits
///
/// All limits are absolute: they hold whether the server is silent, trickles, or sends more than it
/// was asked for. On Linux the adapter finds the socket and shuts it down when the time is up;
/// elsewhere it relies on the system's own timeouts, which restart with each piece of an answer.
/// Two cases have no limit: a connect to a Unix socket whose server accepts no more connections,
/// and on systems other than Linux a TLS handshake.
///
/// If the name of the server has several addresses, they share the limit of a connect: the adapter
/// tries one after the other, the one that last served first. With TLS the driver goes on to the
/// next address only if one does not accept the connection.
///
/// The adapter reads at most 64 KiB before the server has answered the greeting; this limit does
/// not hold with TLS, where the server has shown its certificate by then, nor with RESP3.
///
/// ```no_run
/// use caliburn::Pool;
/// use caliburn::adapters::redis::{RedisManager, Sentinels};
/// use redis::Commands;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = RedisManager::from_url("redis://127.0.0.1/")?
///     .response_timeout(Some(Duration::from_secs(2)));
/// let pool = Pool::builder(manager).max_size(8).build()?;
///
/// let mut conn = pool.get()?;
/// let plays: u64 = conn.incr("plays", 1)?;
///
/// // The master that sentinels name.
/// let sentinels = Sentinels::new("music", ["redis://10.0.0.1:26379"])?;
/// let manager = RedisManager::sentinel(sentinels)?;
/// # let _ = (plays, manager);
/// # Ok(())
/// # }
/// ```
#[must_use]
#[derive(Debug)]
pub struct RedisManager {
    target: Target,
    watch: Option<Watch>,
    response_timeout: Option<Duration>,
    doubt: Doubt,
}

impl RedisManager {
    /// Connects to the server at a URL, `redis://user:password@host:6379/0`, or at anything else
    /// that the driver takes for one. For TLS, enable it in the driver and use `rediss://`, or pass
    /// the [`ConnectionInfo`](redis::ConnectionInfo) of a client with certificates.
    ///
    /// # Errors
    ///
    /// Returns an error that does not repeat the URL if it makes no sense.
    pub fn new(server: impl IntoServer) -> RedisResult<Self> {
        Ok(Self {
            target: Target::new(server)?,
            watch: None,
            response_timeout: None,
            doubt: Doubt::default(),
        })
    }

    /// Connects to the server that sentinels name. Each connect asks them again; they share its
    /// limit.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting makes no sense.
    pub fn sentinel(sentinels: Sentinels) -> RedisResult<Self> {
        let (target, watch) = sentinels.into_targets()?;
        Ok(Self { target, watch: Some(watch), response_timeout: None, doubt: Doubt::default() })
    }

    /// Connects to the server at `url`, as [`new`](Self::new) does.
    ///
    /// # Errors
    ///
    /// Returns an error that does not repeat the URL if it makes no sense.
    pub fn from_url(url: &str) -> RedisResult<Self> {
        Self::new(url)
    }

    /// Sets how long a command may take, from sending it to the end of its answer. After that it
    /// fails, and the pool closes the connection. Commands that wait on purpose, such as `BLPOP`,
    /// need more than they wait. Default: `None`, no limit, as in the driver.
    ///
    /// A zero timeout makes every connect fail permanently.
    pub fn response_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Sets commands to send on each new connection before it is lent. A second call replaces the
    /// commands of the first. If the server refuses one, or the answers have more than 64 KiB, the
    /// connect fails.
    ///
    /// ```
    /// # use caliburn::adapters::redis::RedisManager;
    /// # fn main() -> redis::RedisResult<()> {
    /// let manager = RedisManager::new("redis://127.0.0.1/")?
    ///     .after_connect(redis::pipe().cmd("CLIENT").arg("SETNAME").arg("web"));
    /// # let _ = manager;
    /// # Ok(())
    /// # }
    /// ```
    pub fn after_connect(mut self, commands: &Pipeline) -> Self {
        self.target.after_connect = commands.clone();
        self
    }
}

impl FromStr for RedisManager {
    type Err = RedisError;

    fn from_str(url: &str) -> RedisResult<Self> {
        Self::from_url(url)
    }
}

impl Manager for RedisManager {
    type Connection = RedisConnection;
    type Error = RedisError;

    fn has_broken(&self, connection: &mut RedisConnection) -> bool {
        let occasion = connection.idle.occasion();
        if connection.session.take_refusal() {
            self.doubt.tell();
        }
        connection.is_known_to_be_dead()
            || occasion == Occasion::LoanAfterIdling && connection.link.has_ended(self.unasked())
    }

    fn needs_reset(&self, connection: &mut RedisConnection) -> bool {
        if !connection.idle.was_lent() {
            connection.session.adopt();
        }
        !connection.session.is_clean()
    }

    fn needs_reset_after_hook(&self, connection: &mut RedisConnection) -> bool {
        connection.session.is_open()
    }

    fn classify(&self, error: &RedisError) -> ErrorClass {
        classify(error)
    }

    fn tell_doubts(&self, doubt: RoleDoubt) {
        self.doubt.set(doubt);
    }
}

impl BlockingManager for RedisManager {
    fn connect(&self, deadline: &Deadline) -> RedisResult<RedisConnection> {
        check_timeout(self.response_timeout)?;
        let limit = limit(deadline)?;
        let Opened { driver, link, pulse } = match &self.watch {
            None => self.target.open(limit)?,
            Some(watch) => self.open_watched(watch, limit)?,
        };
        let database = self.target.session.db();
        let mut connection = RedisConnection::new(driver, link, pulse, database, self.sought());
        connection.limit_commands(self.response_timeout)?;
        Ok(connection)
    }

    fn ping(&self, connection: &mut RedisConnection, deadline: &Deadline) -> RedisResult<()> {
        let (mut commands, question) = (redis::pipe(), Question::new());
        question.add_to(&mut commands, connection.pulse);
        self.sought().add_question(&mut commands);
        let answers = self.converse(connection, &commands, deadline)?;
        question.check(answers.first().ok_or_else(unexpected)?, connection.pulse)?;
        self.sought().check(answers.get(1))
    }

    fn reset(&self, connection: &mut RedisConnection, deadline: &Deadline) -> RedisResult<()> {
        if let Some(repairs) = connection.session.repairs(connection.database, connection.pulse) {
            let answers = self.converse(connection, &repairs.commands, deadline)?;
            repairs.judge(&answers)?;
        }
        connection.limit_commands(self.response_timeout)?;
        connection.session = connection.session.renewed();
        Ok(())
    }

    /// Has the server close the connection, so that it has done so before there is another.
    fn close(&self, mut connection: RedisConnection, deadline: &Deadline) {
        let _ = self.converse(&mut connection, redis::pipe().cmd("QUIT"), deadline);
    }

    fn role(
        &self,
        connection: &mut RedisConnection,
        deadline: &Deadline,
    ) -> RedisResult<RoleReport> {
        role::read(&self.converse(connection, &role::question(), deadline)?)
    }
}

impl RedisManager {
    fn sought(&self) -> Role {
        self.watch.as_ref().map_or(Role::Any, |watch| watch.role)
    }

    /// One sentinel after the other is asked, each with its share of half of the limit, until one
    /// names a server that is of use.
    fn open_watched(&self, watch: &Watch, limit: Instant) -> RedisResult<Opened> {
        let mut search = watch.search();
        let mut failure = None;
        while let (Some(&(number, sentinel)), Ok(left)) = (search.unasked.first(), left(limit)) {
            let until = Instant::now() + share(left / 2, search.unasked.len());
            let named = ask(sentinel, watch, until);
            let place = match named {
                Ok(place) => place,
                Err(error) => {
                    search.unasked.remove(0);
                    failure = Some(error);
                    continue;
                }
            };
            if search.is_new(number, &place) {
                let now = Instant::now();
                let until = now + search.share(limit.saturating_duration_since(now));
                match self.open_in_role(&self.target.moved_to(place.clone()), until) {
                    Ok(opened) => {
                        search.succeeded(number);
                        return Ok(opened);
                    }
                    Err(error) => search.failed(place, error),
                }
            }
        }
        Err(search.failure(failure))
    }

    fn open_in_role(&self, target: &Target, limit: Instant) -> RedisResult<Opened> {
        let mut opened = target.open(limit)?;
        let mut commands = redis::pipe();
        self.sought().add_question(&mut commands);
        let answers = converse(&mut opened.driver, &opened.link, &commands, limit)?;
        self.sought().check(answers.first())?;
        Ok(opened)
    }

    fn unasked(&self) -> Unasked {
        if self.target.is_secured() {
            Unasked::Anything
        } else if self.target.speaks_resp3() {
            Unasked::Pushes
        } else {
            Unasked::Nothing
        }
    }

    fn converse(
        &self,
        connection: &mut RedisConnection,
        commands: &Pipeline,
        deadline: &Deadline,
    ) -> RedisResult<Vec<Value>> {
        let limit = limit(deadline)?;
        // Unrequested bytes may be without end.
        if connection.link.has_ended(self.unasked()) {
            return Err(unexpected());
        }
        let answers = converse(&mut connection.driver, &connection.link, commands, limit)?;
        if !connection.link.is_known() {
            connection.limit_commands(self.response_timeout)?;
        }
        Ok(answers)
    }
}

/// Whom a sentinel names.
fn ask(sentinel: &Target, watch: &Watch, until: Instant) -> RedisResult<Place> {
    let mut opened = sentinel.open(until)?;
    let answers = converse(&mut opened.driver, &opened.link, &watch.question(), until)?;
    watch.read(answers)
}

fn limit(deadline: &Deadline) -> RedisResult<Instant> {
    /// What is as good as no limit, to clocks that do not know eternity.
    const LONG: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    after(deadline.remaining().min(LONG)).ok_or_else(out_of_time)
}
