//! Load runs: Brink beside bare servers and peers, in one run on one machine.
//!
//! Figures that count are ratios and server CPU per request, read from `/proc/PID/stat`: requests a second depend on
//! what else the machine does and on the load generator that shares its cores.

mod apart;
pub mod bare;
pub mod coherence;
pub mod core;
pub mod cpu;
pub mod disk;
pub mod edge;
pub mod feed;
mod figures;
pub mod hits;
mod identity;
pub mod load;
pub mod memory;
pub mod module;
pub mod peers;
pub mod records;
pub mod server;
pub mod table;
