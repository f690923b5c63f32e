//! Reads settings from a table, and notes what is wrong with it instead of stopping there.

use super::value::{Setting, Table, Value, key_of};
use crate::error::Problem;

/// What is left of a table, and all problems so far.
pub(super) struct Reader<'a> {
    /// Before each key, in problems.
    path: String,
    left: Vec<(&'a str, &'a Value)>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &str, table: &'a Table, problems: &'a mut Vec<Problem>) -> Self {
        let mut left: Vec<(&str, &Value)> = Vec::new();
        for (key, value) in table {
            if left.iter().any(|(other, _)| key_of(other) == key_of(key)) {
                problems.push(Problem::Repeated(format!("{path}{}", key_of(key))));
            } else {
                left.push((key, value));
            }
        }
        Self { path: path.into(), left, problems }
    }

    pub(super) fn note(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Of the value of `key`, which is known from here on.
    pub(super) fn take(&mut self, key: &str) -> Option<&'a Value> {
        let place = self.left.iter().position(|(name, _)| key_of(name) == key)?;
        Some(self.left.remove(place).1)
    }

    /// The first key that was not asked for.
    pub(super) fn take_any(&mut self) -> Option<&'a str> {
        (!self.left.is_empty()).then(|| self.left.remove(0).0)
    }

    /// The value of `key` makes no sense.
    pub(super) fn object(&mut self, key: &str, expected: &'static str) {
        let setting = format!("{}{key}", self.path);
        self.problems.push(Problem::Invalid { setting, expected });
    }

    /// The setting `key`, if it is given and makes sense.
    pub(super) fn read<T: Setting>(&mut self, key: &str) -> Option<T> {
        let read = T::of(self.take(key)?);
        if read.is_none() {
            self.object(key, T::EXPECTED);
        }
        read
    }

    /// The same, where "none" and "unlimited" stand for `limitless`.
    pub(super) fn read_limit<T: Setting>(&mut self, key: &str, limitless: T) -> Option<T> {
        self.read::<Option<T>>(key).map(|limit| limit.unwrap_or(limitless))
    }

    /// A choice among `known`, by name.
    pub(super) fn choose<T: Copy>(
        &mut self,
        key: &str,
        known: &[(&str, T)],
        expected: &'static str,
    ) -> Option<T> {
        let chosen = match self.take(key)? {
            Value::Text(text) => known.iter().find(|(name, _)| key_of(text.trim()) == *name),
            _ => None,
        };
        if chosen.is_none() {
            self.object(key, expected);
        }
        chosen.map(|(_, choice)| *choice)
    }

    /// A table within the table.
    pub(super) fn within<'b>(&'b mut self, key: &str, table: &'b Table) -> Reader<'b> {
        Reader::new(&format!("{}{key}.", self.path), table, self.problems)
    }

    /// What was not asked for is unknown. Said last.
    pub(super) fn end(self) {
        for (key, value) in self.left {
            // A key without a value says nothing.
            if !matches!(value, Value::Nothing) {
                self.problems.push(Problem::Unknown(format!("{}{key}", self.path)));
            }
        }
    }
}
