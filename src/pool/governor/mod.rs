//! Connects of several pools to one server, limited together.
//!
//! `handle` is what users and pools have, `builder` makes and changes it, `keys` knows those that
//! have a name, `shared` is what they share, and `housekeeping` has the line looked at in time. The
//! line itself is in `ground`.

mod builder;
mod handle;
mod housekeeping;
mod keys;
mod shared;

pub use self::builder::ConnectGovernorBuilder;
pub use self::handle::{ConnectGovernor, GovernorStats};
pub(super) use self::housekeeping::hire;
