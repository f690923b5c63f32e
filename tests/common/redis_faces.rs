//! Both Redis adapters, for tests that are the same for both.

use super::PLENTY;
use super::eventually;
use super::servers::redis::Redis;
use caliburn::adapters::redis::{AsyncRedisManager, RedisManager};
use caliburn::{
    AsyncManager as _, BlockingManager as _, Builder, Deadline, Manager, Pool, PooledConnection,
};
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value, cmd, pipe};
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Both adapters in each harness.
#[macro_export]
macro_rules! for_threads_and_tasks {
    ($($(#[$attribute:meta])* $harness:ident),+ $(,)?) => {
        mod threads {
            use $crate::redis_faces::Threads;
            $(#[test] $(#[$attribute])* fn $harness() { super::$harness::<Threads>() })+
        }
        mod tasks {
            use $crate::redis_faces::Tasks;
            $(#[test] $(#[$attribute])* fn $harness() { super::$harness::<Tasks>() })+
        }
    };
}
pub use for_threads_and_tasks;

/// At once, as opposed to [`PLENTY`], on a machine as busy.
pub const AT_ONCE: Duration = Duration::from_secs(3);

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().unwrap()
    })
}

/// One of the two adapters.
pub trait Adapter: 'static {
    type Manager: Manager<Error = RedisError, Connection: Debug> + Debug;

    fn manager(
        url: &str,
        after_connect: &Pipeline,
        timeout: Duration,
    ) -> RedisResult<Self::Manager>;
    fn builder(manager: Self::Manager) -> Builder<Self::Manager>;
    fn connect(manager: &Self::Manager, limit: Duration) -> RedisResult<Connection<Self>>;
    fn set_timeout(conn: &mut PooledConnection<Self::Manager>, timeout: Duration);
    fn subscribe(conn: &mut PooledConnection<Self::Manager>);
    fn run(conn: &mut PooledConnection<Self::Manager>, command: &Cmd) -> RedisResult<Value>;
    /// The same, of a command that answers with text.
    fn ask(conn: &mut PooledConnection<Self::Manager>, command: &Cmd) -> RedisResult<String> {
        Ok(redis::from_redis_value(Self::run(conn, command)?)?)
    }
    fn run_all(
        conn: &mut PooledConnection<Self::Manager>,
        pipeline: &Pipeline,
    ) -> RedisResult<Value>;
    /// Sets so many callers to work, and answers with what waits for them to end.
    fn swarm(pool: &Pool<Self::Manager>, callers: usize, tally: &Arc<Tally>) -> Box<dyn FnOnce()>;
}

pub type Connection<A> = <<A as Adapter>::Manager as Manager>::Connection;

/// What a swarm has seen.
#[derive(Debug, Default)]
pub struct Tally {
    pub loans: AtomicUsize,
    pub failed_gets: AtomicUsize,
    pub failed_commands: AtomicUsize,
    pub foreign_answers: AtomicUsize,
    pub is_over: AtomicBool,
}

impl Tally {
    pub fn next(&self) -> Option<String> {
        (!self.is_over.load(SeqCst)).then(|| self.loans.fetch_add(1, SeqCst).to_string())
    }

    pub fn note<E>(&self, sent: &str, outcome: Result<RedisResult<String>, E>) {
        match outcome {
            Ok(Ok(answer)) if answer == sent => {}
            Ok(Ok(_)) => drop(self.foreign_answers.fetch_add(1, SeqCst)),
            Ok(Err(_)) => drop(self.failed_commands.fetch_add(1, SeqCst)),
            Err(_) => drop(self.failed_gets.fetch_add(1, SeqCst)),
        }
    }

    pub fn go_on(&self) {
        let then = self.loans.load(SeqCst);
        eventually("they go on", || self.loans.load(SeqCst) > then + 1000);
    }
}

pub fn echo(text: &str) -> Cmd {
    let mut echo = cmd("ECHO");
    echo.arg(text);
    echo
}

pub struct Threads;

impl Adapter for Threads {
    type Manager = RedisManager;

    fn manager(
        url: &str,
        after_connect: &Pipeline,
        timeout: Duration,
    ) -> RedisResult<RedisManager> {
        Ok(RedisManager::new(url)?.after_connect(after_connect).response_timeout(Some(timeout)))
    }

    fn builder(manager: RedisManager) -> Builder<RedisManager> {
        Pool::builder(manager)
    }

    fn connect(manager: &RedisManager, limit: Duration) -> RedisResult<Connection<Self>> {
        manager.connect(&Deadline::after(limit))
    }

    fn set_timeout(conn: &mut PooledConnection<RedisManager>, timeout: Duration) {
        conn.set_response_timeout(Some(timeout)).unwrap();
    }

    fn subscribe(conn: &mut PooledConnection<RedisManager>) {
        conn.driver().as_pubsub().subscribe("news").unwrap();
    }

    fn run(conn: &mut PooledConnection<RedisManager>, command: &Cmd) -> RedisResult<Value> {
        command.query(conn)
    }

    fn run_all(
        conn: &mut PooledConnection<RedisManager>,
        pipeline: &Pipeline,
    ) -> RedisResult<Value> {
        pipeline.query(conn)
    }

    fn swarm(pool: &Pool<RedisManager>, callers: usize, tally: &Arc<Tally>) -> Box<dyn FnOnce()> {
        let callers: Vec<_> = (0..callers)
            .map(|_| {
                let (pool, tally) = (pool.clone(), Arc::clone(tally));
                thread::spawn(move || {
                    while let Some(sent) = tally.next() {
                        tally.note(&sent, pool.get().map(|mut conn| echo(&sent).query(&mut conn)));
                    }
                })
            })
            .collect();
        Box::new(|| callers.into_iter().for_each(|caller| caller.join().unwrap()))
    }
}

pub struct Tasks;

impl Adapter for Tasks {
    type Manager = AsyncRedisManager;

    fn manager(
        url: &str,
        after_connect: &Pipeline,
        timeout: Duration,
    ) -> RedisResult<AsyncRedisManager> {
        let manager = AsyncRedisManager::new(url)?.runtime(runtime().handle().clone());
        Ok(manager.after_connect(after_connect).response_timeout(Some(timeout)))
    }

    fn builder(manager: AsyncRedisManager) -> Builder<AsyncRedisManager> {
        Pool::builder_async(manager)
    }

    fn connect(manager: &AsyncRedisManager, limit: Duration) -> RedisResult<Connection<Self>> {
        let deadline = Deadline::after(limit);
        runtime().block_on(async {
            let timed_out =
                |_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
            tokio::time::timeout(limit, manager.connect(&deadline)).await.map_err(timed_out)?
        })
    }

    fn set_timeout(conn: &mut PooledConnection<AsyncRedisManager>, timeout: Duration) {
        conn.set_response_timeout(timeout);
    }

    fn subscribe(conn: &mut PooledConnection<AsyncRedisManager>) {
        let mut clone = conn.driver().clone();
        runtime().block_on(cmd("SUBSCRIBE").arg("news").exec_async(&mut clone)).unwrap();
    }

    fn run(conn: &mut PooledConnection<AsyncRedisManager>, command: &Cmd) -> RedisResult<Value> {
        runtime().block_on(command.query_async(&mut **conn))
    }

    fn run_all(
        conn: &mut PooledConnection<AsyncRedisManager>,
        pipeline: &Pipeline,
    ) -> RedisResult<Value> {
        runtime().block_on(pipeline.query_async(&mut **conn))
    }

    fn swarm(
        pool: &Pool<AsyncRedisManager>,
        callers: usize,
        tally: &Arc<Tally>,
    ) -> Box<dyn FnOnce()> {
        let callers: Vec<_> = (0..callers)
            .map(|_| {
                let (pool, tally) = (pool.clone(), Arc::clone(tally));
                runtime().spawn(async move {
                    while let Some(sent) = tally.next() {
                        let outcome = match pool.get_async().await {
                            Ok(mut conn) => Ok(echo(&sent).query_async(&mut *conn).await),
                            Err(error) => Err(error),
                        };
                        tally.note(&sent, outcome);
                    }
                })
            })
            .collect();
        Box::new(|| {
            callers.into_iter().for_each(|caller| runtime().block_on(caller).unwrap());
        })
    }
}

pub fn nothing() -> Pipeline {
    pipe()
}

pub fn root<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a RedisError {
    let mut error = error;
    loop {
        if let Some(error) = error.downcast_ref::<RedisError>() {
            return error;
        }
        error = error.source().expect("an error of the driver's at the root");
    }
}

pub fn pool<A: Adapter>(
    server: &Redis,
    size: usize,
    set: impl FnOnce(Builder<A::Manager>) -> Builder<A::Manager>,
) -> Pool<A::Manager> {
    let manager = A::manager(&server.url(), &nothing(), PLENTY).unwrap();
    set(A::builder(manager).max_size(size)).build().unwrap()
}

pub fn all<M: Manager>(pool: &Pool<M>) -> Vec<PooledConnection<M>> {
    (0..pool.settings().max_size).map(|_| pool.get_timeout(PLENTY).unwrap()).collect()
}

#[track_caller]
pub fn assert_echo<A: Adapter>(conn: &mut PooledConnection<A::Manager>, text: &str) {
    assert_eq!(A::run(conn, &echo(text)).unwrap(), Value::BulkString(text.into()));
}

pub fn all_but<M: Manager>(pool: &Pool<M>, held: usize) -> Vec<PooledConnection<M>> {
    (held..pool.settings().max_size).map(|_| pool.get_timeout(PLENTY).unwrap()).collect()
}
