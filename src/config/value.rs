//! A value of a configuration, whatever format it came in.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Value {
    Switch(bool),
    Number(u64),
    /// Also what is too large for one, or negative: no setting has such a value.
    Fraction(f64),
    /// Environment variables are nothing else.
    Text(String),
    List(Vec<Value>),
    Table(Table),
    Nothing(()),
}

/// By key, in lower case and with underscores.
pub(super) type Table = BTreeMap<String, Value>;

/// `Max-Size` is `max_size`.
pub(super) fn key_of(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

/// What a setting may be.
pub(super) trait Setting: Sized {
    /// To complete "must be".
    const EXPECTED: &'static str;

    fn of(value: &Value) -> Option<Self>;
}

impl Setting for String {
    const EXPECTED: &'static str = "a text";

    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";

    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Switch(on) => Some(*on),
            Value::Text(text) => text.trim().to_ascii_lowercase().parse().ok(),
            _ => None,
        }
    }
}

impl Setting for u64 {
    const EXPECTED: &'static str = "a whole number";

    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }
}

impl Setting for usize {
    const EXPECTED: &'static str = "a whole number";

    fn of(value: &Value) -> Option<Self> {
        u64::of(value)?.try_into().ok()
    }
}

impl Setting for f64 {
    const EXPECTED: &'static str = "a number";

    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => Some(*number as f64),
            Value::Fraction(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }
}

impl Setting for Duration {
    const EXPECTED: &'static str = "a time with its unit, such as \"30s\", \"500ms\" or \"1h 30m\"";

    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => humantime::parse_duration(text.trim()).ok(),
            // Without a unit nothing else makes sense.
            Value::Number(0) => Some(Duration::ZERO),
            _ => None,
        }
    }
}

/// Whether `value` says that there is none, or no limit.
pub(super) fn is_none(value: &Value) -> bool {
    match value {
        Value::Nothing(()) => true,
        Value::Text(text) => ["none", "never", "unlimited"].contains(&&*key_of(text.trim())),
        _ => false,
    }
}

impl<T: Setting> Setting for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn of(value: &Value) -> Option<Self> {
        if is_none(value) { Some(None) } else { T::of(value).map(Some) }
    }
}
