//! What cores tell each other of their PoPs. A PoP reports to one core at a time; a purge is for the PoPs of all of them.

use crate::{
    NodeName, PopName, Position, TenantName,
    control::{EstimateAtPop, Pop},
    purge::Selector,
};
use serde::{Deserialize, Serialize};

/// The longest that an answer to a [`PopsRequest`] is held back, in milliseconds.
pub const HOLD_MS_MAX: u64 = 5_000;

/// Asks a core which PoPs report to it, and how far each is with a purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PopsRequest {
    /// Who asks; must be the client certificate's name.
    pub node: NodeName,
    /// The purge; none: only who there is.
    pub purge: Option<PurgeAsked>,
    /// The answer that is known already: while there is none other, the next is held back for `hold_ms`.
    pub seen: Option<PopsSeen>,
    /// For how long at most, in milliseconds, up to [`HOLD_MS_MAX`].
    pub hold_ms: u64,
}

/// A purge that another core is asked about. It need not have heard of it yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeAsked {
    /// Whose.
    pub tenant: TenantName,
    /// Its id.
    pub id: String,
    /// Its place in the log: a PoP that has come so far has applied it.
    pub position: Position,
}

/// What tells one answer from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PopsSeen {
    /// Changes whenever a PoP becomes known or is forgotten.
    pub members: u64,
    /// PoPs that have come as far as the purge.
    pub covering: u64,
}

/// The PoPs of a core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PopsAnswer {
    /// How long they may call coherent entries fresh without word from their core, in milliseconds.
    pub lease_ms: u64,
    /// What to ask with next.
    pub seen: PopsSeen,
    /// All that the core knows.
    pub pops: Vec<PopOfPeer>,
}

/// A PoP that reports, or did, to another core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PopOfPeer {
    /// Its name.
    pub name: PopName,
    /// It follows that core's feed now.
    pub connected: bool,
    /// How long ago that core last heard of it, in milliseconds: clocks of two machines cannot be compared.
    pub silent_ms: u64,
    /// It has come as far as the purge: it holds nothing of what it ended.
    pub covers: bool,
    /// It said that it applied the purge.
    pub note: Option<PopNote>,
}

/// What a PoP said of a purge that it applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PopNote {
    /// When, by the PoP's clock, in milliseconds since 1970.
    pub applied_at_ms: u64,
    /// Entries of the memory tier that it ended.
    pub objects: u64,
}

/// Asks a core for all that it knows of its PoPs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterRequest {
    /// Who asks; must be the client certificate's name.
    pub node: NodeName,
}

/// The PoPs of a core, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterAnswer {
    /// When, by that core's clock, in milliseconds since 1970: its other times are measured against this one.
    pub at_ms: u64,
    /// All that report to it, or did.
    pub pops: Vec<Pop>,
}

/// Asks a core to have its PoPs count what a purge would end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountsRequest {
    /// Who asks; must be the client certificate's name.
    pub node: NodeName,
    /// Whose entries.
    pub tenant: TenantName,
    /// What would be purged, in its normal form.
    pub selectors: Vec<Selector>,
    /// How long the PoPs have, in milliseconds.
    pub wait_ms: u64,
}

/// What a core's PoPs counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountsAnswer {
    /// What each holds.
    pub pops: Vec<EstimateAtPop>,
    /// Those that did not answer.
    pub silent: Vec<PopName>,
}
