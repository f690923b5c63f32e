//! Where the connections of bridged managers live, and what becomes of them when that runtime goes.
#![cfg(all(feature = "r2d2", feature = "bb8", feature = "deadpool"))]

use crate::common::PLENTY;
use caliburn::adapters::bridges::{Bb8Manager, Bridged, DeadpoolManager};
use caliburn::error::SwitchError;
use caliburn::health::PingOnBorrow;
use caliburn::{GetError, Manager, Pool};
use deadpool::managed::{self, Metrics, RecycleResult};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

/// A server that says back what it hears.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut stream));
        }
    });
    address
}

/// A question and its answer. Wants tokio's reactor and its timer, as real drivers do.
async fn ask(stream: &TcpStream) -> io::Result<()> {
    stream.writable().await?;
    assert_eq!(stream.try_write(b"?")?, 1);
    loop {
        timeout(PLENTY, stream.readable()).await??;
        match stream.try_read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            answer => break answer.map(|read| assert_eq!(read, 1)),
        }
    }
}

struct Echo(SocketAddr);

impl bb8::ManageConnection for Echo {
    type Connection = TcpStream;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<TcpStream> {
        sleep(Duration::from_millis(1)).await;
        TcpStream::connect(self.0).await
    }

    async fn is_valid(&self, stream: &mut TcpStream) -> io::Result<()> {
        ask(stream).await
    }

    fn has_broken(&self, _: &mut TcpStream) -> bool {
        false
    }
}

impl managed::Manager for Echo {
    type Type = TcpStream;
    type Error = io::Error;

    async fn create(&self) -> io::Result<TcpStream> {
        bb8::ManageConnection::connect(self).await
    }

    async fn recycle(&self, stream: &mut TcpStream, _: &Metrics) -> RecycleResult<io::Error> {
        Ok(ask(stream).await?)
    }
}

fn of_one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn of_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// What holds of a pool over either bridge.
trait OfEcho: Manager<Connection = Bridged<TcpStream>> {}
impl<M: Manager<Connection = Bridged<TcpStream>>> OfEcho for M {}

async fn served<M: OfEcho>(pool: &Pool<M>) {
    let conn = pool.get_async().await.unwrap();
    ask(&conn).await.unwrap();
}

/// A pool as a static is, used from one runtime after another: each is served without an error and
/// without waiting out any limit.
fn serve_one_runtime_after_another<M: OfEcho>(pool: &Pool<M>, make: fn() -> Runtime) {
    for _ in 0..3 {
        let begun = Instant::now();
        let runtime = make();
        runtime.block_on(async {
            for _ in 0..100 {
                served(pool).await;
            }
        });
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
    // A thread without any.
    drop(pool.get_timeout(PLENTY).unwrap());
    let stats = pool.stats();
    assert!(stats.timeouts == 0 && stats.connect_failures == 0, "{stats}");
}

/// For how long a runtime that was just driven is taken to be driven still.
const PRESUMED: Duration = Duration::from_secs(1);

/// Runtimes that are there, but that nothing drives any more.
fn serve_beside_a_runtime_that_stands_still<M: OfEcho>(pool: &Pool<M>) {
    let still = of_one_thread();
    still.block_on(served(pool));
    thread::sleep(PRESUMED);
    let begun = Instant::now();
    drop(pool.get_timeout(PLENTY).unwrap());
    of_one_thread().block_on(served(pool));
    still.block_on(served(pool));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn a_bb8_pool_serves_one_runtime_after_another() {
    for make in [of_one_thread, of_threads] {
        let pool = Pool::builder_async(Bb8Manager::new(Echo(echo()))).max_size(2).build().unwrap();
        serve_one_runtime_after_another(&pool, make);
    }
}

#[test]
fn a_bb8_pool_that_pings_serves_one_runtime_after_another() {
    for make in [of_one_thread, of_threads] {
        let builder = Pool::builder_async(Bb8Manager::new(Echo(echo()))).max_size(2);
        let pool = builder.health(PingOnBorrow::always()).build().unwrap();
        serve_one_runtime_after_another(&pool, make);
    }
}

#[test]
fn a_deadpool_pool_serves_one_runtime_after_another() {
    for make in [of_one_thread, of_threads] {
        let manager = DeadpoolManager::new(Echo(echo()));
        let pool = Pool::builder_async(manager).max_size(2).build().unwrap();
        serve_one_runtime_after_another(&pool, make);
    }
}

#[test]
fn a_runtime_that_stands_still_costs_a_bridge_nothing_but_its_own_connections() {
    let pool = Pool::builder_async(Bb8Manager::new(Echo(echo()))).max_size(2).build().unwrap();
    serve_beside_a_runtime_that_stands_still(&pool);
    let builder = Pool::builder_async(Bb8Manager::new(Echo(echo()))).max_size(2);
    let pool = builder.health(PingOnBorrow::always()).build().unwrap();
    serve_beside_a_runtime_that_stands_still(&pool);
    let manager = DeadpoolManager::new(Echo(echo()));
    let pool = Pool::builder_async(manager).max_size(2).build().unwrap();
    serve_beside_a_runtime_that_stands_still(&pool);
}

/// It panicked for want of a reactor until its time was up.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_bb8_manager_takes_the_runtime_that_it_is_used_in() {
    let pool = Pool::builder_async(Bb8Manager::new(Echo(echo()))).max_size(2).build().unwrap();
    served(&pool).await;
    let stats = pool.stats();
    assert!(stats.connects >= 1 && stats.connect_failures == 0, "{stats}");
}

#[test]
fn a_bridge_without_any_runtime_serves_threads() {
    let builder = Pool::builder_async(Bb8Manager::new(Echo(echo()))).max_size(1);
    let pool = builder.health(PingOnBorrow::always()).build().unwrap();
    for _ in 0..3 {
        drop(pool.get_timeout(PLENTY).unwrap());
    }
    let stats = pool.stats();
    assert!(stats.connects == 1 && stats.ping_failures == 0, "{stats}");
}

#[test]
fn the_runtime_that_is_chosen_has_all_connections() {
    let chosen = of_threads();
    let manager = Bb8Manager::new(Echo(echo())).runtime(chosen.handle().clone());
    let pool = Pool::builder_async(manager).max_size(1).build().unwrap();
    for make in [of_one_thread, of_threads] {
        make().block_on(served(&pool));
    }
    drop(pool.get_timeout(PLENTY).unwrap());
    assert_eq!(pool.stats().connects, 1);
}

#[test]
fn a_bridge_refuses_to_block_the_one_thread_that_its_connections_need() {
    let pool = Pool::builder_async(Bb8Manager::new(Echo(echo()))).max_size(1).build().unwrap();
    of_one_thread().block_on(async {
        let begun = Instant::now();
        let error = pool.get_timeout(PLENTY).err().unwrap();
        assert!(matches!(error, GetError::WrongThread { .. }), "{error}");
        assert!(begun.elapsed() < PLENTY / 2);
        served(&pool).await;
    });
}

/// Also if the new manager's runtime is chosen, so that it would be waited for.
#[test]
fn a_switch_refuses_to_block_the_one_thread_that_the_new_connections_need() {
    let (runtime, address) = (of_one_thread(), echo());
    let pool = Pool::builder_async(Bb8Manager::new(Echo(address))).max_size(1).build().unwrap();
    runtime.block_on(async {
        let begun = Instant::now();
        let here = tokio::runtime::Handle::current();
        let managers = [(); 2].map(|()| Bb8Manager::new(Echo(address)));
        let [chosen, other] = managers;
        for manager in [chosen.runtime(here), other] {
            let error = pool.switch_manager(manager, PLENTY).unwrap_err();
            assert!(matches!(error, SwitchError::WrongThread), "{error}");
        }
        println!("refused within {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_millis(500));
        let new = Bb8Manager::new(Echo(address));
        assert_eq!(pool.switch_manager_async(new, PLENTY).await.unwrap(), 0);
        served(&pool).await;
    });
}
