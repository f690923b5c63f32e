//! What both faces know of the server and of a session on it.

pub(super) mod address;
pub(super) mod cancel;
pub(super) mod errors;
pub(super) mod line;
pub(super) mod on_return;
pub(super) mod proof;
pub(super) mod role;
pub(super) mod setters;
pub(super) mod statement;
pub(super) mod url;
pub(super) mod watch;
