//! The prepared statements that a session has names for, as far as the two sides' words tell.

use super::messages::{Message, text_of};
use crate::adapters::Reset;
use std::collections::BTreeSet;

/// How many statements a session may keep that were prepared and neither executed nor closed. A
/// request to prepare one that is dropped before its answer leaves one behind.
const STRAYS: usize = 64;
/// Where the server says so, a cached plan no longer fits the tables.
const NO_LONGER_FITS: &[u8] = b"RevalidateCachedQuery";

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Named {
    /// The numbers in the drivers' names of those that were prepared and not executed yet.
    unused: BTreeSet<u64>,
    /// Raised when statements may have gone, or may no longer fit.
    epoch: u64,
    /// Some were named in SQL.
    has_sql_names: bool,
    /// One is gone that the driver does not prepare again.
    are_spoilt: bool,
}

/// How much of a client's message is of interest.
pub(super) fn wanted_of_sent(tag: u8) -> usize {
    // `Parse`, `Bind` and `Close`.
    if matches!(tag, b'P' | b'B' | b'C') { 32 } else { 0 }
}

/// And of a server's.
pub(super) fn wanted_of_received(tag: u8) -> usize {
    match tag {
        b'C' => b"DEALLOCATE ALL\0".len() + 1,
        b'E' => 512,
        _ => 0,
    }
}

impl Named {
    /// `Parse`, `Bind` or `Close`.
    pub(super) fn sent(&mut self, message: Message<'_>) {
        let named = match message.tag {
            // The name of a portal, and that of its statement.
            b'B' => text_of(message.body).and_then(|(_, rest)| text_of(rest)),
            b'C' => message.body.strip_prefix(b"S").and_then(text_of),
            _ => text_of(message.body),
        };
        let Some(number) = named.and_then(|(name, _)| number_of(name)) else { return };
        if message.tag == b'P' {
            self.unused.insert(number);
        } else {
            self.unused.remove(&number);
        }
    }

    /// That a command is done, or has failed.
    pub(super) fn received(&mut self, message: Message<'_>) {
        match (message.tag, message.body) {
            (b'C', b"DISCARD ALL\0" | b"DEALLOCATE ALL\0") => {
                self.unused.clear();
                self.epoch += 1;
            }
            (b'C', b"DEALLOCATE\0") => self.epoch += 1,
            (b'C', b"PREPARE\0") => self.has_sql_names = true,
            (b'E', fields) if is_about_a_statement(fields) => self.epoch += 1,
            _ => {}
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn spoil(&mut self) {
        self.are_spoilt = true;
    }

    pub(super) fn are_spoilt(&self) -> bool {
        self.are_spoilt
    }

    /// More than may be left where they are.
    pub(super) fn are_too_many(&self) -> bool {
        self.unused.len() > STRAYS
    }

    /// Whether there are some that should not be there.
    pub(super) fn are_due(&self, reset: Reset) -> bool {
        self.are_too_many() || self.has_sql_names && reset == Reset::Session
    }

    pub(super) fn unused(&self) -> BTreeSet<u64> {
        self.unused.clone()
    }

    /// Those that should not be there are closed.
    pub(super) fn are_tidied(&mut self) {
        self.unused.clear();
        self.has_sql_names = false;
    }
}

/// In a name that the drivers have given.
pub(super) fn number_of(name: &[u8]) -> Option<u64> {
    std::str::from_utf8(name.strip_prefix(b"s")?).ok()?.parse().ok()
}

/// There is no statement of that name, or its plan no longer fits.
fn is_about_a_statement(mut fields: &[u8]) -> bool {
    let (mut is_unsupported, mut is_of_a_plan) = (false, false);
    while let Some((text, rest)) = text_of(fields) {
        match text.split_first() {
            Some((b'C', b"26000")) => return true,
            Some((b'C', code)) => is_unsupported = code == b"0A000",
            Some((b'R', routine)) => is_of_a_plan = routine == NO_LONGER_FITS,
            _ => {}
        }
        fields = rest;
    }
    is_unsupported && is_of_a_plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Message<'_> {
        Message { tag, length: body.len(), body }
    }

    #[test]
    fn a_statement_is_a_stray_until_it_is_executed_or_closed() {
        let mut named = Named::default();
        for n in 0..STRAYS + 3 {
            named.sent(message(b'P', format!("s{n}\0SELECT 1\0").as_bytes()));
        }
        // Without a name, and with one of another kind.
        named.sent(message(b'P', b"\0SELECT 1\0"));
        named.sent(message(b'P', b"mine\0SELECT 1\0"));
        assert!(named.are_too_many());
        named.sent(message(b'B', b"\0s0\0"));
        named.sent(message(b'C', b"Ss1\0"));
        named.sent(message(b'C', b"Ps2\0"));
        assert!(named.are_too_many());
        named.sent(message(b'B', b"portal\0s2\0"));
        assert!(!named.are_too_many());
        assert_eq!(named.unused().len(), STRAYS);
        named.received(message(b'C', b"DISCARD ALL\0"));
        assert!(named.unused().is_empty());
    }

    #[test]
    fn what_may_have_gone_begins_a_new_epoch() {
        for (tag, body, is_new) in [
            (b'C', b"DISCARD ALL\0".as_slice(), true),
            (b'C', b"DEALLOCATE ALL\0", true),
            (b'C', b"DEALLOCATE\0", true),
            (b'C', b"DISCARD TEMP\0", false),
            (b'C', b"DELETE 1\0", false),
            (b'E', b"SERROR\0C26000\0Mx\0\0", true),
            (b'E', b"SERROR\0C0A000\0Mx\0RRevalidateCachedQuery\0\0", true),
            (b'E', b"SERROR\0C0A000\0Mx\0RSomethingElse\0\0", false),
            (b'E', b"SERROR\0C42601\0Mx\0RRevalidateCachedQuery\0\0", false),
            (b'E', b"", false),
        ] {
            let mut named = Named::default();
            named.received(message(tag, body));
            assert_eq!(named.epoch() > 0, is_new, "{}", String::from_utf8_lossy(body));
        }
    }
}
