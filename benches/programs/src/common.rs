//! What the repository's own tests have at hand: private servers, which are children of this
//! process, and a small server on loopback, with a path to it that loses, cuts and refuses.

#[path = "../../../tests/common/fake.rs"]
mod fake;
#[path = "../../../tests/common/servers/postgres.rs"]
pub mod postgres;
#[path = "../../../tests/common/servers/process.rs"]
pub mod process;
#[path = "../../../tests/common/proxy.rs"]
pub mod proxy;
#[path = "../../../tests/common/server.rs"]
pub mod server;
#[path = "../../../tests/common/wire.rs"]
pub mod wire;

pub use fake::*;
