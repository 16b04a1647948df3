//! The edge: pipeline, cache tiers, core link, feed, plugins, admin.
//!
//! The way of a request is one `async fn`, [`pipeline::answer`]; everything else is a stage of it, or keeps a stage
//! supplied (link, feed, deployments, reports), or shows it (admin).

pub mod access;
pub mod address;
pub mod admin;
pub mod admission;
mod at_once;
pub mod backoff;
pub mod cache;
pub mod canary;
pub mod chance;
pub mod coherence_field;
pub mod config;
pub mod counting;
pub mod deployments;
pub mod edge;
pub mod error;
pub mod exchange;
pub mod explaining;
pub mod feed;
pub mod figures;
pub mod files;
mod forwarding;
pub mod front;
pub mod handler;
mod keyed;
pub mod lease_watch;
pub mod link;
pub mod modules;
pub mod origin;
pub mod persistent;
pub mod pipeline;
pub mod plugins;
pub mod progress;
pub mod purging;
mod reach;
pub mod rejoined;
pub mod reporter;
pub mod reports;
pub mod routes;
pub mod session;
pub mod shield;
pub mod shielding;
mod stages;
pub mod standalone;
pub mod taken;
