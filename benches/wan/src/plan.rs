//! What a network looks like, and orders to change it, as JSON.

use crate::{
    Error,
    model::{NODES_MAX, Path},
};
use serde::{Deserialize, Serialize};

/// A network to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Where chance comes from.
    pub seed: u64,
    /// Nodes, at most [`NODES_MAX`].
    pub nodes: Vec<Node>,
    /// Ways that are not the default [`Path`]; later ones win.
    #[serde(default)]
    pub ways: Vec<Way>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// 1 to 16 of `a-z 0-9`.
    pub name: String,
    /// Ports on which its programs will listen for TCP: relays have to know them, namespaces do not.
    #[serde(default)]
    pub tcp: Vec<u16>,
    /// The same for UDP.
    #[serde(default)]
    pub udp: Vec<u16>,
}

/// The way between two nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// One end.
    pub from: String,
    /// The other.
    pub to: String,
    /// Also the way back.
    #[serde(default)]
    pub both: bool,
    /// How it is.
    #[serde(default)]
    pub path: Path,
}

/// A change to a network that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Makes a way another one.
    Set(Way),
    /// Cuts it, with all that is under way on it.
    Cut(Ends),
    /// Ends a cut; the way is as it was.
    Heal(Ends),
    /// Asks for the counts.
    Counts {},
}

/// The ends of a way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ends {
    /// One end.
    pub from: String,
    /// The other.
    pub to: String,
    /// Also the way back.
    #[serde(default)]
    pub both: bool,
}

impl Plan {
    /// The number of a node.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn node(&self, name: &str) -> Result<usize, Error> {
        let found = self.nodes.iter().position(|node| node.name == name);
        found.ok_or_else(|| Error::UnknownNode(name.to_owned()))
    }

    /// Holds the limits.
    ///
    /// # Errors
    /// Names the first mistake.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |mistake: String| Err(Error::Plan(mistake));
        if self.nodes.is_empty() || self.nodes.len() > NODES_MAX {
            return wrong(format!("{} nodes: 1 to {NODES_MAX}", self.nodes.len()));
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            if !(1..=16).contains(&node.name.len()) || !node.name.bytes().all(fits) {
                return wrong(format!("node {:?}: 1 to 16 of a-z 0-9", node.name));
            }
            if self.node(&node.name)? != number {
                return wrong(format!("node {} is there twice", node.name));
            }
        }
        self.ways.iter().try_for_each(|way| self.check_way(way))
    }

    /// Holds the limits of one way.
    ///
    /// # Errors
    /// An unknown end, or an impossible path.
    pub fn check_way(&self, way: &Way) -> Result<(), Error> {
        self.node(&way.from)?;
        self.node(&way.to)?;
        match way.path.mistake() {
            Some(mistake) => Err(Error::Plan(format!(
                "from {} to {}: {mistake}",
                way.from, way.to
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn plans_are_checked() {
        for (json, mistake) in [
            (
                r#"{"seed": 1, "nodes": [{"name": "ams"}, {"name": "sfo", "tcp": [8443]}]}"#,
                "",
            ),
            (r#"{"seed": 1, "nodes": []}"#, "0 nodes"),
            (r#"{"seed": 1, "nodes": [{"name": "a/b"}]}"#, "a-z"),
            (
                r#"{"seed": 1, "nodes": [{"name": "a"}, {"name": "a"}]}"#,
                "twice",
            ),
            (
                r#"{"seed": 1, "nodes": [{"name": "a"}], "ways": [{"from": "a", "to": "b"}]}"#,
                "no node b",
            ),
            (
                r#"{"seed": 1, "nodes": [{"name": "a"}, {"name": "b"}], "ways": [{"from": "a", "to": "b", "path": {"loss": 2}}]}"#,
                "0 to 1",
            ),
        ] {
            let plan: Plan = serde_json::from_str(json).unwrap();
            let found = plan
                .check()
                .map_or_else(|error| error.to_string(), |()| String::new());
            assert!(
                found.contains(mistake) && found.is_empty() == mistake.is_empty(),
                "{json}: {found}"
            );
        }
        assert!(serde_json::from_str::<Plan>(r#"{"seed": 1, "nodes": [], "other": 1}"#).is_err());
    }

    #[test]
    fn orders_are_read() {
        let ends = Ends {
            from: "a".into(),
            to: "b".into(),
            both: true,
        };
        for (json, order) in [
            (
                r#"{"cut": {"from": "a", "to": "b", "both": true}}"#,
                Order::Cut(ends.clone()),
            ),
            (
                r#"{"heal": {"from": "a", "to": "b", "both": true}}"#,
                Order::Heal(ends),
            ),
            (r#"{"counts": {}}"#, Order::Counts {}),
        ] {
            assert_eq!(serde_json::from_str::<Order>(json).unwrap(), order);
        }
    }
}
