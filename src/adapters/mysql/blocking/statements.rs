//! What executing a prepared statement does.

use crate::adapters::mysql::session::statement::Effect;
use std::collections::HashMap;

/// So many are told apart.
const MOST: usize = 4096;

/// The statements of a session that were seen when they were prepared.
#[derive(Debug, Default)]
pub(super) struct Statements(HashMap<u32, Effect>);

impl Statements {
    pub(super) fn note(&mut self, statement: u32, effect: Effect) {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(statement, effect);
    }

    pub(super) fn forget(&mut self, statement: u32) {
        self.0.remove(&statement);
    }

    pub(super) fn effect_of(&self, statement: u32) -> Effect {
        self.0.get(&statement).copied().unwrap_or(Effect::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_was_prepared_out_of_sight_may_do_anything() {
        let mut statements = Statements::default();
        statements.note(1, Effect::Keeps);
        assert_eq!(statements.effect_of(1), Effect::Keeps);
        assert_eq!(statements.effect_of(2), Effect::Unknown);
        statements.forget(1);
        assert_eq!(statements.effect_of(1), Effect::Unknown);
    }
}
