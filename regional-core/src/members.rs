//! The cores that live, and which of them does what. No core is special: what a core answers for is decided by who lives,
//! and what is right never depends on it.
//!
//! On a store that cores share they know each other through it. A core with a store of its own is alone here, whatever peers
//! it has: their work is theirs.

use crate::{
    Error,
    store::{CqlMembers, Member, responsible},
};
use brink_protocol::{NodeName, RegionName};
use std::sync::Arc;
use tokio::sync::watch;

/// The cores that live.
pub struct Members {
    own: NodeName,
    region: Option<RegionName>,
    live: watch::Receiver<Arc<Vec<Member>>>,
    /// None: this core is alone.
    table: Option<CqlMembers>,
}

impl Members {
    /// Of a core with a store of its own.
    #[must_use]
    pub fn alone(own: NodeName, region: Option<RegionName>) -> Arc<Self> {
        Arc::new(Self {
            own,
            region,
            // Its sender is gone: nothing ever changes.
            live: watch::channel(Arc::default()).1,
            table: None,
        })
    }

    /// Of a core on a store that cores share.
    #[must_use]
    pub fn of(table: CqlMembers, own: NodeName, region: Option<RegionName>) -> Arc<Self> {
        Arc::new(Self {
            own,
            region,
            live: table.live(),
            table: Some(table),
        })
    }

    /// Those that live; this core itself may be missing, while the store is not reached. Empty with a store of one's own.
    #[must_use]
    pub fn live(&self) -> watch::Receiver<Arc<Vec<Member>>> {
        self.live.clone()
    }

    /// The others that live and say where they answer.
    #[must_use]
    pub fn others(&self) -> Vec<Member> {
        let live = self.live.borrow();
        let others = live.iter().filter(|member| member.node != self.own);
        others
            .filter(|member| member.link.is_some())
            .cloned()
            .collect()
    }

    /// Whether this core does the work of a key, among those of its region that live. While cores come and go two may
    /// think so for some seconds, or none.
    #[must_use]
    pub fn mine(&self, key: &str) -> bool {
        let live = self.live.borrow();
        let here = live.iter().filter(|member| member.region == self.region);
        let nodes = here.map(|member| &member.node).chain([&self.own]);
        responsible(key, nodes) == Some(&self.own)
    }

    /// Whether this core does the work of a key that is one for the whole store, among all that live. As [`Members::mine`].
    #[must_use]
    pub fn mine_of_all(&self, key: &str) -> bool {
        let live = self.live.borrow();
        let nodes = live.iter().map(|member| &member.node).chain([&self.own]);
        responsible(key, nodes) == Some(&self.own)
    }

    /// Whether a core of this name may be at work: it lives, as far as is known.
    #[must_use]
    pub fn may_live(&self, node: &str) -> bool {
        let live = self.live.borrow();
        self.own.as_str() == node || live.iter().any(|member| member.node.as_str() == node)
    }

    /// Says where this core answers: `HOST:PORT` of its link and of its control API.
    ///
    /// # Errors
    /// The store; it is said again.
    pub async fn announce(&self, link: String, control: String) -> Result<(), Error> {
        match &self.table {
            Some(table) => table.announce(link, control).await,
            None => Ok(()),
        }
    }

    /// Says that this core ends in order.
    ///
    /// # Errors
    /// The store; the others find out by its silence.
    pub async fn leave(&self) -> Result<(), Error> {
        match &self.table {
            Some(table) => table.leave().await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn work_is_divided_among_those_of_a_region() {
        let member = |node: &str, region: &str| Member {
            node: node.parse().unwrap(),
            log: node.parse().unwrap(),
            region: Some(region.parse().unwrap()),
            link: Some(format!("{node}:7444")),
            control: None,
            started_at_ms: 1,
        };
        let all = vec![
            member("a", "eu"),
            member("b", "eu"),
            member("c", "us"),
            Member {
                link: None,
                ..member("d", "us")
            },
        ];
        let (_sender, live) = watch::channel(Arc::new(all));
        let of = |node: &str, region: &str| Members {
            own: node.parse().unwrap(),
            region: Some(region.parse().unwrap()),
            live: live.clone(),
            table: None,
        };
        let (a, b) = (of("a", "eu"), of("b", "eu"));
        let keys: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let of_a = keys.iter().filter(|key| a.mine(key)).count();
        let of_b = keys.iter().filter(|key| b.mine(key)).count();
        assert_eq!(of_a + of_b, 100);
        assert!(of_a > 0 && of_b > 0);
        let cores = [a, b, of("c", "us"), of("d", "us")];
        for key in &keys {
            let of_all = cores.iter().filter(|core| core.mine_of_all(key)).count();
            assert_eq!(of_all, 1, "{key}");
        }
        let alone = Members::alone("x".parse().unwrap(), None);
        assert!(keys.iter().all(|key| alone.mine(key)));
        // One that does not say where it answers cannot be asked.
        let others: Vec<_> = cores[0]
            .others()
            .into_iter()
            .map(|member| member.node)
            .collect();
        assert_eq!(others, ["b".parse().unwrap(), "c".parse().unwrap()]);
    }
}
