//! The governors of this process that have a key.

use super::shared::Shared;
use crate::fork::PerProcess;
use crate::sync::{Arc, Mutex, PoisonError, Weak};
use std::collections::HashMap;

static KEYS: PerProcess<Mutex<Keys>> = PerProcess::new();

#[derive(Default)]
struct Keys {
    governors: HashMap<String, Weak<Shared>>,
    /// How many there may be before those that are gone are looked for.
    enough: usize,
}

impl Keys {
    fn find(&self, key: &str) -> Option<Arc<Shared>> {
        self.governors.get(key).and_then(Weak::upgrade)
    }

    /// Forgets those that are gone, each time that there are twice as many as were left.
    fn insert(&mut self, key: String, governor: &Arc<Shared>) {
        if self.governors.len() >= self.enough {
            self.governors.retain(|_, governor| governor.strong_count() > 0);
            self.enough = 2 * self.governors.len().max(8);
        }
        self.governors.insert(key, Arc::downgrade(governor));
    }
}

fn with_keys<T>(with: impl FnOnce(&mut Keys) -> T) -> T {
    with(&mut KEYS.get().lock().unwrap_or_else(PoisonError::into_inner))
}

/// The one that is in use under `key`.
pub(super) fn find(key: &str) -> Option<Arc<Shared>> {
    with_keys(|keys| keys.find(key))
}

/// The same, or else the one that `build` builds, which is in use under `key` from now on.
pub(super) fn find_or_insert(key: String, build: impl FnOnce() -> Arc<Shared>) -> Arc<Shared> {
    with_keys(|keys| {
        keys.find(&key).unwrap_or_else(|| {
            let new = build();
            keys.insert(key, &new);
            new
        })
    })
}
