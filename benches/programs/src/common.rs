//! What the repository's own tests have at hand: private servers, which are children of this
//! process, and a small server on loopback, with a path to it that loses, cuts and refuses.

pub use caliburn_testing::servers::{postgres, process};
pub use caliburn_testing::{proxy, server, wire, *};
