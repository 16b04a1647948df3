//! A network that runs: where its nodes are, how programs get in, and orders to change it.

use crate::{
    Error,
    emulator::Emulator,
    model::{Counts, Path, Wan},
    namespaces::{self, Namespaces},
    plan::{Ends, Order, Plan, Way},
    relay::{self, Relays},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::Ipv4Addr};

/// How a network is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A namespace for each node: every protocol.
    Namespaces,
    /// Relays on loopback: TCP and UDP to known ports.
    Relays,
}

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its name in the plan.
    pub name: String,
    /// Where its programs listen.
    pub address: Ipv4Addr,
    /// Words before a command line that make it run there; none with relays.
    pub enter: Vec<String>,
    /// Where it reaches the others.
    pub reaches: BTreeMap<String, Ipv4Addr>,
}

/// A network that runs. Dropped: it is gone, and so are its namespaces.
#[derive(Debug)]
pub struct Network {
    plan: Plan,
    carrier: Carrier,
}

#[derive(Debug)]
enum Carrier {
    // Fields are dropped in this order: first the thread, then what it holds.
    Namespaces(Emulator, Namespaces),
    Relays(Relays),
}

impl Network {
    /// Makes a network: of namespaces, or where they are not permitted of relays.
    ///
    /// # Errors
    /// The plan is impossible, or neither can be made.
    pub fn open(plan: Plan) -> Result<Self, Error> {
        match Self::open_as(plan.clone(), Kind::Namespaces) {
            Err(Error::Namespaces(_) | Error::Command { .. }) => Self::open_as(plan, Kind::Relays),
            outcome => outcome,
        }
    }

    /// Makes a network of one kind.
    ///
    /// # Errors
    /// The plan is impossible, or it cannot be made that way.
    pub fn open_as(plan: Plan, kind: Kind) -> Result<Self, Error> {
        plan.check()?;
        let carrier = match kind {
            Kind::Namespaces => {
                let (namespaces, devices) = Namespaces::create(&plan)?;
                let wan = wan(&plan)?;
                Carrier::Namespaces(Emulator::start(wan, devices)?, namespaces)
            }
            Kind::Relays => Carrier::Relays(Relays::create(&plan, wan(&plan)?)?),
        };
        Ok(Self { plan, carrier })
    }

    /// How it was made.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match &self.carrier {
            Carrier::Namespaces(..) => Kind::Namespaces,
            Carrier::Relays(_) => Kind::Relays,
        }
    }

    /// Where the nodes are, in the order of the plan.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        (0..self.plan.nodes.len())
            .filter_map(|node| self.place(node))
            .collect()
    }

    fn place(&self, node: usize) -> Option<Place> {
        let name = self.plan.nodes.get(node)?.name.clone();
        let others = self.plan.nodes.iter().enumerate();
        let others = others.filter(|(other, _)| *other != node);
        Some(match &self.carrier {
            Carrier::Namespaces(_, namespaces) => Place {
                name,
                address: namespaces::address(node),
                enter: namespaces.enter(node),
                reaches: others
                    .map(|(other, plan)| (plan.name.clone(), namespaces::address(other)))
                    .collect(),
            },
            Carrier::Relays(_) => Place {
                name,
                address: relay::address(node),
                enter: Vec::new(),
                reaches: others
                    .map(|(other, plan)| (plan.name.clone(), relay::reached(node, other)))
                    .collect(),
            },
        })
    }

    /// Carries out an order. When this returns, it holds for everything that is sent.
    ///
    /// # Errors
    /// An unknown node, an impossible path, or the network has ended.
    pub fn obey(&self, order: &Order) -> Result<Counts, Error> {
        match order {
            Order::Set(way) => self.set(way)?,
            Order::Cut(ends) => self.switch(ends, true)?,
            Order::Heal(ends) => self.switch(ends, false)?,
            Order::Counts {} => {}
        }
        match &self.carrier {
            Carrier::Namespaces(emulator, _) => emulator.counts(),
            Carrier::Relays(relays) => Ok(relays.counts()),
        }
    }

    fn set(&self, way: &Way) -> Result<(), Error> {
        self.plan.check_way(way)?;
        for (from, to) in ends(&self.plan, &way.from, &way.to, way.both)? {
            self.apply(from, to, way.path)?;
        }
        Ok(())
    }

    fn switch(&self, cut: &Ends, is_cut: bool) -> Result<(), Error> {
        for (from, to) in ends(&self.plan, &cut.from, &cut.to, cut.both)? {
            let path = match &self.carrier {
                Carrier::Namespaces(emulator, _) => emulator.path(from, to)?,
                Carrier::Relays(relays) => relays.path(from, to),
            };
            let path = path.unwrap_or_default();
            self.apply(from, to, Path { is_cut, ..path })?;
        }
        Ok(())
    }

    fn apply(&self, from: usize, to: usize, path: Path) -> Result<(), Error> {
        match &self.carrier {
            Carrier::Namespaces(emulator, _) => emulator.set(from, to, path),
            Carrier::Relays(relays) => {
                relays.set(from, to, path);
                Ok(())
            }
        }
    }
}

/// The model of a plan.
fn wan<P: Clone>(plan: &Plan) -> Result<Wan<P>, Error> {
    let mut wan = Wan::new(plan.seed, plan.nodes.len());
    for way in &plan.ways {
        for (from, to) in ends(plan, &way.from, &way.to, way.both)? {
            wan.set(from, to, way.path);
        }
    }
    Ok(wan)
}

/// One way, or it and the way back.
fn ends(plan: &Plan, from: &str, to: &str, both: bool) -> Result<Vec<(usize, usize)>, Error> {
    let (from, to) = (plan.node(from)?, plan.node(to)?);
    Ok(if both {
        vec![(from, to), (to, from)]
    } else {
        vec![(from, to)]
    })
}
