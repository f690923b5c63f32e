//! How much a server may say before it is ready for the first request: it is not known yet who it
//! is, and the drivers keep what it says.

use super::messages::Message;
use std::io;

/// Bytes in all, and of one message.
const BYTES: usize = 256 * 1024;
/// The drivers need far more room for a message than the shortest has bytes.
const MESSAGES: usize = 4096;

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    bytes: usize,
    messages: usize,
    longest: usize,
}

impl Greeting {
    pub(super) fn heard(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    pub(super) fn received(&mut self, message: Message<'_>) {
        self.messages += 1;
        self.longest = self.longest.max(message.length);
    }

    /// # Errors
    ///
    /// Returns an error if that is more than there can be to say.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.bytes.max(self.longest) <= BYTES && self.messages <= MESSAGES {
            return Ok(());
        }
        let text = "the server has said too much before it was ready";
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}
