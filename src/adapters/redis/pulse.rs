//! A question to which no other answer fits.

use super::errors::unexpected;
use redis::{Pipeline, RedisResult, Value};
use std::sync::atomic::{AtomicU64, Ordering};

/// How a server answers `PING` with a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// It says the word, as Redis does.
    Echoes,
    /// It says `PONG` whatever it is asked, as some proxies do: an answer that is out of step, but
    /// a `PONG`, cannot be told.
    Pongs,
}

/// One `PING`.
#[derive(Debug)]
pub(super) struct Question {
    word: String,
}

impl Question {
    /// A word that was never used before.
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // O11: a counter.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { word: format!("caliburn {number:x}") }
    }

    pub(super) fn add_to(&self, pipeline: &mut Pipeline, pulse: Pulse) {
        pipeline.cmd("PING");
        if pulse == Pulse::Echoes {
            pipeline.arg(&self.word);
        }
    }

    /// The first answer to `PING` with a word: how does this server answer?
    pub(super) fn learn(&self, answer: &Value) -> RedisResult<Pulse> {
        match answer {
            Value::SimpleString(pong) if pong == "PONG" => Ok(Pulse::Pongs),
            // Very old ones do not take a word.
            Value::ServerError(error)
                if error.details().is_some_and(|it| it.contains("wrong number of arguments")) =>
            {
                Ok(Pulse::Pongs)
            }
            other => self.check(other, Pulse::Echoes).map(|()| Pulse::Echoes),
        }
    }

    /// # Errors
    ///
    /// Returns the server's refusal, or an error that says that this is no answer to the question.
    pub(super) fn check(&self, answer: &Value, pulse: Pulse) -> RedisResult<()> {
        let word = match pulse {
            Pulse::Echoes => &*self.word,
            Pulse::Pongs => "PONG",
        };
        match answer {
            Value::BulkString(said) if said == word.as_bytes() => Ok(()),
            Value::SimpleString(said) if said == word => Ok(()),
            Value::ServerError(error) => Err(error.clone().into()),
            _ => Err(unexpected()),
        }
    }
}
