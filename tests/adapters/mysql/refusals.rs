//! What becomes of a connect to MySQL that is refused, or not answered at all.
#![cfg(all(feature = "mysql", feature = "mysql_async"))]

use crate::common::my::*;
use crate::common::servers::mariadb::{DATABASE, MariaDb, PASSWORD, ROOT, USER};
use crate::common::servers::process::free_port;
use crate::common::{PLENTY, ROOM};
use caliburn::adapters::mysql::{AsyncMysqlManager, MysqlManager};
use caliburn::{ErrorClass, GetError, ManagerError};
use std::net::TcpListener;
use std::time::Duration;

harnesses! {
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_wrong_password_and_an_unknown_database_are_told_at_once
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    tls_that_cannot_be_had_is_an_error_that_will_not_pass
    a_port_that_nobody_listens_on_is_a_passing_error_with_its_cause
    a_server_that_cannot_be_reached_costs_one_connect_limit
    a_server_that_never_greets_costs_no_more_than_the_limit
    no_text_shows_the_password
    errors_of_the_server_are_told_apart
}

async fn a_wrong_password_and_an_unknown_database_are_told_at_once<A: Adapter>() {
    let server = MariaDb::start(&[]);
    for (url, code) in [
        (server.url_as(USER, "wrong-guess", DATABASE), 1045),
        (server.url_as("stranger", PASSWORD, DATABASE), 1045),
        (server.url_as(USER, PASSWORD, "mysql"), 1044),
        (server.url_as(ROOT, "", "nowhere"), 1049),
    ] {
        let pool = A::builder(A::manager(&url)).build().unwrap();
        let (error, took) = refusal(&pool).await;
        assert!(matches!(error, GetError::Connect { .. }), "{error}");
        let ManagerError::Failed(reason) = cause(&error) else { panic!("{error}") };
        assert_eq!(A::server_code(reason), Some(code), "{error}");
        assert_eq!(pool.manager().classify(reason), ErrorClass::Permanent);
        assert!(took < PLENTY / 4, "{took:?}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(PASSWORD) && !shown.contains("wrong-guess"), "{shown}");
    }
    // The connection itself shows nothing either.
    let pool = A::builder(A::manager(&server.url())).build().unwrap();
    let shown = format!("{:?}", A::get(&pool).await.unwrap());
    assert!(shown.contains("is_broken: false") && !shown.contains(PASSWORD), "{shown}");
    close(&pool);
}

async fn tls_that_cannot_be_had_is_an_error_that_will_not_pass<A: Adapter>() {
    use std::any::Any;
    let server = MariaDb::start(&[]);
    let mut manager = Some(A::manager(&server.url()));
    let any: &mut dyn Any = &mut manager;
    if let Some(manager) = any.downcast_mut::<Option<MysqlManager>>() {
        let opts = mysql::Opts::from_url(&server.url()).unwrap();
        let opts = mysql::OptsBuilder::from_opts(opts).ssl_opts(mysql::SslOpts::default());
        *manager = Some(MysqlManager::new(opts));
    } else if let Some(manager) = any.downcast_mut::<Option<AsyncMysqlManager>>() {
        let opts = mysql_async::Opts::from_url(&server.url()).unwrap();
        let opts =
            mysql_async::OptsBuilder::from_opts(opts).ssl_opts(mysql_async::SslOpts::default());
        *manager = Some(AsyncMysqlManager::new(opts));
    }
    let pool = A::builder(manager.unwrap()).build().unwrap();
    let (error, took) = refusal(&pool).await;
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
    assert!(matches!(cause(&error), ManagerError::Failed(_)), "a panic: {error}");
    assert!(took < PLENTY / 4, "{took:?}");
}

async fn a_port_that_nobody_listens_on_is_a_passing_error_with_its_cause<A: Adapter>() {
    let url = format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{}/", free_port());
    let limit = Duration::from_millis(300);
    let pool = A::builder(A::manager(&url)).checkout_timeout(limit).build().unwrap();
    let (error, took) = refusal(&pool).await;
    assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
    let ManagerError::Failed(reason) = cause(&error) else { panic!("{error}") };
    assert_eq!(pool.manager().classify(reason), ErrorClass::Transient);
    assert!(format!("{error:#}").contains("refused"), "{error:#}");
    assert!(took < limit + ROOM, "{took:?}");

    let pool = A::builder(A::manager(&url)).fail_fast(true).build().unwrap();
    let (error, took) = refusal(&pool).await;
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
    assert!(took < PLENTY / 4, "{took:?}");
}

async fn a_server_that_cannot_be_reached_costs_one_connect_limit<A: Adapter>() {
    // Set aside for documentation: nobody is there. Where there is no way at all the system says so
    // at once.
    let url = format!("mysql://{USER}@192.0.2.1:3306/");
    let limit = Duration::from_millis(300);
    let pool = A::builder(A::manager(&url)).fail_fast(true).connect_timeout(limit).build().unwrap();
    let (error, took) = refusal(&pool).await;
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
    assert!(took < limit + ROOM, "{took:?}");
    close(&pool);
}

async fn a_server_that_never_greets_costs_no_more_than_the_limit<A: Adapter>() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mysql://{USER}@{}/", mute.local_addr().unwrap());
    let limit = Duration::from_millis(300);
    let pool = A::builder(A::manager(&url))
        .checkout_timeout(limit)
        .connect_timeout(limit / 2)
        .build()
        .unwrap();
    let (error, took) = refusal(&pool).await;
    assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
    assert!(took < limit + ROOM, "{took:?}");
    // Not even a driver that blocks is kept.
    whole(&pool).await;
    assert_eq!(pool.stats().quarantined, 0);
    drop(mute);
}

async fn no_text_shows_the_password<A: Adapter>() {
    let manager = A::manager(&format!("mysql://{USER}:{PASSWORD}@localhost:3307/{DATABASE}"));
    let shown = format!("{:?}", A::builder(manager).build().unwrap());
    assert!(!shown.contains(PASSWORD), "{shown}");

    let manager = MysqlManager::manager(&format!("mysql://{USER}:{PASSWORD}@localhost:3307/"));
    let shown = format!("{manager:?}");
    assert!(shown.contains("localhost") && shown.contains("3307"), "{shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");
    let manager = AsyncMysqlManager::manager(&format!("mysql://{USER}:{PASSWORD}@localhost:3307/"));
    let shown = format!("{manager:?}");
    assert!(shown.contains("localhost") && shown.contains("3307"), "{shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");

    for rest in ["localhost:99999/", "localhost/?colour=red", "localhost/?stmt_cache_size=many"] {
        for scheme in ["mysql", "postgres"] {
            let url = format!("{scheme}://{USER}:{PASSWORD}@{rest}");
            let blocking = MysqlManager::from_url(&url).unwrap_err();
            let tasks = AsyncMysqlManager::from_url(&url).unwrap_err();
            let shown = format!("{blocking} {blocking:?} {tasks} {tasks:?}");
            assert!(!shown.contains(PASSWORD), "{shown}");
        }
    }
}

async fn errors_of_the_server_are_told_apart<A: Adapter>() {
    let manager = A::manager("mysql://localhost/");
    for code in [1044, 1045, 1049, 1130, 1698, 3118, 4151] {
        let class = manager.classify(&A::server_error(code));
        assert_eq!(class, ErrorClass::Permanent, "{code}");
    }
    for code in [1040, 1053, 1203, 1205, 1226, 1927] {
        let class = manager.classify(&A::server_error(code));
        assert_eq!(class, ErrorClass::Transient, "{code}");
    }
}
