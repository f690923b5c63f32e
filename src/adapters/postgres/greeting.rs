//! How much a server may say before it is ready for the first request: it is not known yet who it
//! is, and the drivers keep what it says.

use super::errors::is_permanent;
use super::messages::{Message, text_of};
use std::io;
use tokio_postgres::error::SqlState;

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
    /// An error that trying again will not change.
    is_refusal: bool,
}

impl Greeting {
    pub(super) fn heard(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    pub(super) fn received(&mut self, message: Message<'_>) {
        self.messages += 1;
        self.longest = self.longest.max(message.length);
        self.is_refusal |= message.tag == b'E' && is_final(message.body);
    }

    /// Whether the server would not let us in, and will not.
    #[cfg(feature = "postgres")]
    pub(super) fn is_refusal(&self) -> bool {
        self.is_refusal
    }

    /// # Errors
    ///
    /// Returns an error if that is more than there can be to say.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.bytes.max(self.longest) <= BYTES && self.messages <= MESSAGES {
            return Ok(());
        }
        let text = "the server sent too much before it was ready";
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

/// Whether trying again would not change what this error says.
fn is_final(mut fields: &[u8]) -> bool {
    let (mut code, mut message) = (&b""[..], &b""[..]);
    while let Some((text, rest)) = text_of(fields) {
        match text.split_first() {
            Some((b'C', found)) => code = found,
            Some((b'M', found)) => message = found,
            _ => {}
        }
        fields = rest;
    }
    let code = SqlState::from_code(&String::from_utf8_lossy(code));
    is_permanent(&code, &String::from_utf8_lossy(message))
}
