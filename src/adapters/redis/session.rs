//! What the commands that passed over a connection to Redis have left behind on it.
//!
//! The server keeps this state, and only a round trip could ask for it. But it changes by commands
//! alone, so a connection that sees them all knows it for nothing.

use super::errors::unexpected;
use super::pulse::{Pulse, Question};
use redis::{Arg, Cmd, ErrorKind, Pipeline, RedisResult, ServerErrorKind, Value};

/// `MULTI` without its `EXEC`.
const TRANSACTION: u8 = 1 << 0;
const WATCH: u8 = 1 << 1;
/// `SELECT` of another database.
const DATABASE: u8 = 1 << 2;
/// The borrower has set timeouts of its own.
const TIMEOUTS: u8 = 1 << 3;
/// A command that waits at the server for others to do something.
const WAITING: u8 = 1 << 4;
/// Beyond repair: the connection cannot be lent again.
const UNFIT: u8 = 1 << 5;
/// The session is another one than it was, which cannot be undone.
const CHANGED: u8 = 1 << 6;

/// What the next borrower must be kept from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Session {
    traces: u8,
    is_unanswered: bool,
    /// A server that refuses to write is the wrong one.
    must_write: bool,
    /// A write was refused, and nobody has been told of it.
    was_refused: bool,
    /// Each request may go to another node, which has traces of its own.
    has_many_nodes: bool,
}

impl Session {
    pub(super) fn new(must_write: bool) -> Self {
        Self { must_write, ..Self::default() }
    }

    #[cfg(feature = "redis-cluster")]
    pub(super) fn of_cluster() -> Self {
        Self { has_many_nodes: true, ..Self::default() }
    }

    /// With nothing left behind.
    pub(super) fn renewed(self) -> Self {
        Self { traces: 0, is_unanswered: false, ..self }
    }

    /// A request is about to be sent. Until its answer is there, the worst is assumed of it.
    pub(super) fn ask(&mut self, request: &Request) {
        self.traces = request.at_worst;
        self.is_unanswered = request.commands > 0;
    }

    pub(super) fn answer<T: Answer>(&mut self, request: &Request, answer: &RedisResult<T>) {
        self.is_unanswered = false;
        self.traces = match answer {
            Ok(value) if !value.is_refusal() => request.at_best & !WAITING,
            Ok(_) => request.at_worst & !WAITING,
            // What the driver makes of the server's refusals; all answers have been read.
            Err(error) if matches!(error.kind(), ErrorKind::Server(_)) => {
                request.at_worst & !WAITING
            }
            Err(_) if request.commands == 0 => request.at_worst,
            // It is not known what else will come down the line.
            Err(_) => request.at_worst | UNFIT,
        };
        let refuses_to_write = match answer {
            Ok(value) => value.is_read_only(),
            Err(error) => error.kind() == READ_ONLY,
        };
        self.was_refused |= refuses_to_write;
        if self.must_write && refuses_to_write {
            self.spoil();
        }
    }

    /// Whether a write was refused, because the server is a replica, since this was last asked.
    pub(super) fn take_refusal(&mut self) -> bool {
        std::mem::take(&mut self.was_refused)
    }

    pub(super) fn spoil(&mut self) {
        self.traces |= UNFIT;
    }

    /// What a hook has made of the session of a new connection is meant to be.
    pub(super) fn adopt(&mut self) {
        self.traces &= !CHANGED;
    }

    /// Whether more than settings is left, which a hook may have made for the next loan, and
    /// something can be done about it.
    pub(super) fn is_open(&self) -> bool {
        !self.is_unfit() && (self.is_unanswered || self.has(TRANSACTION | WATCH))
    }

    pub(super) fn set_timeouts(&mut self) {
        self.traces |= TIMEOUTS;
    }

    /// Whether an answer is due for which no borrower waits any more.
    pub(super) fn is_unanswered(&self) -> bool {
        self.is_unanswered
    }

    /// Whether nothing can be done about it. To wait for the answer to a command that waits itself
    /// would be in vain, and worse: what it then takes from a list would be lost.
    pub(super) fn is_unfit(&self) -> bool {
        self.has(UNFIT) || self.has(CHANGED) || self.is_unanswered && self.has(WAITING)
    }

    pub(super) fn is_clean(&self) -> bool {
        !self.is_unanswered && self.traces == 0
    }

    /// What makes the server's side as it was, if anything is needed: one round trip. As answers
    /// come in order, those to earlier requests will have come too; that they do is what the
    /// question at its end is for.
    pub(super) fn repairs(&self, database: i64, pulse: Pulse) -> Option<Repairs> {
        let mut commands = redis::pipe();
        if self.has(TRANSACTION) {
            commands.cmd("DISCARD");
        }
        if self.has(TRANSACTION) || self.has(WATCH) {
            commands.cmd("UNWATCH");
        }
        if self.has(DATABASE) {
            commands.cmd("SELECT").arg(database);
        }
        if commands.is_empty() && !self.is_unanswered {
            return None;
        }
        let question = Question::new();
        question.add_to(&mut commands, pulse);
        let unimportant = usize::from(self.has(TRANSACTION));
        Some(Repairs { commands, unimportant, question, pulse })
    }

    fn has(&self, trace: u8) -> bool {
        self.traces & trace != 0
    }
}

/// See [`Session::repairs`].
pub(super) struct Repairs {
    pub(super) commands: Pipeline,
    /// A `DISCARD` is refused where the transaction had ended after all; if it had not, what
    /// follows is queued rather than done.
    unimportant: usize,
    question: Question,
    pulse: Pulse,
}

impl Repairs {
    /// Whether they worked.
    pub(super) fn judge(&self, answers: &[Value]) -> RedisResult<()> {
        let (last, repairs) = answers.split_last().ok_or_else(unexpected)?;
        for answer in repairs.iter().skip(self.unimportant) {
            match answer {
                Value::Okay => {}
                Value::ServerError(error) => return Err(error.clone().into()),
                _ => return Err(unexpected()),
            }
        }
        self.question.check(last, self.pulse)
    }
}

pub(super) trait Answer {
    /// Whether any command was refused, so that it may have done less than it would have.
    fn is_refusal(&self) -> bool;
    /// Whether any was refused because the server is a replica.
    fn is_read_only(&self) -> bool;
}

const READ_ONLY: ErrorKind = ErrorKind::Server(ServerErrorKind::ReadOnly);

impl Answer for Value {
    fn is_refusal(&self) -> bool {
        matches!(self, Value::ServerError(_))
    }

    fn is_read_only(&self) -> bool {
        let Value::ServerError(error) = self else { return false };
        error.kind() == Some(ServerErrorKind::ReadOnly)
    }
}

impl Answer for Vec<Value> {
    fn is_refusal(&self) -> bool {
        self.iter().any(Value::is_refusal)
    }

    fn is_read_only(&self) -> bool {
        self.iter().any(Value::is_read_only)
    }
}

/// What a request will leave behind, read off its commands before it is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    commands: usize,
    /// If every command does what it says.
    at_best: u8,
    /// If those that leave something do it, and those that tidy up fail.
    at_worst: u8,
    /// What no command of this request can tidy up: it may be on another node.
    elsewhere: u8,
}

impl Request {
    pub(super) fn command(session: Session, command: &Cmd) -> Self {
        let mut request = Self::new(session);
        request.note_command(command);
        request
    }

    #[cfg(feature = "redis-tokio")]
    pub(super) fn pipeline(session: Session, pipeline: &Pipeline, answers: usize) -> Self {
        let mut request = Self::new(session);
        if pipeline.is_transaction() {
            request.note(b"MULTI", None);
        }
        pipeline.cmd_iter().for_each(|command| request.note_command(command));
        if pipeline.is_transaction() {
            request.note(b"EXEC", None);
        }
        request.expecting(answers)
    }

    /// Of commands that each go to the node that serves it.
    #[cfg(feature = "redis-cluster")]
    pub(super) fn scattered<'a>(
        session: Session,
        commands: impl IntoIterator<Item = &'a Cmd>,
    ) -> Self {
        let mut request = Self::new(session);
        for command in commands {
            request.elsewhere = request.at_best;
            request.note_command(command);
        }
        request
    }

    /// `packed` is as it will go over the line.
    pub(super) fn packed(session: Session, packed: &[u8], answers: usize) -> Self {
        let mut request = Self::new(session);
        if request.read(packed).is_none() {
            request.leave(UNFIT);
        }
        request.expecting(answers)
    }

    fn new(session: Session) -> Self {
        let traces = session.traces;
        let elsewhere = if session.has_many_nodes { traces } else { 0 };
        Self { commands: 0, at_best: traces, at_worst: traces, elsewhere }
    }

    /// A request that reads more or fewer answers than it has commands leaves the rest to the next
    /// one.
    fn expecting(mut self, answers: usize) -> Self {
        if self.commands != answers {
            self.leave(UNFIT);
        }
        self
    }

    fn note_command(&mut self, command: &Cmd) {
        let mut words = command.args_iter().map(|word| match word {
            Arg::Simple(word) => word,
            _ => b"",
        });
        if let Some(name) = words.next() {
            self.note(name, words.next());
        }
        if command.is_no_response() {
            self.leave(UNFIT);
        }
    }

    /// Notes each command in a stretch of the protocol, `*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`; stops at
    /// what is none.
    fn read(&mut self, mut rest: &[u8]) -> Option<()> {
        while !rest.is_empty() {
            let words = number(&mut rest, b'*')?;
            let mut first = [None; 2];
            for n in 0..words {
                let length = number(&mut rest, b'$')?;
                let word = rest.get(..length)?;
                rest = rest.get(length..)?.strip_prefix(b"\r\n")?;
                if let Some(place) = first.get_mut(n) {
                    *place = Some(word);
                }
            }
            self.note(first[0]?, first[1]);
        }
        Some(())
    }

    fn note(&mut self, name: &[u8], argument: Option<&[u8]>) {
        self.commands += 1;
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("MULTI") {
            self.leave(TRANSACTION);
        } else if is("WATCH") {
            self.leave(WATCH);
        } else if is("EXEC") || is("DISCARD") {
            // Outside of a transaction they are refused, and what is watched stays so: that is the
            // worst.
            self.at_best &= !(TRANSACTION | WATCH) | self.elsewhere;
        } else if is("UNWATCH") {
            self.at_best &= !WATCH | self.elsewhere;
        } else if is("SELECT") {
            self.leave(DATABASE);
        } else if WAIT.iter().any(|other| is(other)) {
            self.leave(WAITING);
        } else if CHANGE.iter().any(|other| is(other))
            || is("CLIENT") && !argument.is_some_and(only_asks)
            || is("SCRIPT") && argument.is_some_and(|word| word.eq_ignore_ascii_case(b"DEBUG"))
        {
            self.leave(CHANGED);
        }
    }

    fn leave(&mut self, trace: u8) {
        self.at_best |= trace;
        self.at_worst |= trace;
    }
}

/// They may wait for as long as they are told to.
#[rustfmt::skip]
const WAIT: [&str; 12] = [
    "BLMOVE", "BLMPOP", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZMPOP", "BZPOPMAX", "BZPOPMIN", "WAIT",
    "WAITAOF", "XREAD", "XREADGROUP",
];

/// They change who the session is, or when the server speaks on it.
#[rustfmt::skip]
const CHANGE: [&str; 17] = [
    "ASKING", "AUTH", "HELLO", "MONITOR", "PSUBSCRIBE", "PSYNC", "PUNSUBSCRIBE", "QUIT", "READONLY",
    "READWRITE", "REPLCONF", "RESET", "SSUBSCRIBE", "SUBSCRIBE", "SUNSUBSCRIBE", "SYNC",
    "UNSUBSCRIBE",
];

/// Whether `CLIENT` followed by this leaves the session as it is.
fn only_asks(word: &[u8]) -> bool {
    ["GETNAME", "ID", "INFO", "KILL", "LIST"]
        .iter()
        .any(|it| word.eq_ignore_ascii_case(it.as_bytes()))
}

/// Takes `mark`, a number and the end of the line off the front.
fn number(rest: &mut &[u8], mark: u8) -> Option<usize> {
    let line = rest.strip_prefix(&[mark])?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut number = 0_usize;
    for digit in &line[..digits] {
        number = number.checked_mul(10)?.checked_add(usize::from(digit - b'0'))?;
    }
    *rest = line[digits..].strip_prefix(b"\r\n")?;
    (digits > 0).then_some(number)
}
