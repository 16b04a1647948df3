//! The wide-area network of a run: `brink-wan`, its nodes and their ways.

use super::talk::Talk;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

/// PoPs, with their one-way delay to the core (in Frankfurt) in microseconds.
pub(super) const POPS: [(&str, u64); 3] = [("ams", 4_000), ("sfo", 73_000), ("sin", 80_000)];
/// Where the core runs.
pub(super) const CORE: &str = "core";
/// Where clients, the origin and the operator are.
pub(super) const OPS: &str = "ops";

/// Port of a PoP's public listener.
pub(super) const LISTEN: u16 = 8443;
/// Port of the control API.
pub(super) const CONTROL: u16 = 7443;
/// Port of the core's link.
pub(super) const LINK: u16 = 7444;
/// Port of the origin.
pub(super) const ORIGIN: u16 = 8000;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Where a node is.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Place {
    name: String,
    pub(super) address: Ipv4Addr,
    enter: Vec<String>,
    reaches: BTreeMap<String, Ipv4Addr>,
}

impl Place {
    /// A program that will run there.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        brink_engines::command_in(&self.enter, program)
    }

    /// Words before a command line that make it run there.
    pub(super) fn enter(&self) -> &[String] {
        &self.enter
    }

    /// Where it reaches a port of another node.
    pub(super) fn reach(&self, other: &str, port: u16) -> Result<SocketAddr> {
        let address = self.reaches.get(other);
        let address = address.with_context(|| format!("{} does not reach {other}", self.name))?;
        Ok((*address, port).into())
    }

    /// A port of its own.
    pub(super) fn at(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }
}

/// The network. Dropped: it is gone with its namespaces.
#[derive(Debug)]
pub(super) struct Network {
    talk: Talk,
    /// `namespaces` or `relays`.
    pub(super) kind: String,
    places: BTreeMap<String, Place>,
    /// Share of packets lost between the core and PoPs when nothing is the matter.
    loss: f64,
}

impl Network {
    /// Makes it.
    pub(super) fn open(
        program: &Path,
        log: &Path,
        seed: u64,
        loss: f64,
        relays: bool,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        if relays {
            command.arg("--relays");
        }
        let mut talk = Talk::start("brink-wan", command, log)?;
        talk.say(&plan(seed, loss))?;
        let ready = talk.hear("ready", ANSWER_WITHIN)?;
        #[derive(Deserialize)]
        struct Ready {
            kind: String,
            nodes: Vec<Place>,
        }
        let ready: Ready = serde_json::from_value(ready)?;
        Ok(Self {
            talk,
            kind: ready.kind,
            places: ready
                .nodes
                .into_iter()
                .map(|place| (place.name.clone(), place))
                .collect(),
            loss,
        })
    }

    /// Where a node is.
    pub(super) fn place(&self, name: &str) -> Result<&Place> {
        self.places
            .get(name)
            .with_context(|| format!("there is no node {name}"))
    }

    /// Cuts the way between two nodes, or one direction of it.
    pub(super) fn cut(&mut self, from: &str, to: &str, both: bool) -> Result<()> {
        self.order(&json!({"cut": {"from": from, "to": to, "both": both}}))
    }

    /// Ends every cut between them.
    pub(super) fn heal(&mut self, from: &str, to: &str) -> Result<()> {
        self.order(&json!({"heal": {"from": from, "to": to, "both": true}}))
    }

    /// Makes the ways between the core and a PoP worse, or as they were.
    pub(super) fn weather(&mut self, pop: &str, weather: Weather) -> Result<()> {
        let calm = POPS.iter().find(|(name, _)| *name == pop);
        let delay_us = calm.map_or(0, |(_, delay_us)| *delay_us);
        let path = path(delay_us, self.loss, weather);
        self.order(&json!({"set": {"from": CORE, "to": pop, "both": true, "path": path}}))
    }

    /// Packets so far.
    pub(super) fn counts(&mut self) -> Result<Value> {
        self.talk.say(&json!({"counts": {}}))?;
        self.talk.hear("counts", ANSWER_WITHIN)
    }

    fn order(&mut self, order: &Value) -> Result<()> {
        self.talk.say(order)?;
        self.talk.hear("counts", ANSWER_WITHIN).map(drop)
    }
}

/// How the ways between the core and a PoP are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    /// As they are on most days.
    Calm,
    /// So many milliseconds slower, with as much jitter.
    Slow(u64),
    /// So many packets of a hundred are lost, and a few arrive twice or late.
    Lossy(u64),
}

fn path(delay_us: u64, loss: f64, weather: Weather) -> Value {
    match weather {
        Weather::Calm => {
            json!({"delay_us": delay_us, "jitter_us": delay_us / 20, "loss": loss})
        }
        Weather::Slow(ms) => {
            json!({"delay_us": delay_us + ms * 1_000, "jitter_us": ms * 1_000, "loss": loss})
        }
        Weather::Lossy(percent) => {
            // At most a few dozen: exact in a double.
            let share = f64::from(u32::try_from(percent).unwrap_or(u32::MAX)) / 100.0;
            json!({
                "delay_us": delay_us, "jitter_us": 5_000, "loss": (loss + share).min(1.0),
                "duplicate": 0.05, "reorder": 0.1, "held_us": 30_000,
            })
        }
    }
}

fn plan(seed: u64, loss: f64) -> Value {
    let mut nodes = vec![
        json!({"name": CORE, "tcp": [CONTROL, LINK], "udp": [LINK]}),
        json!({"name": OPS, "tcp": [ORIGIN]}),
    ];
    let near = json!({"delay_us": 1_000});
    let mut ways = vec![json!({"from": OPS, "to": CORE, "both": true, "path": near})];
    for (pop, delay_us) in POPS {
        nodes.push(json!({"name": pop, "tcp": [LISTEN], "udp": [LISTEN]}));
        let to_core = path(delay_us, loss, Weather::Calm);
        ways.push(json!({"from": CORE, "to": pop, "both": true, "path": to_core}));
        ways.push(json!({"from": OPS, "to": pop, "both": true, "path": near}));
    }
    json!({"seed": seed, "nodes": nodes, "ways": ways})
}
