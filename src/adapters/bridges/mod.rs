//! Managers written for other pools, as they are.
//!
//! | | for threads | for tasks |
//! |---|---|---|
//! | feature | `r2d2` | `bb8` |
//! | written for | [r2d2](https://docs.rs/r2d2) | [bb8](https://docs.rs/bb8) |
//! | manager | [`R2d2Manager`] | [`Bb8Manager`] |
//!
//! See also the [page for those who come from another pool](crate::guide::migrating).

#[cfg(feature = "bb8")]
mod bb8;
#[cfg(feature = "r2d2")]
mod r2d2;

#[cfg(feature = "bb8")]
pub use self::bb8::Bb8Manager;
#[cfg(feature = "r2d2")]
pub use self::r2d2::R2d2Manager;
