//! Which part a server plays among those that hold the same data.

use super::errors::unexpected;
use crate::RoleReport;
use redis::{Pipeline, RedisResult, Value};

/// Asks for it.
pub(super) fn question() -> Pipeline {
    let mut commands = redis::pipe();
    commands.cmd("ROLE");
    commands
}

/// What the answer says. A server that does not know the command, or does not let this user ask,
/// says nothing.
///
/// # Errors
///
/// Returns an error if this is no answer to the question.
pub(super) fn read(answers: &[Value]) -> RedisResult<RoleReport> {
    let role = match answers.first() {
        Some(Value::Array(parts)) => parts.first(),
        Some(Value::ServerError(_)) => return Ok(RoleReport::default()),
        _ => None,
    };
    match role {
        Some(Value::BulkString(role)) if role == b"master" => Ok(RoleReport::primary(None)),
        Some(Value::BulkString(role)) if role == b"slave" => Ok(RoleReport::replica(None)),
        _ => Err(unexpected()),
    }
}
