//! Strategies by name.

use super::reader::Reader;
use super::value::{Setting, Table, Value, is_none, key_of};
use crate::health::{AgeEviction, HealthStrategy, PeriodicSweep, PingAfterFailure, PingOnBorrow};
use std::time::Duration;

type Strategy = Box<dyn HealthStrategy>;

const EXPECTED: &str = "none, or some of ping_on_borrow, ping_after_failure, periodic_sweep, \
    age_eviction: a name, a list of names, or a table of them with what they need";

/// The strategy of `key`, if it is given and makes sense.
pub(super) fn read(reader: &mut Reader<'_>, key: &str) -> Option<Strategy> {
    let value = reader.take(key)?;
    let mut strategy: Strategy = Box::new(());
    if is_none(value) {
        return Some(strategy);
    }
    let Some(named) = named(value) else {
        reader.object(key, EXPECTED);
        return None;
    };
    for (name, value) in &named {
        match build(reader, key, name, value) {
            Some(next) => strategy = Box::new((strategy, next)),
            None => reader.object(&format!("{key}.{name}"), expected_of(name)),
        }
    }
    Some(strategy)
}

/// Names, and what goes with each.
fn named(value: &Value) -> Option<Vec<(String, Value)>> {
    let by_default = |name: &str| (key_of(name.trim()), Value::Switch(true));
    match value {
        Value::Text(names) => Some(names.split(',').map(by_default).collect()),
        Value::List(list) => list
            .iter()
            .map(|name| match name {
                Value::Text(name) => Some(by_default(name)),
                _ => None,
            })
            .collect(),
        Value::Table(table) => {
            Some(table.iter().map(|(name, value)| (key_of(name), value.clone())).collect())
        }
        _ => None,
    }
}

fn expected_of(name: &str) -> &'static str {
    match name {
        "ping_on_borrow" => "true, \"always\", or a time such as \"500ms\"",
        "periodic_sweep" => "true, or a time such as \"60s\"",
        "ping_after_failure" => "true or false",
        "age_eviction" => "true or a table",
        _ => EXPECTED,
    }
}

/// One strategy; `()` if it is turned off.
fn build(reader: &mut Reader<'_>, key: &str, name: &str, value: &Value) -> Option<Strategy> {
    let is_on = bool::of(value);
    if is_on == Some(false) {
        return Some(Box::new(()));
    }
    let time = Duration::of(value);
    match (name, value) {
        ("ping_on_borrow", Value::Text(text)) if key_of(text) == "always" => {
            Some(Box::new(PingOnBorrow::always()))
        }
        ("ping_on_borrow", _) if is_on.is_some() => Some(Box::new(PingOnBorrow::default())),
        ("ping_on_borrow", _) => Some(Box::new(PingOnBorrow::skip_if_used_within(time?))),
        ("periodic_sweep", _) if is_on.is_some() => Some(Box::new(PeriodicSweep::default())),
        ("periodic_sweep", _) => Some(Box::new(PeriodicSweep::every(time?))),
        ("ping_after_failure", _) if is_on.is_some() => Some(Box::new(PingAfterFailure)),
        ("age_eviction", _) if is_on.is_some() => Some(Box::new(AgeEviction::default())),
        ("age_eviction", Value::Table(table)) => {
            Some(Box::new(age(reader, &format!("{key}.{name}"), table)))
        }
        _ => None,
    }
}

fn age(reader: &mut Reader<'_>, path: &str, table: &Table) -> AgeEviction {
    let mut within = reader.within(path, table);
    let mut age = AgeEviction::default();
    // The lifetime sets the lead, so it comes first.
    if let Some(limit) = within.read_limit("max_lifetime", Duration::MAX) {
        age = age.max_lifetime(limit);
    }
    if let Some(limit) = within.read_limit("idle_timeout", Duration::MAX) {
        age = age.idle_timeout(limit);
    }
    if let Some(limit) = within.read_limit("max_uses", u64::MAX) {
        age = age.max_uses(limit);
    }
    if let Some(share) = within.read("jitter") {
        age = age.jitter(share);
    }
    if let Some(lead) = within.read("lead") {
        age = age.lead(lead);
    }
    within.end();
    age
}
