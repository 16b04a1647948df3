//! The real program, as people and scripts run it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod build;
mod control;
mod program;
mod projects;
mod server;
mod session;
mod tls;
