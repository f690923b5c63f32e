//! The adapters, each for threads and for tasks, as the table of [`hostile`](super::hostile)
//! servers wants them.

use super::PLENTY;
use super::hostile::{Face, Manner, RUNTIME, Server, Step};
use caliburn::{Builder, Manager, Pool, PooledConnection};
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;

type Got<M> = Result<PooledConnection<M>, String>;

fn get<M: Manager<Error: fmt::Display>>(pool: &Pool<M>) -> Got<M> {
    pool.get_timeout(PLENTY).map_err(|error| format!("{error:#}"))
}

fn get_async<M: Manager<Error: fmt::Display>>(pool: &Pool<M>) -> Got<M> {
    RUNTIME.block_on(pool.get_timeout_async(PLENTY)).map_err(|error| format!("{error:#}"))
}

/// A face to the server `S`.
macro_rules! face {
    (
        $face:ident: $name:literal, $start_ups:expr, $manager:ty, $builder:expr,
        $get:expr, $asks:expr, $is_kept:expr $(,)?
    ) => {
        pub struct $face<S>(PhantomData<S>);

        impl<S: Server> Face for $face<S> {
            const NAME: &'static str =
                if S::HANDSHAKES > 0 { concat!($name, ", TLS") } else { $name };
            const START_UPS: usize = $start_ups;
            type Manager = $manager;
            type Server = S;

            fn is_kept(step: Step, manner: Manner) -> bool {
                $is_kept(step, manner, S::HANDSHAKES > 0)
            }

            fn builder(address: SocketAddr) -> Builder<$manager> {
                $builder(address, S::HANDSHAKES > 0)
            }

            fn get(pool: &Pool<$manager>) -> Got<$manager> {
                $get(pool)
            }

            fn ask(conn: &mut <$manager as Manager>::Connection) -> Result<(), String> {
                $asks(conn, false).map_err(|error| error.to_string())
            }

            fn soil(conn: &mut <$manager as Manager>::Connection) -> Result<(), String> {
                $asks(conn, true).map_err(|error| error.to_string())
            }
        }
    };
}

#[cfg(all(feature = "postgres", feature = "tokio-postgres"))]
pub mod postgres {
    use super::*;
    use crate::pg::Driver;
    use crate::pg_pretence::PretenceWithHellos;
    use caliburn::adapters::postgres::{AsyncPostgresManager, PostgresManager};

    fn builder<D: Driver>(address: SocketAddr, has_tls: bool) -> Builder<D> {
        let dsn = format!("host=127.0.0.1 port={} user=app sslmode=", address.port());
        if has_tls {
            D::open(&(dsn + "require")).secured_by(PretenceWithHellos).builder()
        } else {
            D::open(&(dsn + "disable")).builder()
        }
    }

    fn is_kept(_: Step, _: Manner, _: bool) -> bool {
        false
    }

    fn ask<D: Driver>(client: &mut D::Connection, soils: bool) -> Result<(), D::Error> {
        D::ask(client, if soils { "BEGIN" } else { "SELECT" }).map(drop)
    }

    face!(Threads: "postgres", 2, PostgresManager, builder, get, ask::<PostgresManager>, is_kept);
    face!(
        Tasks: "tokio-postgres", 2, AsyncPostgresManager,
        builder, get_async, ask::<AsyncPostgresManager>, is_kept,
    );
}

#[cfg(all(feature = "mysql", feature = "mysql_async"))]
pub mod mysql {
    use super::*;
    use crate::my::Adapter;
    use caliburn::adapters::mysql::{AsyncMysqlManager, MysqlManager};

    fn url(address: SocketAddr) -> String {
        format!("mysql://app@{address}/songs")
    }

    fn builder(address: SocketAddr, has_tls: bool) -> Builder<MysqlManager> {
        use ::mysql::{Opts, OptsBuilder, SslOpts};
        let tls = SslOpts::default().with_danger_accept_invalid_certs(true);
        let tls = tls.with_danger_skip_domain_validation(true);
        let opts = OptsBuilder::from_opts(Opts::from_url(&url(address)).unwrap());
        Pool::builder(MysqlManager::new(opts.ssl_opts(has_tls.then_some(tls))))
    }

    fn builder_async(address: SocketAddr, has_tls: bool) -> Builder<AsyncMysqlManager> {
        use mysql_async::{Opts, OptsBuilder, SslOpts};
        let tls = SslOpts::default().with_danger_accept_invalid_certs(true);
        let tls = tls.with_danger_skip_domain_validation(true);
        let opts = OptsBuilder::from_opts(Opts::from_url(&url(address)).unwrap());
        let manager = AsyncMysqlManager::new(opts.ssl_opts(has_tls.then_some(tls)));
        Pool::builder_async(manager.runtime(RUNTIME.handle().clone()))
    }

    /// As it connects, the driver reads rows to the last: all that its buffer of 4 MiB has.
    fn is_kept(step: Step, manner: Manner, _: bool) -> bool {
        step == Step::StartUp(2) && manner == Manner::Flood
    }

    fn ask<A: Adapter>(conn: &mut A::Connection, soils: bool) -> Result<(), A::Error> {
        let sql = if soils { "SET @x = 1" } else { "SELECT 5" };
        RUNTIME.block_on(A::ask(conn, sql)).map(drop)
    }

    face!(Threads: "mysql", 3, MysqlManager, builder, get, ask::<MysqlManager>, is_kept);
    face!(
        Tasks: "mysql_async", 3, AsyncMysqlManager,
        builder_async, get_async, ask::<AsyncMysqlManager>, is_kept,
    );
}

#[cfg(feature = "redis-tokio")]
pub mod redis {
    use super::*;
    use ::redis::{Cmd, RedisResult, cmd};
    use caliburn::adapters::redis::{
        AsyncRedisConnection, AsyncRedisManager, RedisConnection, RedisManager,
    };

    fn url(address: SocketAddr, has_tls: bool) -> String {
        let (scheme, trust) = if has_tls { ("rediss", "#insecure") } else { ("redis", "") };
        format!("{scheme}://:secret@{address}/{trust}")
    }

    fn builder(address: SocketAddr, has_tls: bool) -> Builder<RedisManager> {
        Pool::builder(RedisManager::from_url(&url(address, has_tls)).unwrap())
    }

    fn builder_async(address: SocketAddr, has_tls: bool) -> Builder<AsyncRedisManager> {
        let manager = AsyncRedisManager::from_url(&url(address, has_tls)).unwrap();
        Pool::builder_async(manager.runtime(RUNTIME.handle().clone()))
    }

    fn request(soils: bool) -> Cmd {
        if soils { cmd("MULTI") } else { cmd("ECHO").arg("mine").clone() }
    }

    /// Where the driver has the stream to itself, it keeps what it reads until the limit.
    fn is_kept(step: Step, manner: Manner, has_tls: bool) -> bool {
        let is_bounded = match step {
            Step::Handshake(_) => true,
            Step::StartUp(_) => !has_tls,
            _ => false,
        };
        manner == Manner::Huge && !is_bounded
    }

    fn is_kept_async(step: Step, manner: Manner, has_tls: bool) -> bool {
        has_tls && is_kept(step, manner, has_tls)
    }

    fn ask(conn: &mut RedisConnection, soils: bool) -> RedisResult<()> {
        request(soils).exec(conn)
    }

    fn ask_async(conn: &mut AsyncRedisConnection, soils: bool) -> RedisResult<()> {
        RUNTIME.block_on(request(soils).exec_async(conn))
    }

    face!(Threads: "redis", 1, RedisManager, builder, get, ask, is_kept);
    face!(
        Tasks: "redis, tasks", 1, AsyncRedisManager,
        builder_async, get_async, ask_async, is_kept_async,
    );
}
