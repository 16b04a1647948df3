//! Real packets between real namespaces, and through relays.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod namespaces;
mod program;
mod relays;

use brink_wan::{
    model::Path,
    plan::{Ends, Node, Order, Plan, Way},
};
use std::time::Duration;

/// How long something that must happen may take. Far more than it takes.
pub(crate) const WITHIN: Duration = Duration::from_secs(20);

/// Nodes `a` and `b`, with services on `port`, and a path between them, both ways.
pub(crate) fn plan(port: u16, path: Path) -> Plan {
    let node = |name: &str| Node {
        name: name.to_owned(),
        tcp: vec![port],
        udp: vec![port],
    };
    Plan {
        seed: 1,
        nodes: vec![node("a"), node("b")],
        ways: vec![way(path)],
    }
}

pub(crate) fn way(path: Path) -> Way {
    Way {
        from: "a".to_owned(),
        to: "b".to_owned(),
        both: true,
        path,
    }
}

pub(crate) fn ends(from: &str, to: &str, both: bool) -> Ends {
    Ends {
        from: from.to_owned(),
        to: to.to_owned(),
        both,
    }
}

pub(crate) fn cut(both: bool) -> Order {
    Order::Cut(ends("a", "b", both))
}

pub(crate) fn heal() -> Order {
    Order::Heal(ends("a", "b", true))
}

/// A path that takes so many milliseconds each way.
pub(crate) fn delay(ms: u64) -> Path {
    Path {
        delay_us: ms * 1_000,
        ..Path::default()
    }
}
