//! Strategies by name.

use super::reader::Reader;
use super::value::{Setting, Table, Value, is_none, key_of};
use crate::error::Problem;
use crate::health::{AgeEviction, HealthStrategy, PeriodicSweep, PingAfterFailure, PingOnBorrow};
use std::time::Duration;

type Strategy = Box<dyn HealthStrategy>;

const EXPECTED: &str = "none, or some of ping_on_borrow, ping_after_failure, periodic_sweep, \
    age_eviction: a name, a list of names, or a table of them with what they need";

/// In the order in which they judge if a table does not say.
const NAMES: [&str; 4] = ["age_eviction", "periodic_sweep", "ping_after_failure", "ping_on_borrow"];

/// The strategy of `key`, if it is given and makes sense.
pub(super) fn read(reader: &mut Reader<'_>, key: &str) -> Option<Strategy> {
    let value = reader.take(key)?;
    if is_none(value) {
        return Some(Box::new(()));
    }
    let mut built = Vec::new();
    if let Value::Table(table) = value {
        let mut within = reader.within(key, table);
        for name in NAMES {
            let Some(value) = within.take(name) else { continue };
            match build(&mut within, name, value) {
                Some(strategy) => built.push(strategy),
                None => within.object(name, expected_of(name)),
            }
        }
        while let Some(name) = within.take_any() {
            within.object(name, EXPECTED);
        }
    } else {
        let by_default = |name: &String| build(reader, name, &Value::Switch(true));
        match names(value).and_then(|names| names.iter().map(by_default).collect()) {
            Some(named) => built = named,
            // Without the names, which are values.
            None => reader.object(key, EXPECTED),
        }
    }
    let none: Strategy = Box::new(());
    Some(built.into_iter().fold(none, |all, next| Box::new((all, next))))
}

/// Those of a text or a list.
fn names(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Text(names) => Some(names.split(',').map(|name| key_of(name.trim())).collect()),
        Value::List(list) => list
            .iter()
            .map(|name| match name {
                Value::Text(name) => Some(key_of(name.trim())),
                _ => None,
            })
            .collect(),
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
fn build(reader: &mut Reader<'_>, name: &str, value: &Value) -> Option<Strategy> {
    let is_on = bool::of(value);
    if is_on == Some(false) && NAMES.contains(&name) {
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
        ("periodic_sweep", _) => {
            if time?.is_zero() {
                reader.note(Problem::Zero("health.periodic_sweep"));
            }
            Some(Box::new(PeriodicSweep::every(time?)))
        }
        ("ping_after_failure", _) if is_on.is_some() => Some(Box::new(PingAfterFailure)),
        ("age_eviction", _) if is_on.is_some() => Some(Box::new(AgeEviction::default())),
        ("age_eviction", Value::Table(table)) => Some(Box::new(age(reader, name, table))),
        _ => None,
    }
}

fn age(reader: &mut Reader<'_>, name: &str, table: &Table) -> AgeEviction {
    let mut within = reader.within(name, table);
    let mut age = AgeEviction::default();
    // The lifetime sets the lead, so it comes first.
    if let Some(limit) = within.read_limit("max_lifetime", Duration::MAX) {
        if limit.is_zero() {
            within.note(Problem::Zero("health.age_eviction.max_lifetime"));
        }
        age = age.max_lifetime(limit);
    }
    if let Some(limit) = within.read_limit("idle_timeout", Duration::MAX) {
        if limit.is_zero() {
            within.note(Problem::Zero("health.age_eviction.idle_timeout"));
        }
        age = age.idle_timeout(limit);
    }
    if let Some(limit) = within.read_limit("max_uses", u64::MAX) {
        if limit == 0 {
            within.note(Problem::Zero("health.age_eviction.max_uses"));
        }
        age = age.max_uses(limit);
    }
    match within.read("jitter") {
        Some(share) if (0.0..=1.0).contains(&share) => age = age.jitter(share),
        Some(_) => within.object("jitter", "a number from 0 to 1"),
        None => {}
    }
    if let Some(lead) = within.read("lead") {
        age = age.lead(lead);
    }
    within.end();
    age
}
