//! A manager's way to tell a router that its server may have another role than it had.

use crate::RoleDoubt;
use std::sync::{Mutex, PoisonError};

/// The router's handle, if there is a router.
#[derive(Debug, Default)]
pub(super) struct Doubt(Mutex<Option<RoleDoubt>>);

impl Doubt {
    pub(super) fn set(&self, doubt: RoleDoubt) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(doubt);
    }

    /// The server has refused a write.
    pub(super) fn tell(&self) {
        if let Some(doubt) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            doubt.tell();
        }
    }
}
