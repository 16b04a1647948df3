//! Which cores there are in a region.

use crate::exchange::PeerConfig;
use brink_protocol::{NodeName, RegionName};

/// Where a core is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreAddress {
    /// Its node.
    pub node: NodeName,
    /// `HOST:PORT` of its link.
    pub link: String,
}

/// Who knows the cores of regions.
pub trait Cores: Send + Sync + 'static {
    /// Those of a region, this core aside, the ones to be asked first in front.
    fn of(&self, region: &RegionName) -> Vec<CoreAddress>;
}

/// The cores that the configuration names.
pub struct Configured(pub Vec<PeerConfig>);

impl Cores for Configured {
    fn of(&self, region: &RegionName) -> Vec<CoreAddress> {
        let peers = self.0.iter();
        let there = peers.filter(|peer| peer.region.as_deref() == Some(region.as_str()));
        there
            .map(|peer| CoreAddress {
                node: peer.name.clone(),
                link: peer.link.clone(),
            })
            .collect()
    }
}
