//! The cores that write to one engine, and which of them does what.

use brink_protocol::{Digest, NodeName, RegionName};

/// A core that writes to an engine which several share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its node.
    pub node: NodeName,
    /// The node under whose name its log is: another one's that is gone, if it took that over.
    pub log: NodeName,
    /// The region that it is in.
    pub region: Option<RegionName>,
    /// `HOST:PORT` of its link; none: it does not answer yet.
    pub link: Option<String>,
    /// `HOST:PORT` of its control API; none: it does not answer yet.
    pub control: Option<String>,
    /// When it started, by its own clock, in milliseconds since 1970.
    pub started_at_ms: u64,
}

/// Which of some nodes answers for a key: the one whose hash with it is highest (rendezvous hashing), so that only what was
/// a node's moves when it goes. Whoever knows the same nodes gives the same answer.
#[must_use]
pub fn responsible<'n>(
    key: &str,
    nodes: impl IntoIterator<Item = &'n NodeName>,
) -> Option<&'n NodeName> {
    nodes.into_iter().max_by_key(|node| {
        let digest = Digest::of(format!("{node}\n{key}").as_bytes());
        // The name, should two hashes be the same.
        (*digest.as_bytes(), *node)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn only_what_was_of_a_node_that_goes_moves() {
        let nodes: Vec<NodeName> = (1..=4)
            .map(|n| format!("core-{n}").parse().unwrap())
            .collect();
        let keys: Vec<String> = (0..1000).map(|n| format!("key-{n}")).collect();
        let mut of_last = 0;
        for key in &keys {
            let before = responsible(key, &nodes).unwrap();
            let after = responsible(key, &nodes[..3]).unwrap();
            if *before == nodes[3] {
                of_last += 1;
            } else {
                assert_eq!(before, after);
            }
            assert_eq!(Some(before), responsible(key, nodes.iter().rev()));
        }
        assert!((150..350).contains(&of_last), "{of_last} of 1000");
        assert_eq!(responsible("key", []), None);
    }
}
