//! The adapters, with the drivers themselves: against fake servers, and, where a test is ignored
//! otherwise, against real ones that it starts, kills and freezes.

extern crate caliburn_testing as common;

mod bridges;
mod guide;
mod hooks;
mod mysql;
mod postgres;
mod redis;
mod runtimes;
mod server;
mod sqlite;
