//! A pool's configuration from a file or the environment.

use super::reader::Reader;
use super::value::{Setting, Table, Value, key_of};
use super::{PingOn, Settings, health};
use crate::error::{ConfigError, Problem};
use crate::health::HealthStrategy;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::time::Duration;

/// A pool's configuration: from TOML, JSON or any other format of serde, and from [environment
/// variables](Self::from_env).
///
/// ```
/// use caliburn::{Pool, PoolConfig};
///
/// let config: PoolConfig = serde_json::from_str(r#"{
///     "url": "postgres://app:secret@db.example/songs",
///     "max_size": 16,
///     "checkout_timeout": "2s",
///     "health": ["ping_after_failure", "age_eviction"]
/// }"#)?;
/// assert_eq!(config.url()?, "postgres://app:secret@db.example/songs");
/// # use std::error::Error;
/// # struct Null;
/// # impl caliburn::Manager for Null { type Connection = (); type Error = std::fmt::Error; }
/// # impl caliburn::BlockingManager for Null {
/// #     fn connect(&self, _: &caliburn::Deadline) -> Result<(), std::fmt::Error> { Ok(()) }
/// #     fn ping(&self, _: &mut (), _: &caliburn::Deadline) -> Result<(), std::fmt::Error> {
/// #         Ok(())
/// #     }
/// # }
/// # let manager = Null;
/// let pool = Pool::builder(manager).config(&config).build()?;
/// # assert_eq!(pool.settings().max_size, 16);
/// # Ok::<(), Box<dyn Error>>(())
/// ```
///
/// | key | value |
/// |---|---|
/// | `url` | for the manager: the pool does not read it, you [take](Self::url) it |
/// | each of [`Settings`], by its name | a number; a time as `"1h 30m"`; `"none"`: no limit |
/// | `ping_on` | `"borrower"`, `"worker"` |
/// | `fairness` | `"fifo"`, or `{ bounded_barging = "1ms" }`; as a text `"bounded_barging 1ms"` |
/// | `shedding` | `"off"`, or `{ target = "50ms", interval = "100ms", newest_first = true }` |
/// | the same as a text | `"50ms, 100ms"`, or `"50ms, 100ms, newest_first"` |
/// | `capacity`, `initial_size`, `reserved`, `wait_ready` | as in the [`Builder`](crate::Builder) |
/// | `health` | `"none"`, names of strategies, or a table as below |
///
/// ```toml
/// [health]
/// ping_on_borrow = "500ms"
/// periodic_sweep = "60s"
/// ping_after_failure = true
/// [health.age_eviction]
/// max_lifetime = "30m"
/// idle_timeout = "5m"
/// max_uses = 10000
/// jitter = 0.6
/// lead = "1m"
/// ```
///
/// Keys may have dashes and capitals. Every value may be a text, as in the environment.
/// [`build`](crate::Builder::build) checks the configuration, and reports unknown keys, invalid
/// values and contradictions all at once.
#[derive(Clone, Default)]
pub struct PoolConfig {
    entries: Table,
    /// Something else was given in its place.
    is_no_table: bool,
}

/// What a configuration sets of a pool, as far as it makes sense.
pub(crate) struct Read {
    pub(crate) capacity: Option<usize>,
    pub(crate) initial_size: Option<usize>,
    pub(crate) reserved: Option<usize>,
    pub(crate) wait_ready: Option<Duration>,
    pub(crate) strategy: Option<Box<dyn HealthStrategy>>,
}

impl PoolConfig {
    /// Reads the environment: with the prefix `"DATABASE_"`, `max_size` is the value of
    /// `DATABASE_MAX_SIZE`. Separate several strategies with commas. A variable that has the prefix
    /// but names no setting is a problem, like any other unknown key.
    ///
    /// ```
    /// let config = caliburn::PoolConfig::from_env("SONGS_DB_");
    /// # let _ = config;
    /// ```
    pub fn from_env(prefix: &str) -> Self {
        Self::from_pairs(std::env::vars_os().filter_map(|(name, value)| {
            let name = name.to_str()?.strip_prefix(prefix)?.to_owned();
            Some((name, value.to_string_lossy().into_owned()))
        }))
    }

    /// Reads pairs of key and value, such as the options of a command line.
    ///
    /// ```
    /// use caliburn::PoolConfig;
    ///
    /// let options = [("max_size", "16"), ("checkout_timeout", "2s")];
    /// let pairs = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    /// let settings = PoolConfig::from_pairs(pairs).settings()?;
    /// assert_eq!(settings.max_size, 16);
    /// # Ok::<(), caliburn::ConfigError>(())
    /// ```
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let entry = |(key, value): (String, String)| (key_of(&key), Value::Text(value));
        Self { entries: pairs.into_iter().map(entry).collect(), is_no_table: false }
    }

    /// Adds the entries of `other`, which override those of `self`.
    ///
    /// ```
    /// # use caliburn::PoolConfig;
    /// # fn from_file() -> PoolConfig { PoolConfig::default() }
    /// let config = from_file().overridden_by(PoolConfig::from_env("DATABASE_"));
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn overridden_by(mut self, other: Self) -> Self {
        self.entries.retain(|(key, _)| other.entries.iter().all(|(over, _)| over != key));
        self.entries.extend(other.entries);
        self.is_no_table |= other.is_no_table;
        self
    }

    /// Returns the value of `url`.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] if `url` is missing, given more than once, or not a text.
    pub fn url(&self) -> Result<&str, ConfigError> {
        let mut urls = self.entries.iter().filter(|(key, _)| key == "url").map(|(_, url)| url);
        let problem = match (urls.next(), urls.next()) {
            (Some(Value::Text(url)), None) => return Ok(url),
            (Some(_), None) => {
                Problem::Invalid { setting: "url".into(), expected: String::EXPECTED }
            }
            (Some(_), Some(_)) => Problem::Repeated("url".into()),
            (None, _) if self.is_no_table => no_table(),
            (None, _) => Problem::Missing("url"),
        };
        Err(ConfigError::of_one(problem))
    }

    /// Returns the settings: the defaults, overridden by the configuration.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] with all problems of the configuration.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let (mut settings, mut problems) = (Settings::default(), Vec::new());
        let read = self.read(&mut settings, &mut problems);
        let capacity = read.capacity.unwrap_or(settings.max_size);
        settings.check(capacity, read.initial_size, &mut problems);
        problems.extend(read.reserved.and_then(Settings::check_reserved));
        ConfigError::of(problems)?;
        Ok(settings)
    }

    /// Sets what the configuration says of `settings`, and notes what makes no sense.
    pub(crate) fn read(&self, settings: &mut Settings, problems: &mut Vec<Problem>) -> Read {
        let mut reader = self.reader(problems);
        // For the manager, which the caller makes.
        reader.take("url");
        read_settings(&mut reader, settings);
        let read = Read {
            capacity: reader.read("capacity"),
            initial_size: reader.read("initial_size"),
            reserved: reader.read("reserved"),
            wait_ready: reader.read("wait_ready"),
            strategy: health::read(&mut reader, "health"),
        };
        reader.end();
        read
    }

    fn reader<'a>(&'a self, problems: &'a mut Vec<Problem>) -> Reader<'a> {
        if self.is_no_table {
            problems.push(no_table());
        }
        Reader::new("", &self.entries, problems)
    }
}

fn no_table() -> Problem {
    Problem::Invalid { setting: "a pool's configuration".into(), expected: "a table" }
}

fn read_settings(reader: &mut Reader<'_>, settings: &mut Settings) {
    fn set<T>(setting: &mut T, read: Option<T>) {
        if let Some(value) = read {
            *setting = value;
        }
    }
    // A setting that is forgotten here does not compile.
    let Settings {
        max_size,
        min_size,
        min_idle,
        checkout_timeout,
        connect_timeout,
        ping_timeout,
        reset_timeout,
        close_timeout,
        idle_timeout,
        shrink_window,
        sweep_interval,
        max_waiters,
        connect_concurrency,
        maintenance_concurrency,
        worker_threads,
        ping_on,
        fairness,
        shedding,
        deadline_admission,
        fail_fast,
        leak_threshold,
    } = settings;
    set(max_size, reader.read("max_size"));
    set(min_size, reader.read("min_size"));
    set(min_idle, reader.read("min_idle"));
    set(checkout_timeout, reader.read_limit("checkout_timeout", Duration::MAX));
    set(connect_timeout, reader.read("connect_timeout"));
    set(ping_timeout, reader.read("ping_timeout"));
    set(reset_timeout, reader.read("reset_timeout"));
    set(close_timeout, reader.read("close_timeout"));
    set(idle_timeout, reader.read("idle_timeout"));
    set(shrink_window, reader.read("shrink_window"));
    set(sweep_interval, reader.read("sweep_interval"));
    set(max_waiters, reader.read_limit("max_waiters", usize::MAX));
    set(connect_concurrency, reader.read("connect_concurrency"));
    set(maintenance_concurrency, reader.read("maintenance_concurrency"));
    set(worker_threads, reader.read("worker_threads"));
    let places = [("borrower", PingOn::Borrower), ("worker", PingOn::Worker)];
    set(ping_on, reader.choose("ping_on", &places, "borrower or worker"));
    set(fairness, reader.read("fairness"));
    set(shedding, reader.read("shedding"));
    set(deadline_admission, reader.read("deadline_admission"));
    set(fail_fast, reader.read("fail_fast"));
    set(leak_threshold, reader.read("leak_threshold"));
}

impl<'de> Deserialize<'de> for PoolConfig {
    /// Takes what there is, even if it is no table: that is reported with all other mistakes, and
    /// without the value, which may be a URL.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Value::Table(entries) = Value::deserialize(deserializer)? else {
            return Ok(Self { entries: Table::new(), is_no_table: true });
        };
        let entries = entries.into_iter().map(|(key, value)| (key_of(&key), value)).collect();
        Ok(Self { entries, is_no_table: false })
    }
}

impl<'de> Deserialize<'de> for Settings {
    /// As [`PoolConfig`]'s keys for settings, and no others. The error lists all problems.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let config = PoolConfig::deserialize(deserializer)?;
        let (mut settings, mut problems) = (Self::default(), Vec::new());
        let mut reader = config.reader(&mut problems);
        read_settings(&mut reader, &mut settings);
        reader.end();
        settings.check(settings.max_size, None, &mut problems);
        ConfigError::of(problems).map_err(serde::de::Error::custom)?;
        Ok(settings)
    }
}

impl fmt::Debug for PoolConfig {
    /// Without the values, of which one may have a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.entries.iter().map(|(key, _)| key).collect();
        f.debug_tuple("PoolConfig").field(&keys).finish()
    }
}
