//! The way out: a connection is claimed, judged, perhaps waited for, perhaps pinged, and lent.

pub(crate) mod checkout;
pub(crate) mod failure;
pub(crate) mod fast_path;
pub(crate) mod guard;
pub(crate) mod last_look;
pub(crate) mod nested;
pub(crate) mod step;
mod terms;
pub(crate) mod wait;
