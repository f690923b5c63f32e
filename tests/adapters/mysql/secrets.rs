//! Passwords for MySQL: where they are not sent, and where they are not shown.
#![cfg(all(feature = "mysql", feature = "mysql_async"))]

use crate::common::PLENTY;
use crate::common::my::*;
use crate::common::my_fake::FakeMySql;
use crate::common::servers::mariadb::{DATABASE, MariaDb, PASSWORD};
use caliburn::adapters::mysql::{AsyncMysqlManager, MysqlManager, UrlError};
use caliburn::{ErrorClass, GetError, ManagerError};

harnesses! {
    no_password_is_sent_to_a_server_that_asks_for_it_without_tls
    a_server_that_is_trusted_is_told_the_password
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_password_in_a_url_is_taken_as_the_guide_says
}

fn with_password(server: &FakeMySql) -> String {
    server.url().replace("app@", &format!("app:{PASSWORD}@"))
}

async fn no_password_is_sent_to_a_server_that_asks_for_it_without_tls<A: Adapter>() {
    let server = FakeMySql::start();
    let asked = server.ask_for_passwords();
    let manager = A::manager(&with_password(&server)).password_without_tls(false);
    let pool = A::builder(manager).max_size(1).build().unwrap();
    let (error, took) = refusal(&pool).await;
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
    let ManagerError::Failed(reason) = cause(&error) else { panic!("{error}") };
    assert_eq!(pool.manager().classify(reason), ErrorClass::Permanent, "{error}");
    assert!(format!("{error:#}").contains("without TLS"), "{error:#}");
    assert!(took < PLENTY / 4, "{took:?}");
    // The goodbye.
    assert!(asked.answers.lock().unwrap().iter().all(|answer| *answer == [1]));
    close(&pool);
}

async fn a_server_that_is_trusted_is_told_the_password<A: Adapter>() {
    let server = FakeMySql::start();
    let asked = server.ask_for_passwords();
    // It is on the same machine.
    let pool = A::builder(A::manager(&with_password(&server))).max_size(1).build().unwrap();
    echo::<A>(&mut *A::get(&pool).await.unwrap(), 1).await.unwrap();
    let answers = asked.answers.lock().unwrap().clone();
    assert_eq!(answers[0], [2], "it asks for the key");
    assert_eq!(answers[1].len(), 256, "and encrypts with it");
    close(&pool);
}

#[test]
fn a_login_that_proves_the_password_needs_no_tls() {
    use mysql::prelude::Queryable;
    let server = FakeMySql::start();
    let manager = MysqlManager::from_url(&with_password(&server)).unwrap();
    let pool = caliburn::Pool::builder(manager.password_without_tls(false)).build().unwrap();
    assert_eq!(pool.get().unwrap().query_first("SELECT 5").unwrap(), Some(5));
    close(&pool);
}

/// All that is not a letter or a digit, some that is neither in ASCII, and none at all.
fn odd() -> impl Iterator<Item = String> {
    let ascii = (0_u8..128).map(char::from).filter(|c| !c.is_ascii_alphanumeric());
    let odd = ascii.chain(['ü', '\u{a0}', '\u{2028}', '𝕊', '\u{202e}']).map(String::from);
    odd.chain(["://", "//", "@@", "%", "%4", "%zz", "?x=", "#?", ":0", ""].map(String::from))
}

#[test]
fn no_error_shows_a_part_of_user_or_password_whatever_is_in_it() {
    let urls = odd().flat_map(|one| {
        odd().flat_map(move |other| {
            [
                format!("mysql://Ann{one}ie:Hid{other}den@db.example:3306/songs"),
                format!("mysql://Annie:1{one}Hid{other}den@db.example/songs?compress=fast"),
                format!("mysql://Annie:2?Hid{one}den{other}@db.example/songs"),
                format!("mysql://Annie:Hid{one}den@db.example/songs?pass=Hid&den{other}=den"),
                format!("{one}Annie:Hid{other}den@db.example/songs"),
                format!("mysql:{one}Annie:Hid{other}den@db.example"),
            ]
        })
    });
    let mut refused = 0;
    for url in urls {
        for (shown, is_refused) in [
            shown(MysqlManager::from_url(&url)),
            shown(AsyncMysqlManager::from_url(&url)),
            shown(url.parse::<MysqlManager>()),
            shown(url.parse::<AsyncMysqlManager>()),
        ] {
            refused += usize::from(is_refused);
            for part in ["Ann", "nie", "Hid", "den"] {
                assert!(!shown.contains(part), "{url:?}: {shown}");
            }
        }
    }
    assert!(refused > 10_000, "{refused}");
}

fn shown<M: std::fmt::Debug>(outcome: Result<M, UrlError>) -> (String, bool) {
    match outcome {
        // Whom it would connect to.
        Ok(manager) => (format!("{manager:?}"), false),
        Err(error) => (format!("{error} {error:?}"), true),
    }
}

#[test]
fn what_is_wrong_with_a_url_is_said() {
    let flaw = |url: &str| {
        let blocking = MysqlManager::from_url(url).unwrap_err();
        assert_eq!(AsyncMysqlManager::from_url(url).unwrap_err(), blocking, "{url}");
        blocking
    };
    assert_eq!(flaw("postgres://localhost"), UrlError::Malformed);
    assert_eq!(flaw("mysql://localhost:99999"), UrlError::Malformed);
    for url in
        ["mysql://app:a/b@localhost", "mysql://app:a?b@localhost", "mysql://app:a#b@localhost"]
    {
        assert_eq!(flaw(url), UrlError::Unescaped, "{url}");
    }
    assert_eq!(flaw("mysql://localhost?colour=red"), UrlError::UnknownOption("colour".into()));
    let invalid = UrlError::InvalidOption("stmt_cache_size".into());
    assert_eq!(flaw("mysql://localhost?stmt_cache_size=many"), invalid);
    assert!(MysqlManager::from_url("mysql://app:a%2Fb%40c@localhost/songs").is_ok());
}

async fn a_password_in_a_url_is_taken_as_the_guide_says<A: Adapter>() {
    let server = MariaDb::start(&[]);
    for (n, (written, password)) in [
        ("p%40%2F%3F%23%25", "p@/?#%"),
        ("p@ss", "p@ss"),
        ("50%off", "50%off"),
        ("half%", "half%"),
        ("a%41b", "aAb"),
    ]
    .into_iter()
    .enumerate()
    {
        let user = format!("user{n}");
        server.ask(&format!(
            "CREATE USER {user}@'%' IDENTIFIED BY '{password}'; \
             GRANT ALL ON {DATABASE}.* TO {user}@'%'"
        ));
        let manager = A::manager(&server.url_as(&user, written, DATABASE));
        let pool = A::builder(manager).max_size(1).build().unwrap();
        echo::<A>(&mut *A::get(&pool).await.unwrap(), n).await.unwrap();
        close(&pool);
    }
}
