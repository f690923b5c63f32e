//! Finds PostgreSQL's messages in a stream of bytes: looks at the head of each and jumps over the
//! rest. (<https://www.postgresql.org/docs/current/protocol-message-formats.html>)

/// Finds the messages in a stream of bytes that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Tag, length, and the first byte of the body.
    head: [u8; 6],
    have: usize,
    to_skip: usize,
}

/// Tag and length.
const HEAD: usize = 5;

impl Messages {
    /// The first message of a client has no tag; it may pass for one with the tag 0.
    pub(super) fn after_an_untagged_one() -> Self {
        Self { have: 1, ..Self::default() }
    }

    /// `found` is told the tag of each, and the first byte of its body (0 if it has none).
    pub(super) fn look_at(&mut self, mut bytes: &[u8], mut found: impl FnMut(u8, u8)) {
        loop {
            let skipped = self.to_skip.min(bytes.len());
            self.to_skip -= skipped;
            bytes = &bytes[skipped..];
            let Some((&byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.head[self.have] = byte;
            self.have += 1;
            let is_short = self.have >= HEAD && self.length() == 0;
            if is_short || self.have > HEAD {
                let first = if is_short { 0 } else { self.head[HEAD] };
                found(self.head[0], first);
                self.to_skip = self.length().saturating_sub(1);
                self.have = 0;
            }
        }
    }

    /// Of the body. The number on the wire counts itself.
    fn length(&self) -> usize {
        let [_, length @ .., _] = self.head;
        (u32::from_be_bytes(length) as usize).saturating_sub(size_of::<u32>())
    }
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
            messages.look_at(piece, |tag, first| found.push((tag, first)));
        }
        found
    }

    proptest! {
        #[test]
        fn messages_are_found_however_the_stream_is_cut(
            messages in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)), 0..20),
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
            prop_assert_eq!(found_in(&mut Messages::default(), &pieces), expected);
        }
    }

    #[test]
    fn the_first_message_of_a_client_has_no_tag() {
        let startup = [0, 0, 0, 9, 0, 3, 0, 0, 0];
        let found = found_in(
            &mut Messages::after_an_untagged_one(),
            &[&startup, &message(b'Q', b"BEGIN\0"), &message(b'S', b"")],
        );
        assert_eq!(found, [(0, 0), (b'Q', b'B'), (b'S', 0)]);
    }

    #[test]
    fn a_length_that_cannot_be_does_no_harm() {
        let found =
            found_in(&mut Messages::default(), &[&[b'Z', 0, 0, 0, 0, b'Z', 0, 0, 0, 5, b'I']]);
        assert_eq!(found, [(b'Z', 0), (b'Z', b'I')]);
    }
}
