//! The pool with fake managers: what it promises whatever it lends, and how it fails.

extern crate caliburn_testing as common;

mod bad_input;
mod cancellation;
mod checkout;
mod config;
mod fairness;
mod faults_borrow;
mod faults_counts;
mod faults_futurelock;
mod faults_last_return;
mod faults_late_polls;
mod faults_own_pings;
mod faults_reentry;
mod faults_return;
mod faults_runtimes;
mod faults_spawners;
mod faults_start;
mod faults_unwind;
mod faults_upkeep;
mod health;
mod hooks;
mod known_dead;
mod lifetimes;
mod limits;
mod load;
mod model;
mod nimue;
mod observe;
mod outages;
mod panics;
mod properties;
mod quarantine;
mod reentry;
mod settings;
mod waiting_room;
mod wire;
