//! Redis, with both of its drivers.

mod cluster;
mod hostile;
mod network;
mod no_server;
mod outages;
mod round_trips;
mod sentinel;
mod sessions;
