//! What a run is made of.

use crate::Error;
use serde::Deserialize;
use std::{net::SocketAddr, path::PathBuf};

/// How old an answer may be that is not marked as stale: the lease of the edges, which is 2 s unless configured. All times
/// are of one clock, so nothing is added for clocks.
pub(crate) const BOUND_US: u64 = 2_000_000;
/// Most registers.
const REGISTERS_MAX: u64 = 400;
/// Most objects of the origin.
const OBJECTS_MAX: usize = 100;
/// Most clients of a kind.
const CLIENTS_MAX: u32 = 200;

/// The first line.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Setup {
    /// Where chance comes from.
    pub(crate) seed: u64,
    /// PoPs, with the addresses of their public listeners for TCP.
    pub(crate) pops: Vec<Pop>,
    /// Address of the control API.
    pub(crate) control: SocketAddr,
    /// The authority of all certificates.
    pub(crate) ca: PathBuf,
    /// The token for the control API.
    pub(crate) token_file: PathBuf,
    /// Where to serve the origin of the route `/site`.
    pub(crate) origin: SocketAddr,
    /// How many registers.
    pub(crate) registers: u64,
    /// How many objects the origin has.
    pub(crate) objects: usize,
    /// Clients that carry a session from PoP to PoP.
    pub(crate) sessions: u32,
    /// Clients at each PoP that carry nothing.
    pub(crate) readers: u32,
    /// Longest pause of a client between two requests, in milliseconds.
    pub(crate) pause_ms_max: u64,
    /// Longest pause between two purges, in milliseconds.
    pub(crate) purge_pause_ms_max: u64,
    /// Where the history goes.
    pub(crate) history: PathBuf,
}

/// A PoP.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pop {
    /// Its name.
    pub(crate) name: String,
    /// Its public listener.
    pub(crate) address: SocketAddr,
}

impl Setup {
    /// Holds the limits.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |what: &str| Err(Error::Setup(what.to_owned()));
        if self.pops.is_empty() || self.pops.len() > 16 {
            return wrong("1 to 16 PoPs");
        }
        if self.registers == 0 || self.registers > REGISTERS_MAX {
            return wrong("1 to 400 registers");
        }
        if self.objects == 0 || self.objects > OBJECTS_MAX {
            return wrong("1 to 100 objects");
        }
        if self.sessions > CLIENTS_MAX || self.readers > CLIENTS_MAX {
            return wrong("at most 200 clients of a kind");
        }
        Ok(())
    }
}
