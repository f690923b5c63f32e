//! Questions and answers of a thread that waits for them, within a limit that holds whether the
//! server is silent, trickles or floods.

#[cfg(unix)]
use super::answers::Answers;
use super::errors::{out_of_time, refusal};
use super::link::Link;
use redis::{Connection, Pipeline, RedisResult, Value};
use std::time::{Duration, Instant};

/// What is left; sockets know no limit of nothing.
pub(super) fn left(limit: Instant) -> RedisResult<Duration> {
    let left = limit.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(out_of_time()) } else { Ok(left) }
}

/// Has the driver send all commands at once and read an answer for each.
pub(super) fn converse(
    driver: &mut Connection,
    link: &Link,
    commands: &Pipeline,
    limit: Instant,
) -> RedisResult<Vec<Value>> {
    left(limit)?;
    let bound = link.limit(Some(limit));
    let answers = ask(driver, commands, limit, bound.is_enforced());
    if bound.end() { answers } else { Err(out_of_time()) }
}

fn ask(
    driver: &mut Connection,
    commands: &Pipeline,
    limit: Instant,
    is_enforced: bool,
) -> RedisResult<Vec<Value>> {
    if !is_enforced {
        driver.set_write_timeout(Some(left(limit)?))?;
    }
    driver.send_packed_command(&commands.get_packed_pipeline())?;
    let mut answers = Vec::new();
    while answers.len() < commands.len() {
        let left = left(limit)?;
        if !is_enforced {
            driver.set_read_timeout(Some(left))?;
        }
        match driver.recv_response() {
            Ok(Value::Push { .. }) => {}
            Ok(answer) => answers.push(answer),
            // Why the server hung up says more than that it did.
            Err(error) => return refusal(&answers).and(Err(error)),
        }
    }
    Ok(answers)
}

/// The same without the driver, before it has read anything: no more is read than a stated bound.
/// What the server has said is read even if it takes no questions any more.
#[cfg(unix)]
pub(super) fn exchange(
    link: &Link,
    commands: &Pipeline,
    limit: Instant,
) -> Option<RedisResult<Vec<Value>>> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    use rustix::net::{RecvFlags, SendFlags, recv, send};

    let socket = link.socket()?;
    let exchange = || {
        let packed = commands.get_packed_pipeline();
        let mut unsent = &packed[..];
        let mut answers = Answers::expecting(commands.len());
        let mut bytes = [0_u8; 4096];
        loop {
            let left = Timespec::try_from(left(limit)?).ok();
            let sends = if unsent.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            let mut polled = [PollFd::new(socket, PollFlags::IN | sends)];
            match poll(&mut polled, left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(answers.reason(std::io::Error::from(error))),
            }
            if !unsent.is_empty() {
                match send(socket, unsent, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                    Ok(sent) => unsent = &unsent[sent..],
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(_) => unsent = &[],
                }
            }
            match recv(socket, &mut bytes[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(answers.hung_up()),
                Ok((length, _)) => {
                    if answers.hear(&bytes[..length])? {
                        return answers.into_values();
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(answers.reason(std::io::Error::from(error))),
            }
        }
    };
    Some(exchange())
}

#[cfg(not(unix))]
pub(super) fn exchange(_: &Link, _: &Pipeline, _: Instant) -> Option<RedisResult<Vec<Value>>> {
    None
}
