//! Which cores there are in a region.

use crate::{exchange::PeerConfig, members::Members};
use brink_protocol::{NodeName, RegionName};
use std::{collections::BTreeSet, sync::Arc};

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

    /// The regions of the others.
    fn regions(&self) -> BTreeSet<RegionName>;
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

    fn regions(&self) -> BTreeSet<RegionName> {
        let named = self.0.iter().filter_map(|peer| peer.region.as_ref());
        named.filter_map(|region| region.parse().ok()).collect()
    }
}

/// The cores of regions, as the configuration and the store name them.
pub struct AllCores {
    configured: Configured,
    members: Arc<Members>,
}

impl AllCores {
    /// Of both.
    #[must_use]
    pub fn new(configured: Vec<PeerConfig>, members: Arc<Members>) -> Arc<Self> {
        Arc::new(Self {
            configured: Configured(configured),
            members,
        })
    }
}

impl Cores for AllCores {
    fn of(&self, region: &RegionName) -> Vec<CoreAddress> {
        let mut all = self.configured.of(region);
        for member in self.members.others() {
            let is_known = all.iter().any(|core| core.node == member.node);
            if let (Some(link), false) = (member.link, is_known)
                && member.region.as_ref() == Some(region)
            {
                all.push(CoreAddress {
                    node: member.node,
                    link,
                });
            }
        }
        all
    }
    fn regions(&self) -> BTreeSet<RegionName> {
        let members = self.members.others().into_iter();
        let mut all = self.configured.regions();
        all.extend(members.filter_map(|member| member.region));
        all
    }
}
