//! The adapters for Redis and MySQL over TLS.

#[path = "../../../common/mod.rs"]
mod common;

mod front;
mod hostile;
mod redis;
