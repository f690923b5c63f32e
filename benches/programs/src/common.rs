//! What the repository's own tests have at hand: private servers, which are children of this
//! process, and a small server on loopback, with a path to it that loses, cuts and refuses.

pub use caliburn_testing::proxy::{Mode as PathMode, Proxy};
pub use caliburn_testing::server::{Behaviour, PASSWORD, Server};
pub use caliburn_testing::servers::postgres::Postgres;
pub use caliburn_testing::wire::{AsyncWire, Conn as WireConn, Wire, WireError};
pub use caliburn_testing::{AsyncFake, Conn, Fake, Mode, PLENTY, eventually};
