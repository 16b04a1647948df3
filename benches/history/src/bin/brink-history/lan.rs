//! A network of namespaces: each node and each client has one, with an address of its own, and any two can be cut off from
//! each other, in one direction or both.
//!
//! The run itself is in a namespace of its own, with a mount namespace in which the names of the others are kept: whatever
//! ends it, nothing is left behind. All hang on one bridge. A cut is a wrong hardware address in the sender's table of
//! neighbours: what is sent goes nowhere and nobody hears of it, as when a cable is pulled.

use crate::Error;
use brink_engines::Site;
use std::{env, net::Ipv4Addr, os::unix::process::CommandExt as _, process::Command};

/// Set inside.
const INSIDE: &str = "BRINK_HISTORY_INSIDE";
/// Where `ip` keeps names of namespaces.
const NAMES: &str = "/run/netns";
/// The address of the run itself.
const OWN: u8 = 254;
/// The first client's address.
const CLIENTS: u8 = 101;
/// A hardware address that nobody has.
const NOBODY: &str = "02:00:00:00:00:ff";

/// Starts this program again inside namespaces of its own, in place of this process, unless that has been done.
pub(crate) fn enter() -> Result<(), Error> {
    if env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let program = env::current_exe().map_err(Error::io("this program"))?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--fork", "--kill-child=KILL", "--"]);
    command.arg(program).args(env::args_os().skip(1));
    Err(Error::io("unshare (of Debian's util-linux)")(
        command.env(INSIDE, "1").exec(),
    ))
}

/// Something that has a namespace.
#[derive(Debug)]
struct Place {
    name: String,
    number: u8,
}

impl Place {
    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.number)
    }

    fn hardware(&self) -> String {
        format!("02:00:00:00:00:{:02x}", self.number)
    }

    fn enter(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name]
            .map(str::to_owned)
            .into()
    }
}

/// The network.
#[derive(Debug)]
pub(crate) struct Lan {
    nodes: Vec<Place>,
    clients: Vec<Place>,
}

impl Lan {
    /// Makes it, for so many nodes and clients.
    pub(crate) fn make(nodes: usize, clients: usize) -> Result<Self, Error> {
        std::fs::create_dir_all(NAMES).map_err(Error::io(NAMES))?;
        run("mount", &["-t", "tmpfs", "tmpfs", NAMES])?;
        let own = format!("10.77.0.{OWN}/24");
        ip(&["link", "set", "dev", "lo", "up"])?;
        ip(&["link", "add", "name", "lan0", "type", "bridge"])?;
        ip(&["address", "add", &own, "dev", "lan0"])?;
        ip(&["link", "set", "dev", "lan0", "up"])?;
        let places = |name: &str, count: usize, first: u8| {
            let numbered = (first..OWN).zip(1..=count);
            let made = numbered.map(|(number, count)| {
                let name = format!("{name}{count}");
                let place = Place { name, number };
                attach(&place).map(|()| place)
            });
            made.collect::<Result<Vec<_>, Error>>()
        };
        let lan = Self {
            nodes: places("node", nodes, 1)?,
            clients: places("client", clients, CLIENTS)?,
        };
        // Who is where is told, not asked: a cut is in these tables.
        for from in lan.all() {
            for to in lan.all().filter(|to| to.number != from.number) {
                neighbour(from, to, &to.hardware())?;
            }
        }
        Ok(lan)
    }

    fn all(&self) -> impl Iterator<Item = &Place> {
        self.nodes.iter().chain(&self.clients)
    }

    /// Where the nodes run.
    pub(crate) fn sites(&self) -> Vec<Site> {
        let site = |place: &Place| Site {
            address: place.address(),
            enter: place.enter(),
        };
        self.nodes.iter().map(site).collect()
    }

    /// Words before the command line of a client, counted from 1.
    pub(crate) fn client(&self, number: usize) -> Vec<String> {
        let place = self.clients.get(number - 1);
        place.map(Place::enter).unwrap_or_default()
    }

    /// How many there are: nodes first, then clients.
    pub(crate) fn count(&self) -> usize {
        self.nodes.len() + self.clients.len()
    }

    /// Cuts what one sends to another, or ends that.
    pub(crate) fn cut(&self, from: usize, to: usize, is_cut: bool) -> Result<(), Error> {
        let (Some(from), Some(to)) = (self.all().nth(from), self.all().nth(to)) else {
            return Ok(());
        };
        if is_cut {
            neighbour(from, to, NOBODY)
        } else {
            neighbour(from, to, &to.hardware())
        }
    }
}

fn attach(place: &Place) -> Result<(), Error> {
    let Place { name, number } = place;
    let (outer, address) = (format!("lan{number}"), format!("{}/24", place.address()));
    ip(&["netns", "add", name])?;
    ip(&[
        "link", "add", "name", &outer, "type", "veth", "peer", "name", "eth0", "netns", name,
    ])?;
    ip(&["link", "set", "dev", &outer, "master", "lan0", "up"])?;
    let hardware = place.hardware();
    ip(&[
        "-n", name, "link", "set", "dev", "eth0", "address", &hardware,
    ])?;
    ip(&["-n", name, "address", "add", &address, "dev", "eth0"])?;
    ip(&["-n", name, "link", "set", "dev", "lo", "up"])?;
    ip(&["-n", name, "link", "set", "dev", "eth0", "up"])
}

fn neighbour(from: &Place, to: &Place, hardware: &str) -> Result<(), Error> {
    let address = to.address().to_string();
    ip(&[
        "-n",
        &from.name,
        "neighbour",
        "replace",
        &address,
        "lladdr",
        hardware,
        "nud",
        "permanent",
        "dev",
        "eth0",
    ])
}

fn ip(arguments: &[&str]) -> Result<(), Error> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<(), Error> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(Error::io(program))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = arguments.join(" ");
    Err(Error::Other(format!("{program} {line}: {}", said.trim())))
}
