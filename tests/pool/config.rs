//! A pool's configuration from files and the environment.
#![cfg(feature = "serde")]

use crate::common::*;
use caliburn::error::Problem;
use caliburn::{BuildError, ConfigError, Fairness, PingOn, Pool, PoolConfig, Settings};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn json(text: &str) -> PoolConfig {
    serde_json::from_str(text).unwrap()
}

fn toml(text: &str) -> PoolConfig {
    ::toml::from_str(text).unwrap()
}

/// As from the environment.
fn pairs(pairs: &[(&str, &str)]) -> PoolConfig {
    PoolConfig::from_pairs(pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())))
}

fn problems_of(config: &PoolConfig) -> Vec<Problem> {
    let built = Pool::builder(Fake::new()).config(config).build();
    match built.map(drop) {
        Err(BuildError::Config(error)) => error.problems().to_vec(),
        other => panic!("{other:?}"),
    }
}

fn texts_of(config: &PoolConfig) -> Vec<String> {
    problems_of(config).iter().map(ToString::to_string).collect()
}

const TOML: &str = r#"
    url = "postgres://app:secret@db.example/songs"
    max-size = 16
    min_size = 2
    min_idle = 1
    capacity = 32
    initial_size = 3
    reserved = 2
    wait_ready = "20s"
    checkout_timeout = "unlimited"
    connect_timeout = "3s"
    ping_timeout = "500ms"
    reset_timeout = "1m 30s"
    close_timeout = "1h"
    idle_timeout = "none"
    shrink_window = "1min"
    sweep_interval = "15s"
    max_waiters = 100
    connect_concurrency = 5
    maintenance_concurrency = 6
    worker_threads = 7
    ping_on = "worker"
    fairness = { bounded_barging = "1ms" }
    fail_fast = true
    [health]
    ping_on_borrow = "750ms"
    periodic_sweep = true
    ping_after_failure = false
    [health.age_eviction]
    max_lifetime = "30m"
    idle-timeout = "none"
    max_uses = 1000
    jitter = 0.5
    lead = "10s"
"#;

fn all_set() -> Settings {
    let mut settings = Settings::default();
    settings.max_size = 16;
    settings.min_size = 2;
    settings.min_idle = 1;
    settings.checkout_timeout = Duration::MAX;
    settings.connect_timeout = 3 * SECOND;
    settings.ping_timeout = SECOND / 2;
    settings.reset_timeout = 90 * SECOND;
    settings.close_timeout = 3600 * SECOND;
    settings.idle_timeout = None;
    settings.shrink_window = Some(60 * SECOND);
    settings.sweep_interval = Some(15 * SECOND);
    settings.max_waiters = 100;
    settings.connect_concurrency = 5;
    settings.maintenance_concurrency = 6;
    settings.worker_threads = 7;
    settings.ping_on = PingOn::Worker;
    settings.fairness = Fairness::BoundedBarging(SECOND / 1000);
    settings.fail_fast = true;
    settings
}

#[test]
fn all_settings_can_be_given_in_a_file() {
    let config = toml(TOML);
    assert_eq!(config.settings(), Ok(all_set()));
    assert_eq!(config.url(), Ok("postgres://app:secret@db.example/songs"));
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone()).config(&config).build().unwrap();
    assert_eq!(pool.settings(), all_set());
    let stats = pool.stats();
    assert!(stats.size >= 3 && stats.capacity == 32, "{stats:?}");
    assert_eq!(pool.reserved().unwrap().stats().idle, 2);
    assert!(fake.books().alive() >= 3);
}

#[test]
fn the_environment_says_the_same_in_texts() {
    let config = pairs(&[
        ("URL", "postgres://app:secret@db.example/songs"),
        ("MAX_SIZE", "16"),
        ("MIN_SIZE", "2"),
        ("MIN_IDLE", " 1 "),
        ("CHECKOUT_TIMEOUT", "unlimited"),
        ("CONNECT_TIMEOUT", "3s"),
        ("PING_TIMEOUT", "500ms"),
        ("RESET_TIMEOUT", "90s"),
        ("CLOSE_TIMEOUT", "60min"),
        ("IDLE_TIMEOUT", "never"),
        ("SHRINK_WINDOW", "60s"),
        ("SWEEP_INTERVAL", "15s"),
        ("MAX_WAITERS", "100"),
        ("CONNECT_CONCURRENCY", "5"),
        ("MAINTENANCE_CONCURRENCY", "6"),
        ("WORKER_THREADS", "7"),
        ("PING_ON", "Worker"),
        ("FAIRNESS", "bounded-barging 1ms"),
        ("FAIL_FAST", "true"),
        ("HEALTH", "ping_after_failure, age-eviction"),
    ]);
    assert_eq!(config.settings(), Ok(all_set()));
}

#[test]
fn what_is_said_later_holds() {
    let config = toml("url = 'a'\nmax_size = 4").overridden_by(pairs(&[("MAX_SIZE", "5")]));
    assert_eq!(config.settings().unwrap().max_size, 5);
    assert_eq!(config.url(), Ok("a"));
}

#[test]
fn what_is_not_said_stays_as_it_is() {
    let builder = Pool::builder(Fake::new()).max_size(7).capacity(9).min_size(2);
    let pool = builder.config(&json(r#"{"min_size": 1}"#)).build().unwrap();
    assert_eq!((pool.settings().max_size, pool.settings().min_size), (7, 1));
    assert_eq!(pool.stats().capacity, 9);
}

#[test]
fn strategies_are_chosen_by_name() {
    for health in [
        r#""ping_on_borrow""#,
        r#"["ping_on_borrow"]"#,
        r#"{"ping-on-borrow": true}"#,
        r#"{"ping_on_borrow": "always"}"#,
        r#"{"ping_on_borrow": "0s"}"#,
        r#""age_eviction, ping_on_borrow""#,
    ] {
        let (fake, config) = (Fake::new(), json(&format!(r#"{{"health": {health}}}"#)));
        let (pool, hand) = full_manual(&fake, 1, |b| b.config(&config));
        hand.advance(SECOND);
        drop(pool.get().unwrap());
        assert_eq!(pool.stats().pings, 1, "{health}");
    }
    for health in [r#""none""#, "[]", "null", r#"{"ping_on_borrow": false}"#] {
        let (fake, config) = (Fake::new(), json(&format!(r#"{{"health": {health}}}"#)));
        let (pool, hand) = full_manual(&fake, 1, |b| b.config(&config));
        hand.advance(100 * SECOND);
        drop(pool.get().unwrap());
        assert_eq!(pool.stats().pings, 0, "{health}");
    }
    let (fake, config) = (Fake::new(), json(r#"{"health": {"age_eviction": {"max_uses": 2}}}"#));
    let (pool, _hand) = full_manual(&fake, 1, |b| b.config(&config));
    for expected in [0, 0] {
        assert_eq!(pool.get().unwrap().id, expected);
    }
    pool.maintain();
    assert_eq!(pool.get().unwrap().id, 1);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let config = toml(
        r#"
        max_sise = 5
        min_size = 20
        max_size = 10
        connect_timeout = "3 parsecs"
        ping_timeout = 5
        close_timeout = "0s"
        checkout_timeout = -1
        max_waiters = "many"
        worker_threads = 0
        ping_on = "nobody"
        fairness = "none"
        fail_fast = "perhaps"
        idle_timeout = true
        capacity = 3.5
        initial_size = 5
        wait_ready = []
        [health]
        ping_on_borow = true
        periodic_sweep = "often"
        [health.age_eviction]
        max_lifetime = "long"
        max_age = "1h"
    "#,
    );
    let time = "a time with its unit, such as \"30s\", \"500ms\" or \"1h 30m\"";
    let mut expected = vec![
        "max_sise is not a setting".to_owned(),
        format!("connect_timeout must be {time}"),
        format!("ping_timeout must be {time}"),
        "close_timeout must not be zero".into(),
        format!("checkout_timeout must be {time}"),
        "max_waiters must be a whole number".into(),
        "worker_threads must not be zero".into(),
        "ping_on must be borrower or worker".into(),
        "fairness must be fifo, or bounded_barging with a time such as \"1ms\"".into(),
        "fail_fast must be true or false".into(),
        format!("idle_timeout must be {time}"),
        "capacity must be a whole number".into(),
        format!("wait_ready must be {time}"),
        "min_size (20) is above max_size (10)".into(),
        "initial_size (5) is below min_size (20)".into(),
        "health.periodic_sweep must be true, or a time such as \"60s\"".into(),
        format!("health.age_eviction.max_lifetime must be {time}"),
        "health.age_eviction.max_age is not a setting".into(),
    ];
    let mut texts = texts_of(&config);
    let is_of_names =
        |text: &String| text.starts_with("health.ping_on_borow must be none, or some");
    assert!(texts.iter().any(is_of_names), "{texts:#?}");
    texts.retain(|text| !is_of_names(text));
    texts.sort();
    expected.sort();
    assert_eq!(texts, expected);
    // The same without a pool.
    assert_eq!(config.settings().unwrap_err().problems().len(), expected.len() + 1);
}

#[test]
fn no_mistake_shows_a_secret() {
    let config = toml("url = 5\nmax_size = 'hunter2'\nfairness = 'hunter2'");
    let text = format!("{:?} {:?} {config:?}", texts_of(&config), config.url());
    assert!(!text.contains("hunter2"), "{text}");
    let config = pairs(&[("url", "redis://:hunter2@db")]);
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[derive(Debug, serde::Deserialize)]
struct App {
    database: PoolConfig,
}

#[test]
fn a_text_in_place_of_the_table_is_reported_without_it() {
    const URL: &str = "postgres://app:hunter2@db/songs";
    let apps = [
        serde_json::from_str::<App>(&format!(r#"{{"database": "{URL}"}}"#)).unwrap(),
        serde_json::from_str::<App>(&format!(r#"{{"database": ["{URL}"]}}"#)).unwrap(),
        serde_json::from_str::<App>(r#"{"database": 5}"#).unwrap(),
        ::toml::from_str::<App>(&format!("database = \"{URL}\"")).unwrap(),
    ];
    for App { database } in apps {
        let expected = "a pool's configuration must be a table";
        assert_eq!(texts_of(&database), [expected]);
        assert!(database.url().unwrap_err().to_string().ends_with(expected));
        assert!(!format!("{database:?}").contains("hunter2"));
    }
    let settings = serde_json::from_str::<Settings>(&format!("{URL:?}")).unwrap_err();
    assert!(!settings.to_string().contains("hunter2"), "{settings}");
}

#[test]
fn a_configuration_may_stand_among_other_keys() {
    #[derive(serde::Deserialize)]
    struct Flat {
        name: String,
        #[serde(flatten)]
        pool: PoolConfig,
    }
    let flat: Flat = serde_json::from_str(r#"{"name": "songs", "max_size": 3}"#).unwrap();
    assert_eq!((&*flat.name, flat.pool.settings().unwrap().max_size), ("songs", 3));
}

#[test]
fn names_that_are_values_are_not_repeated() {
    for health in [r#""hunter2""#, r#""ping_on_borrow, hunter2""#, r#"["hunter2"]"#, "[5]", "5"] {
        let texts = texts_of(&json(&format!(r#"{{"health": {health}}}"#)));
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].starts_with("health must be none, or some of"), "{texts:?}");
    }
}

#[test]
fn values_that_would_keep_no_connection_are_reported_at_once() {
    let config = json(
        r#"{"health": {
            "nothing": false,
            "periodic_sweep": "0s",
            "age_eviction": {"max_lifetime": "0s", "idle_timeout": "0s", "max_uses": 0}
        }}"#,
    );
    let mut texts = texts_of(&config);
    texts.sort();
    assert!(texts.remove(3).starts_with("health.nothing must be none, or some of"), "{texts:?}");
    let expected = [
        "health.age_eviction.idle_timeout must not be zero",
        "health.age_eviction.max_lifetime must not be zero",
        "health.age_eviction.max_uses must not be zero",
        "health.periodic_sweep must not be zero",
    ];
    assert_eq!(texts, expected);
    for jitter in [r#""NaN""#, r#""inf""#, "-1", "2", "1.01", r#""-0.1""#] {
        let config = json(&format!(r#"{{"health": {{"age_eviction": {{"jitter": {jitter}}}}}}}"#));
        let expected = "health.age_eviction.jitter must be a number from 0 to 1";
        assert_eq!(texts_of(&config), [expected], "{jitter}");
    }
    for jitter in ["0", "1", "0.5", r#""1.0""#] {
        let config = json(&format!(r#"{{"health": {{"age_eviction": {{"jitter": {jitter}}}}}}}"#));
        config.settings().unwrap();
    }
}

#[test]
fn what_is_given_twice_is_reported() {
    let config = json(
        r#"{
            "url": "a", "URL": "b",
            "max_size": 4, "Max-Size": 8, "max_size": 9,
            "health": {"ping_on_borrow": true, "Ping-On-Borrow": false,
                       "age_eviction": {"max_uses": 1, "max_uses": 2}}
        }"#,
    );
    let expected =
        ["url", "max_size", "max_size", "health.ping_on_borrow", "health.age_eviction.max_uses"];
    let repeated = |setting: &str| Problem::Repeated(setting.into());
    assert_eq!(problems_of(&config), expected.map(repeated));
    assert_eq!(config.url().unwrap_err().problems(), [repeated("url")]);
    assert_eq!(texts_of(&config)[0], "url is given more than once");
    let config = pairs(&[("MAX_SIZE", "4"), ("max-size", "8")]);
    assert_eq!(problems_of(&config), [repeated("max_size")]);
    // What is overridden is not.
    let config = pairs(&[("max_size", "4")]).overridden_by(pairs(&[("MAX_SIZE", "5")]));
    assert_eq!(config.settings().unwrap().max_size, 5);
}

#[test]
fn a_url_that_is_needed_and_not_given_is_a_problem() {
    let problems = |error: ConfigError| error.problems().to_vec();
    let missing = PoolConfig::default().url().map(str::to_owned).map_err(problems);
    assert_eq!(missing, Err(vec![Problem::Missing("url")]));
    let wrong = json(r#"{"url": 5}"#).url().map(str::to_owned).map_err(problems).unwrap_err();
    assert_eq!(wrong[0].to_string(), "url must be a text");
}

#[test]
fn settings_alone_are_read_and_checked_too() {
    let settings: Settings =
        serde_json::from_str(r#"{"max_size": 3, "ping_on": "worker"}"#).unwrap();
    assert_eq!((settings.max_size, settings.ping_on), (3, PingOn::Worker));
    let text = r#"{"max_size": 3, "min_size": 4, "url": "x", "ping_timeout": "soon"}"#;
    let error = serde_json::from_str::<Settings>(text).unwrap_err().to_string();
    let above = "min_size (4) is above max_size (3)";
    for part in [above, "url is not a setting", "ping_timeout must be"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn variables_are_found_by_their_prefix() {
    // Of this process's own, as cargo sets them.
    let config = PoolConfig::from_env("CARGO_PKG_");
    assert!(texts_of(&config).contains(&"name is not a setting".to_owned()));
    assert!(PoolConfig::from_env("NO_SUCH_PREFIX_").settings().is_ok());
}

#[test]
fn a_reserve_that_is_too_large_is_a_problem_like_any_other() {
    let config = pairs(&[("reserved", "70000"), ("max_size", "0")]);
    let texts =
        ["max_size must not be zero", "reserved (70000) is above the greatest capacity (65536)"];
    assert_eq!(texts_of(&config), texts);
    assert_eq!(config.settings().unwrap_err().problems(), problems_of(&config));
    assert_eq!(texts_of(&json(r#"{ "reserved": "two" }"#)), ["reserved must be a whole number"]);
    // A configuration that does not speak of it leaves what the program has said.
    let pool = Pool::builder(Fake::new()).reserved(1).config(&pairs(&[])).build().unwrap();
    assert_eq!(pool.reserved().unwrap().capacity(), 1);
    let none = pairs(&[("reserved", "0")]);
    let pool = Pool::builder(Fake::new()).reserved(1).config(&none).build().unwrap();
    assert!(pool.reserved().is_none());
}
