//! The settings that are a choice with figures of its own.

use super::value::{Setting, Value, key_of};
use super::{Fairness, Shedding};
use std::time::Duration;

impl Setting for Fairness {
    const EXPECTED: &'static str = "fifo, or bounded_barging with a time such as \"1ms\"";

    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) if key_of(text.trim()) == "fifo" => Some(Self::Fifo),
            // In the environment: `bounded_barging 1ms`.
            Value::Text(text) => {
                let (name, limit) = text.trim().split_once(' ')?;
                let limit = humantime::parse_duration(limit.trim()).ok()?;
                (key_of(name) == "bounded_barging").then_some(Self::BoundedBarging(limit))
            }
            Value::Table(table) => {
                let [(name, limit)] = &table[..] else { return None };
                let limit = Duration::of(limit)?;
                (key_of(name) == "bounded_barging").then_some(Self::BoundedBarging(limit))
            }
            _ => None,
        }
    }
}

impl Setting for Shedding {
    const EXPECTED: &'static str = "off, or codel's target and interval such as \"50ms, 100ms\", \
                                    and newest_first if that is wanted";

    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) if key_of(text.trim()) == "off" => Some(Self::Off),
            // In the environment: `50ms, 100ms` or `50ms, 100ms, newest_first`.
            Value::Text(text) => {
                let parts: Vec<_> = text.split(',').map(str::trim).collect();
                let (target, interval, rest) = match &parts[..] {
                    [target, interval, rest @ ..] => (target, interval, rest),
                    _ => return None,
                };
                let newest_first = match rest {
                    [] => false,
                    [order] if key_of(order) == "newest_first" => true,
                    _ => return None,
                };
                let target = humantime::parse_duration(target).ok()?;
                let interval = humantime::parse_duration(interval).ok()?;
                Some(Self::CoDel { target, interval, newest_first })
            }
            Value::Table(table) => {
                let (mut target, mut interval, mut newest_first) = (None, None, None);
                for (key, value) in table {
                    let is_repeated = match &*key_of(key) {
                        "target" => target.replace(Duration::of(value)?).is_some(),
                        "interval" => interval.replace(Duration::of(value)?).is_some(),
                        "newest_first" => newest_first.replace(bool::of(value)?).is_some(),
                        _ => return None,
                    };
                    if is_repeated {
                        return None;
                    }
                }
                let newest_first = newest_first.unwrap_or_default();
                Some(Self::CoDel { target: target?, interval: interval?, newest_first })
            }
            _ => None,
        }
    }
}
