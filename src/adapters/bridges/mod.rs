//! Bridges to managers written for other pools, which they take unchanged.
//!
//! | feature | written for | manager | its driver is |
//! |---|---|---|---|
//! | `r2d2` | [r2d2](https://docs.rs/r2d2) | [`R2d2Manager`] | blocking |
//! | `bb8` | [bb8](https://docs.rs/bb8) | [`Bb8Manager`] | asynchronous |
//! | `deadpool` | [deadpool](https://docs.rs/deadpool) | [`DeadpoolManager`] | asynchronous |
//!
//! Threads and tasks can borrow from a pool of either kind.
//!
//! See also the [page on migrating from another pool](crate::guide::migrating).

#[cfg(feature = "bb8")]
mod bb8;
#[cfg(any(feature = "bb8", feature = "deadpool"))]
mod bridged;
#[cfg(feature = "deadpool")]
mod deadpool;
#[cfg(any(feature = "bb8", feature = "deadpool"))]
mod error;
#[cfg(feature = "r2d2")]
mod r2d2;

#[cfg(feature = "bb8")]
#[cfg_attr(docsrs, doc(cfg(feature = "bb8")))]
pub use self::bb8::Bb8Manager;
#[cfg(feature = "deadpool")]
#[cfg_attr(docsrs, doc(cfg(feature = "deadpool")))]
pub use self::deadpool::DeadpoolManager;
#[cfg(feature = "r2d2")]
#[cfg_attr(docsrs, doc(cfg(feature = "r2d2")))]
pub use self::r2d2::R2d2Manager;
#[cfg(any(feature = "bb8", feature = "deadpool"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "bb8", feature = "deadpool"))))]
pub use self::{bridged::Bridged, error::BridgeError};
