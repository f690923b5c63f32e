//! Redis, with both of its drivers.

mod cluster;
mod hostile;
mod left_over;
mod network;
mod no_server;
mod outages;
mod round_trips;
mod sentinel;
mod sessions;
