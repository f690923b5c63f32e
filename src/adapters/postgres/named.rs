//! The prepared statements that a session has names for, as far as the two sides' words tell.

use super::messages::{Message, text_of};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many statements without an owner a session may keep. A request to prepare that is dropped
/// before its answer leaves one behind.
const STRAYS: usize = 64;
/// How many unused statements, whose owner may still execute them, a session may keep. An answer
/// that arrives in the moment in which a future is dropped makes one without an owner, which looks
/// the same.
const UNUSED: usize = 1024;
/// Where the server says so, a cached plan no longer fits the tables.
const NO_LONGER_FITS: &[u8] = b"RevalidateCachedQuery";

/// See the [module](self). Requests are numbered as the tap counts them.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Statements, by the number in the driver's name for them, that were prepared and neither
    /// executed nor closed yet, with the request that prepares them.
    unused: BTreeMap<u64, u64>,
    /// Of these, the ones without an owner.
    strays: BTreeSet<u64>,
    /// What the requests that are not answered yet execute: requests and numbers.
    executed: VecDeque<(u64, u64)>,
    /// Those that could not be executed.
    failed: BTreeMap<u64, Failure>,
    /// Raised when statements may have gone, or may no longer fit.
    epoch: u64,
    /// One is gone that the driver does not prepare again.
    are_spoilt: bool,
}

/// Why a statement could not be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// The server has none of that name.
    Gone,
    /// Its plan no longer fits.
    Stale,
    /// What it names may have been made anew: a type, a function.
    Unfit,
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
    /// `Parse`, `Bind` or `Close`, as part of this request.
    pub(super) fn sent(&mut self, message: Message<'_>, request: u64) {
        let named = match message.tag {
            // The name of a portal, and that of its statement.
            b'B' => text_of(message.body).and_then(|(_, rest)| text_of(rest)),
            b'C' => message.body.strip_prefix(b"S").and_then(text_of),
            _ => text_of(message.body),
        };
        let Some(number) = named.and_then(|(name, _)| number_of(name)) else { return };
        if message.tag == b'P' {
            self.unused.insert(number, request);
            return;
        }
        self.unused.remove(&number);
        self.strays.remove(&number);
        match message.tag {
            b'B' => self.executed.push_back((request, number)),
            _ => drop(self.failed.remove(&number)),
        }
    }

    /// That a command of this request is done, or has failed.
    pub(super) fn received(&mut self, message: Message<'_>, request: u64) {
        match (message.tag, message.body) {
            (b'C', b"DISCARD ALL\0" | b"DEALLOCATE ALL\0") => {
                self.unused.clear();
                self.strays.clear();
                self.epoch += 1;
            }
            (b'C', b"DEALLOCATE\0") => self.epoch += 1,
            (b'E', fields) => self.fail(fields, request),
            _ => {}
        }
    }

    fn fail(&mut self, fields: &[u8], request: u64) {
        let Some(failure) = Failure::told_by(fields) else { return };
        let executed = self.executed.iter().find(|(of, _)| *of == request);
        if let Some((_, number)) = executed {
            self.failed.insert(*number, failure);
        }
        // Where one is gone or stale, others most often are.
        if failure == Failure::Stale || failure == Failure::Gone && executed.is_some() {
            self.epoch += 1;
        }
    }

    /// All requests up to this one are.
    pub(super) fn are_answered(&mut self, request: u64) {
        while self.executed.front().is_some_and(|(of, _)| *of <= request) {
            self.executed.pop_front();
        }
    }

    /// What counted as the request after this one is no request.
    pub(super) fn one_less_after(&mut self, request: u64) {
        let numbers = self.unused.values_mut().chain(self.executed.iter_mut().map(|(of, _)| of));
        numbers.filter(|of| **of > request).for_each(|of| *of -= 1);
    }

    /// Further answers were dropped; the one to `request` was the last to be awaited. Statements
    /// prepared after it have no owner.
    pub(super) fn abandon_after(&mut self, request: u64) {
        let abandoned = self.unused.iter().filter(|(_, of)| **of > request);
        self.strays.extend(abandoned.map(|(number, _)| *number));
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn spoil(&mut self) {
        self.are_spoilt = true;
    }

    /// The session should be replaced: a statement is gone whose owner still has it, or there are
    /// too many unused ones beside the cached ones.
    pub(super) fn are_spoilt(&self, most_kept: usize) -> bool {
        self.are_spoilt || self.unused.len() - self.strays.len() > UNUSED + most_kept
    }

    /// Whether this one could not be executed.
    pub(super) fn has_failed(&self, number: u64) -> bool {
        self.failed.contains_key(&number)
    }

    /// It is of no interest any more.
    pub(super) fn let_go(&mut self, number: u64) {
        self.failed.remove(&number);
    }

    /// Statements that are gone and whose owner still has them.
    pub(super) fn gone(&self) -> Vec<u64> {
        let gone = self.failed.iter().filter(|(_, failure)| **failure == Failure::Gone);
        gone.map(|(number, _)| *number).collect()
    }

    /// More than may be left where they are.
    pub(super) fn are_too_many(&self) -> bool {
        self.strays.len() > STRAYS
    }

    pub(super) fn strays(&self) -> BTreeSet<u64> {
        self.strays.clone()
    }

    /// Those that should not be there are closed.
    pub(super) fn are_tidied(&mut self) {
        for stray in std::mem::take(&mut self.strays) {
            self.unused.remove(&stray);
        }
    }
}

/// In a name that the drivers have given.
pub(super) fn number_of(name: &[u8]) -> Option<u64> {
    std::str::from_utf8(name.strip_prefix(b"s")?).ok()?.parse().ok()
}

impl Failure {
    fn told_by(mut fields: &[u8]) -> Option<Self> {
        let (mut code, mut is_of_a_plan, mut is_within) = (None, false, false);
        while let Some((text, rest)) = text_of(fields) {
            match text.split_first() {
                Some((b'C', found)) => code = Some(found),
                Some((b'R', routine)) => is_of_a_plan = routine == NO_LONGER_FITS,
                // Of a function's own statement, or a block's.
                Some((b'W', _)) => is_within = true,
                _ => {}
            }
            fields = rest;
        }
        match code? {
            b"26000" if !is_within => Some(Self::Gone),
            b"0A000" if is_of_a_plan => Some(Self::Stale),
            b"XX000" => Some(Self::Unfit),
            code if code.starts_with(b"42") => Some(Self::Unfit),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Message<'_> {
        Message { tag, length: body.len(), body }
    }

    #[test]
    fn a_statement_is_a_stray_if_its_answer_was_not_waited_for() {
        let mut named = Named::default();
        let most = STRAYS as u64 + 3;
        // Two that have owners by then.
        for n in 1000..1002 {
            named.sent(message(b'P', format!("s{n}\0SELECT 1\0").as_bytes()), 1);
        }
        for n in 0..most {
            named.sent(message(b'P', format!("s{n}\0SELECT 1\0").as_bytes()), 2 + n);
        }
        // Without a name, and with one of another kind.
        named.sent(message(b'P', b"\0SELECT 1\0"), 2 + most);
        named.sent(message(b'P', b"mine\0SELECT 1\0"), 2 + most);
        named.abandon_after(1);
        assert_eq!(named.strays(), (0..most).collect());
        named.sent(message(b'B', b"\0s0\0"), 3 + most);
        named.sent(message(b'C', b"Ss1\0"), 3 + most);
        named.sent(message(b'C', b"Ps2\0"), 3 + most);
        assert!(named.are_too_many());
        named.sent(message(b'B', b"portal\0s2\0"), 3 + most);
        assert!(!named.are_too_many());
        assert_eq!(named.strays().len(), STRAYS);
        named.received(message(b'C', b"DISCARD ALL\0"), 4 + most);
        assert!(named.strays().is_empty());
    }

    #[test]
    fn more_statements_than_can_have_owners_spoil_a_session() {
        let mut named = Named::default();
        let prepare = |n| format!("s{n}\0SELECT 1\0");
        for n in 0..UNUSED as u64 {
            named.sent(message(b'P', prepare(n).as_bytes()), 1);
        }
        named.sent(message(b'P', b"s9999\0SELECT 1\0"), 2);
        named.abandon_after(1);
        assert!(!named.are_spoilt(0), "strays are closed instead");
        named.sent(message(b'P', b"s10000\0SELECT 1\0"), 3);
        named.abandon_after(3);
        assert!(named.are_spoilt(0));
        assert!(!named.are_spoilt(1));
        named.sent(message(b'B', b"\0s7\0"), 4);
        assert!(!named.are_spoilt(0), "one that was executed has an owner");
    }

    #[test]
    fn a_request_that_turns_out_to_be_none_is_not_counted() {
        let mut named = Named::default();
        named.sent(message(b'P', b"s7\0SELECT 1\0"), 3);
        named.one_less_after(1);
        named.abandon_after(2);
        assert!(named.strays().is_empty());
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
            (b'E', b"SERROR\0C26000\0Mx\0WPL/pgSQL function f()\0\0", false),
            (b'E', b"SERROR\0C0A000\0Mx\0RRevalidateCachedQuery\0\0", true),
            (b'E', b"SERROR\0C0A000\0Mx\0RSomethingElse\0\0", false),
            (b'E', b"SERROR\0C42601\0Mx\0RRevalidateCachedQuery\0\0", false),
            (b'E', b"", false),
        ] {
            let mut named = Named::default();
            named.sent(message(b'B', b"\0s7\0"), 1);
            named.received(message(tag, body), 1);
            assert_eq!(named.epoch() > 0, is_new, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn the_statement_that_has_failed_is_the_one_of_the_request() {
        let mut named = Named::default();
        for (n, code) in [(1, "26000"), (2, "42883"), (3, "22012"), (4, "XX000")] {
            named.sent(message(b'B', format!("\0s{n}\0").as_bytes()), n);
            let error = format!("SERROR\0C{code}\0Mx\0\0");
            named.received(message(b'E', error.as_bytes()), n);
            named.are_answered(n);
        }
        assert_eq!([1, 2, 3, 4].map(|n| named.has_failed(n)), [true, true, false, true]);
        assert_eq!(named.gone(), [1]);
        named.sent(message(b'C', b"Ss1\0"), 5);
        assert!(named.gone().is_empty());
    }
}
