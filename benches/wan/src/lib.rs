//! A wide-area network of our own making, for tests and measurements on one machine.
//!
//! Each node is a network namespace with one TUN device. One thread holds the devices' other ends, reads IPv4 packets
//! from them and gives them on as a [`model`] says: late, jittered, lost, twice, overtaken, at a bandwidth, or not at all
//! while a way is cut. Every protocol goes over it, and no kernel module is needed beyond TUN.
//!
//! Where namespaces are not permitted, [`Network::open`] makes relays on loopback instead, which keep the same model for
//! datagrams and delay or hold streams.
//!
//! What decides is pure: [`model::Wan`] reads no clock and no socket. Chance comes from a seed.

pub mod chance;
mod emulator;
mod error;
pub mod model;
mod namespaces;
mod network;
pub mod plan;
mod relay;

pub use error::Error;
pub use network::{Kind, Network, Place};
