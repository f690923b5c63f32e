//! A value of a configuration, whatever format it came in.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::time::Duration;

#[derive(Clone)]
pub(super) enum Value {
    Switch(bool),
    Number(u64),
    /// Also what is too large for one, or negative: no setting has such a value.
    Fraction(f64),
    /// Environment variables are nothing else.
    Text(String),
    List(Vec<Value>),
    Table(Table),
    Nothing,
}

/// By key, as it was given: some may be given twice.
pub(super) type Table = Vec<(String, Value)>;

impl<'de> Deserialize<'de> for Value {
    /// Takes whatever there is. An error of serde's would repeat the value, and that of a format
    /// the line in which it stands.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, on: bool) -> Result<Value, E> {
        Ok(Value::Switch(on))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.try_into().map_or(Value::Fraction(number as f64), Value::Number))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(number.try_into().map_or(Value::Fraction(number as f64), Value::Number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(number.try_into().map_or(Value::Fraction(number as f64), Value::Number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Fraction(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.into()))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Text(String::from_utf8_lossy(bytes).into_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, some: D) -> Result<Value, D::Error> {
        Value::deserialize(some)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, within: D) -> Result<Value, D::Error> {
        Value::deserialize(within)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut table = Table::new();
        while let Some(entry) = entries.next_entry()? {
            table.push(entry);
        }
        Ok(Value::Table(table))
    }
}

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
        Value::Nothing => true,
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
