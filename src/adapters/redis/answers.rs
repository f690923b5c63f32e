//! Answers of a server that may not be one: they are read before it has shown that it is, and so
//! are bounded.

use super::errors::refusal;
use redis::{ErrorKind, RedisError, RedisResult, Value};
use std::io;

/// How much a server may say before a connection is of use, in bytes.
pub(super) const BOUND: usize = 64 * 1024;
/// How deep its answers may be nested.
const DEPTH: usize = 8;

/// What has been heard of so many answers.
#[derive(Debug)]
pub(super) struct Answers {
    unread: Vec<u8>,
    heard: usize,
    expected: usize,
    values: Vec<Value>,
}

impl Answers {
    pub(super) fn expecting(expected: usize) -> Self {
        Self { unread: Vec::new(), heard: 0, expected, values: Vec::new() }
    }

    /// Whether all of them are there.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> RedisResult<bool> {
        self.heard += bytes.len();
        if self.heard > BOUND {
            return Err(malformed("the server sends an answer without end"));
        }
        self.unread.extend_from_slice(bytes);
        let mut read = 0;
        while self.values.len() < self.expected {
            let Some(end) = end_of_value(&self.unread, read, DEPTH)? else { break };
            match redis::parse_redis_value(&self.unread[read..end])? {
                // It answers nothing.
                Value::Push { .. } => {}
                value => self.values.push(value),
            }
            read = end;
        }
        self.unread.drain(..read);
        Ok(self.values.len() == self.expected)
    }

    /// All of them, and none too many.
    pub(super) fn into_values(self) -> RedisResult<Vec<Value>> {
        match self.unread.first() {
            None | Some(b'>') => Ok(self.values),
            Some(_) => Err(malformed("the server sent more answers than it was asked for")),
        }
    }

    /// Why there are no more: what the server said before it hung up says more than that it did.
    pub(super) fn reason(&self, error: impl Into<RedisError>) -> RedisError {
        refusal(&self.values).err().unwrap_or_else(|| error.into())
    }

    pub(super) fn hung_up(&self) -> RedisError {
        self.reason(io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

/// Where the value ends that begins at `at`. `None`: that has not come yet.
fn end_of_value(bytes: &[u8], at: usize, depth: usize) -> RedisResult<Option<usize>> {
    let Some(mark) = bytes.get(at) else { return Ok(None) };
    if !b"+-:_,#($!=*~>%|".contains(mark) {
        return Err(malformed("the server does not speak the protocol of Redis"));
    }
    let Some(length) = bytes[at..].windows(2).position(|pair| pair == b"\r\n") else {
        return Ok(None);
    };
    let (line, end) = (&bytes[at + 1..at + length], at + length + 2);
    let values = match mark {
        b'$' | b'!' | b'=' => {
            let Some(length) = count(line)? else { return Ok(Some(end)) };
            let end = end + length + 2;
            return Ok((end <= bytes.len()).then_some(end));
        }
        b'*' | b'~' | b'>' => count(line)?.unwrap_or(0),
        b'%' => 2 * count(line)?.unwrap_or(0),
        b'|' => 2 * count(line)?.unwrap_or(0) + 1,
        _ => return Ok(Some(end)),
    };
    if values > 0 && depth == 0 {
        return Err(malformed("the server sent an answer nested too deep"));
    }
    let mut end = end;
    for _ in 0..values {
        match end_of_value(bytes, end, depth - 1)? {
            Some(next) => end = next,
            None => return Ok(None),
        }
    }
    Ok(Some(end))
}

/// An announced length, `None` if it stands for nothing at all.
fn count(line: &[u8]) -> RedisResult<Option<usize>> {
    let number = std::str::from_utf8(line).ok().and_then(|line| line.parse::<i64>().ok());
    match number {
        Some(number) if number < 0 => Ok(None),
        Some(number) => match usize::try_from(number) {
            Ok(number) if number <= BOUND => Ok(Some(number)),
            _ => Err(malformed("an answer too long")),
        },
        None => Err(malformed("the server does not speak the protocol of Redis")),
    }
}

fn malformed(what: &'static str) -> RedisError {
    (ErrorKind::Parse, what).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_whole_however_they_are_cut() {
        let text = b"+OK\r\n>2\r\n+message\r\n:1\r\n$4\r\nab\r\n\r\n\
                     *2\r\n:1\r\n*-1\r\n%1\r\n+a\r\n,1.5\r\n-ERR no\r\n";
        for step in [1, 2, 7, text.len()] {
            let mut answers = Answers::expecting(5);
            let mut pieces = text.chunks(step).peekable();
            while let Some(piece) = pieces.next() {
                assert_eq!(answers.hear(piece).unwrap(), pieces.peek().is_none());
            }
            let values = answers.into_values().unwrap();
            assert_eq!(values[0], Value::Okay);
            assert_eq!(values[1], Value::BulkString(b"ab\r\n".to_vec()));
            assert!(refusal(&values).is_err());
        }
    }

    #[test]
    fn what_is_too_much_or_no_answer_is_refused_as_soon_as_it_is_announced() {
        let deep = "*1\r\n".repeat(100);
        let long = format!("+{}", "x".repeat(BOUND));
        let table = [
            "HTTP/1.1 400",
            "$1000000000\r\n",
            "*9223372036854775807\r\n",
            "%99999999999999999999\r\n",
            "$x\r\n",
            &deep,
            &long,
        ];
        for text in table {
            let error = Answers::expecting(1).hear(text.as_bytes()).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Parse, "{error}");
        }
    }

    #[test]
    fn one_answer_too_many_is_told() {
        let mut answers = Answers::expecting(1);
        assert!(answers.hear(b"+OK\r\n+OK\r\n").unwrap());
        assert!(answers.into_values().is_err());
    }
}
