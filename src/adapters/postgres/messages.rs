//! Finds PostgreSQL's messages in a stream of bytes: looks at the beginning of each and jumps over
//! the rest. (<https://www.postgresql.org/docs/current/protocol-message-formats.html>)

/// Finds the messages in a stream of bytes that comes in pieces.
#[derive(Debug)]
pub(super) struct Messages {
    /// How much of a message's body is of interest, by its tag.
    wanted: fn(u8) -> usize,
    /// Tag and length.
    head: [u8; HEAD],
    have: usize,
    /// The beginning of the body.
    body: Vec<u8>,
    to_skip: usize,
}

/// What is known of a message once its beginning has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) tag: u8,
    /// Of the whole body.
    pub(super) length: usize,
    /// As much of the body as is wanted and there, a byte at least unless there is none.
    pub(super) body: &'a [u8],
}

const HEAD: usize = 5;

impl Messages {
    pub(super) fn new(wanted: fn(u8) -> usize) -> Self {
        Self { wanted, head: [0; HEAD], have: 0, body: Vec::new(), to_skip: 0 }
    }

    /// The first message of a client has no tag; it may pass for one with the tag 0.
    pub(super) fn after_an_untagged_one(wanted: fn(u8) -> usize) -> Self {
        Self { have: 1, ..Self::new(wanted) }
    }

    pub(super) fn look_at(&mut self, mut bytes: &[u8], mut found: impl FnMut(Message<'_>)) {
        loop {
            let skipped = self.to_skip.min(bytes.len());
            self.to_skip -= skipped;
            bytes = &bytes[skipped..];
            if self.have < HEAD {
                let (head, rest) = bytes.split_at(bytes.len().min(HEAD - self.have));
                self.head[self.have..][..head.len()].copy_from_slice(head);
                self.have += head.len();
                bytes = rest;
                if self.have < HEAD {
                    return;
                }
            }
            let [tag, ..] = self.head;
            let length = self.length();
            let wanted = length.min((self.wanted)(tag).max(1));
            let (body, rest) = bytes.split_at(bytes.len().min(wanted - self.body.len()));
            self.body.extend_from_slice(body);
            bytes = rest;
            if self.body.len() < wanted {
                return;
            }
            found(Message { tag, length, body: &self.body });
            self.to_skip = length - wanted;
            self.have = 0;
            self.body.clear();
        }
    }

    /// Whether the last message that was begun has come to its end.
    pub(super) fn is_between_two(&self) -> bool {
        self.have == 0 && self.to_skip == 0
    }

    /// Of the body. The number on the wire counts itself.
    fn length(&self) -> usize {
        let [_, length @ ..] = self.head;
        (u32::from_be_bytes(length) as usize).saturating_sub(size_of::<u32>())
    }
}

/// The string that ends with a zero, and what comes after it.
pub(super) fn text_of(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = body.iter().position(|byte| *byte == 0)?;
    Some((&body[..end], &body[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag], length.to_be_bytes().as_slice(), body].concat()
    }

    fn found_in(messages: &mut Messages, pieces: &[&[u8]]) -> Vec<(u8, u8)> {
        let mut found = Vec::new();
        for piece in pieces {
            messages.look_at(piece, |message| {
                found.push((message.tag, message.body.first().copied().unwrap_or_default()));
            });
        }
        found
    }

    proptest! {
        #[test]
        fn messages_are_found_however_the_stream_is_cut(
            messages in prop::collection::vec(
                (any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)),
                0..20,
            ),
            cuts in prop::collection::vec(1_usize..12, 1..200),
        ) {
            let stream: Vec<u8> =
                messages.iter().flat_map(|(tag, body)| message(*tag, body)).collect();
            let mut pieces = Vec::new();
            let mut rest = stream.as_slice();
            for cut in cuts {
                let (piece, later) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = later;
            }
            pieces.push(rest);
            let expected: Vec<_> = messages
                .iter()
                .map(|(tag, body)| (*tag, body.first().copied().unwrap_or_default()))
                .collect();
            prop_assert_eq!(found_in(&mut Messages::new(|_| 3), &pieces), expected);
        }
    }

    #[test]
    fn the_first_message_of_a_client_has_no_tag() {
        let startup = [0, 0, 0, 9, 0, 3, 0, 0, 0];
        let found = found_in(
            &mut Messages::after_an_untagged_one(|_| 0),
            &[&startup, &message(b'Q', b"BEGIN\0"), &message(b'S', b"")],
        );
        assert_eq!(found, [(0, 0), (b'Q', b'B'), (b'S', 0)]);
    }

    #[test]
    fn a_length_that_cannot_be_does_no_harm() {
        let found =
            found_in(&mut Messages::new(|_| 3), &[&[b'Z', 0, 0, 0, 0, b'Z', 0, 0, 0, 5, b'I']]);
        assert_eq!(found, [(b'Z', 0), (b'Z', b'I')]);
    }
}
