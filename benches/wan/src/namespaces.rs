//! Network namespaces with one TUN device each, made by `ip` and gone with their owner.
//!
//! A namespace is called `brk-PID-NODE` after the process that made it. A later one removes those whose process is gone,
//! and never touches others.

use crate::{Error, plan::Plan};
use std::{fs, net::Ipv4Addr, path::Path, process::Command};
use tun_rs::{DeviceBuilder, SyncDevice};

/// How the names of our namespaces begin.
const PREFIX: &str = "brk-";
/// Where `ip` keeps names of namespaces.
const NAMES: &str = "/run/netns";
/// What an Internet path carries.
const MTU: u16 = 1500;

/// Address of a node in every namespace: a private network that nothing outside knows.
pub(crate) fn address(node: usize) -> Ipv4Addr {
    // The plan has at most 64 nodes.
    Ipv4Addr::new(10, 77, 0, u8::try_from(node + 1).unwrap_or(u8::MAX))
}

/// The node of an address.
pub(crate) fn node_of(address: Ipv4Addr) -> Option<usize> {
    match address.octets() {
        [10, 77, 0, last] => usize::from(last).checked_sub(1),
        _ => None,
    }
}

/// Namespaces of a plan. Dropped: they are removed.
#[derive(Debug)]
pub(crate) struct Namespaces {
    names: Vec<String>,
}

impl Namespaces {
    /// Makes them, with a device in each whose other end is answered.
    pub(crate) fn create(plan: &Plan) -> Result<(Self, Vec<SyncDevice>), Error> {
        remove_leftovers();
        let pid = std::process::id();
        let serial = serial();
        let mut made = Self { names: Vec::new() };
        let mut devices = Vec::new();
        for (number, node) in plan.nodes.iter().enumerate() {
            // Several networks of one process (tests) are told apart by a number.
            let name = format!("{PREFIX}{pid}-{serial}-{}", node.name);
            ip(&["netns", "add", &name]).map_err(|error| Error::Namespaces(error.to_string()))?;
            made.names.push(name.clone());
            devices.push(device(number, &name)?);
        }
        Ok((made, devices))
    }

    /// Words before a command line that make it run in the namespace of a node.
    pub(crate) fn enter(&self, node: usize) -> Vec<String> {
        let Some(name) = self.names.get(node) else {
            return Vec::new();
        };
        ["ip", "netns", "exec", name].map(str::to_owned).into()
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

/// A number that no other network or device of this process has.
fn serial() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Makes a device, moves it into a namespace (its other end stays valid) and switches it on there.
fn device(node: usize, namespace: &str) -> Result<SyncDevice, Error> {
    // At most 15 bytes; only there until it is moved.
    let passing = format!("brk{:x}x{:x}", std::process::id(), serial());
    let device = DeviceBuilder::new()
        .name(&passing)
        .enable(false)
        .build_sync()
        .map_err(|error| Error::Namespaces(format!("no TUN device: {error}")))?;
    device
        .set_nonblocking(true)
        .map_err(Error::io("the TUN device"))?;
    let address = format!("{}/24", address(node));
    let mtu = MTU.to_string();
    ip(&[
        "link", "set", "dev", &passing, "netns", namespace, "name", "wan0",
    ])?;
    ip(&["-n", namespace, "address", "add", &address, "dev", "wan0"])?;
    ip(&["-n", namespace, "link", "set", "dev", "lo", "up"])?;
    ip(&[
        "-n", namespace, "link", "set", "dev", "wan0", "mtu", &mtu, "up",
    ])?;
    Ok(device)
}

/// Removes namespaces that processes left which are gone.
fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(NAMES) else {
        return;
    };
    for entry in entries.map_while(Result::ok) {
        let name = entry.file_name();
        if let Some(name) = name.to_str().filter(|name| is_left(name, is_alive)) {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Whether a name is one of ours and its process is gone.
fn is_left(name: &str, is_alive: impl Fn(u32) -> bool) -> bool {
    let pid = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split('-').next());
    pid.and_then(|pid| pid.parse().ok())
        .is_some_and(|pid| !is_alive(pid))
}

fn ip(arguments: &[&str]) -> Result<(), Error> {
    let failed = |reason: String| Error::Command {
        command: format!("ip {}", arguments.join(" ")),
        reason,
    };
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_dead_left_of_ours_is_removed() {
        for (name, expected) in [
            ("brk-17-0-ams", true),
            ("brk-18-0-ams", false),
            ("brk-x-ams", false),
            ("brk-", false),
            ("other-17-0-ams", false),
            ("17", false),
        ] {
            assert_eq!(is_left(name, |pid| pid == 18), expected, "{name}");
        }
    }

    #[test]
    fn addresses_and_nodes() {
        for node in [0, 1, 63] {
            assert_eq!(node_of(address(node)), Some(node));
        }
        for other in [
            [10, 77, 0, 0],
            [10, 77, 1, 1],
            [127, 0, 0, 1],
            [224, 0, 0, 22],
        ] {
            assert_eq!(node_of(other.into()), None);
        }
    }
}
