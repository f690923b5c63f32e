//! The classes into which borrowers are divided: their names and weights, by number.

use crate::error::Problem;

/// The class of those that say nothing.
pub(crate) const ORDINARY: u8 = 0;

/// How it is called.
const ORDINARY_NAME: &str = "ordinary";

/// At most so many classes, as a round of the dispatcher looks at all.
const MOST: usize = 64;

/// The greatest weight: the strides of the line are precise enough for it.
const HEAVIEST: u32 = 1_000;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Classes {
    names: Vec<String>,
    weights: Vec<u32>,
}

impl Default for Classes {
    fn default() -> Self {
        Self { names: vec![ORDINARY_NAME.to_owned()], weights: vec![1] }
    }
}

impl Classes {
    /// Adds a class, or changes the weight of one that is there.
    pub(crate) fn set(&mut self, name: String, weight: u32) {
        match self.names.iter().position(|known| *known == name) {
            Some(at) => self.weights[at] = weight,
            None => {
                self.names.push(name);
                self.weights.push(weight);
            }
        }
    }

    pub(crate) fn check(&self, problems: &mut Vec<Problem>) {
        let classes = self.names.len();
        if classes > MOST {
            let (setting, bound) = ("the number of classes", "the most");
            problems.push(Problem::Above { setting, value: classes, bound, limit: MOST });
        }
        for (name, _) in self.iter().filter(|(_, weight)| !(1..=HEAVIEST).contains(weight)) {
            let setting = format!("the weight of class {name:?}");
            let expected = "from 1 to 1000";
            problems.push(Problem::Invalid { setting, expected });
        }
    }

    /// Whether borrowers are divided at all.
    pub(crate) fn are_several(&self) -> bool {
        self.names.len() > 1
    }

    pub(crate) fn weights(&self) -> &[u32] {
        &self.weights
    }

    pub(crate) fn number_of(&self, name: &str) -> Option<u8> {
        self.names.iter().position(|known| known == name).map(|at| at as u8)
    }

    /// Name and weight of each, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.names.iter().map(String::as_str).zip(self.weights.iter().copied())
    }
}
