//! The adapters for Redis and MySQL over TLS.

extern crate caliburn_testing as common;

mod front;
mod hostile;
mod redis;
