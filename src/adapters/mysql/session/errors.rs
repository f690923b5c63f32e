//! What the server's error codes mean for a pool.

use crate::ErrorClass;
use std::any::Any;
use std::io;

/// What a connect was refused for.
pub(in crate::adapters::mysql) fn classify(code: u16) -> ErrorClass {
    match code {
        // Who asks, and for what: access denied (to the server, a database, a table, a privilege),
        // no such database, a host that may not connect or is blocked, an account that is locked or
        // must have a new password, one that needs TLS or a plugin that is not there.
        1044 | 1045 | 1049 | 1129 | 1130 | 1142 | 1227 | 1251 | 1524 | 1698 | 1820 | 1862
        | 3118 | 3159 | 3955 | 4151 => ErrorClass::Permanent,
        // What the first statements say: no database chosen, nonsense, names and values that are
        // unknown.
        1046 | 1064 | 1115 | 1193 | 1231 | 1232 | 1238 | 1273 | 1298 => ErrorClass::Permanent,
        _ => ErrorClass::Transient,
    }
}

/// Whether the server closes a connection on which it says this: it shuts down, the session
/// was killed, or it was silent for too long.
pub(in crate::adapters::mysql) fn is_farewell(code: u16) -> bool {
    matches!(code, 1053 | 1927 | 3169 | 4031)
}

/// Whether a server's certificate was refused, which trying again would not change. Which TLS the
/// drivers were built with, and so the type of its errors, is not known here.
pub(in crate::adapters::mysql) fn is_about_a_certificate(message: &str) -> bool {
    message.to_ascii_lowercase().contains("certificate")
}

/// Asked for TLS that was not compiled in, the drivers panic.
pub(in crate::adapters::mysql) fn without_tls(panic: Box<dyn Any + Send>) -> io::Error {
    let message = match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast::<&str>().map_or_else(|_| String::new(), |s| s.to_string()),
    };
    io::Error::new(io::ErrorKind::Unsupported, message)
}
