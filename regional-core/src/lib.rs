//! The regional core: authoritative records, commands beside them, the registry of modules, deployments and routes,
//! purges with proof, and the control API.
//!
//! | module | what it knows |
//! |---|---|
//! | [`store`] | the `Store` trait, written for CQL, and the embedded store |
//! | [`records`], [`commands`] | reads, writes, and transactions of components over one partition |
//! | [`feed`], [`pops`], [`prober`] | the change log as a stream to PoPs, how far each has come, how old what it serves is |
//! | [`exchange`], [`session_keys`] | what cores tell each other: changes, and what session tokens are signed with |
//! | [`registry`], [`deployments`], [`purges`], [`tokens`], [`logs`] | what operators and developers do |
//! | [`backup`], [`erasure`], [`doctor`], [`operate`] | what operators ask beyond daily work |
//! | [`link`], [`control`], [`admin`] | the three listeners |
//! | [`config`], [`identity`], [`core`] | a whole core: build, serve, drain |
//!
//! What is absent: no module here knows of caches or routes' meaning; the store knows no component; only `core` knows all.

pub mod admin;
pub mod archive;
pub mod backup;
pub mod bridge;
pub mod clock;
pub mod commands;
pub mod components;
pub mod config;
pub mod control;
pub mod core;
pub mod deployments;
pub mod doctor;
pub mod erasure;
pub mod error;
pub mod events;
pub mod exchange;
pub mod export;
pub mod feed;
pub mod home;
pub mod hot;
pub mod identity;
pub mod link;
pub mod logs;
pub mod measure;
pub mod members;
pub mod operate;
pub mod placement;
pub mod pops;
pub(crate) mod private;
pub mod prober;
pub mod projections;
pub mod purges;
pub(crate) mod random;
pub mod records;
pub mod refusal;
pub mod registry;
pub mod roster;
pub mod scatter;
pub mod session_keys;
pub mod signals;
pub mod store;
pub mod tokens;
pub mod trail;
pub(crate) mod transaction;
pub(crate) mod turns;
pub mod workflows;

pub use error::Error;
