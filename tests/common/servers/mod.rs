//! Real servers from Debian's packages, private to a test: on a free port, in a directory of their
//! own, and gone with it.

pub mod mariadb;
pub mod pgbouncer;
pub mod postgres;
pub mod process;
pub mod redis;
