//! How many connections are open, in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Limits;

/// Counts connections. Taken on accept, given back when the [`Permit`] is dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    connections_max: usize,
    per_address_max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    connections: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// [`Limits::connections_max`].
    Connections,
    /// [`Limits::connections_per_address_max`].
    Address,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let count = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
        Arc::new(Self {
            connections_max: count(limits.connections_max),
            per_address_max: count(limits.connections_per_address_max),
            open: Mutex::default(),
        })
    }

    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Permit, Refused> {
        let address = network(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.connections >= self.connections_max {
            return Err(Refused::Connections);
        }
        let from_address = open.by_address.entry(address).or_insert(0);
        if *from_address >= self.per_address_max {
            if *from_address == 0 {
                open.by_address.remove(&address);
            }
            return Err(Refused::Address);
        }
        *from_address += 1;
        open.connections += 1;
        Ok(Permit {
            admission: Arc::clone(self),
            address,
        })
    }

    /// Whether so many connections are open that a QUIC client should prove its address first (RFC 9000 §8.1.2).
    pub(crate) fn is_busy(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.connections >= self.connections_max / 2
    }
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self
            .admission
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.connections = open.connections.saturating_sub(1);
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// One household has a whole IPv6 /64: it counts as one address.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn admission(connections_max: u32, connections_per_address_max: u32) -> Arc<Admission> {
        Admission::new(&Limits {
            connections_max,
            connections_per_address_max,
            ..Limits::default()
        })
    }

    #[test]
    fn addresses_and_networks_are_counted_and_given_back() {
        let admission = admission(4, 2);
        let admit = |address: &str| admission.admit(address.parse().unwrap());
        let first = admit("192.0.2.1").unwrap();
        let _second = admit("::ffff:192.0.2.1").unwrap();
        assert_eq!(admit("192.0.2.1").unwrap_err(), Refused::Address);
        drop(first);
        let _third = admit("192.0.2.1").unwrap();
        let _fourth = admit("2001:db8::1").unwrap();
        assert!(admission.is_busy());
        let fifth = admit("2001:db8::2").unwrap();
        assert_eq!(admit("2001:db8:1::1").unwrap_err(), Refused::Connections);
        drop(fifth);
        let _sixth = admit("2001:db8:1::1").unwrap();
    }

    #[test]
    fn nothing_stays_behind() {
        let admission = admission(4, 2);
        drop(admission.admit("192.0.2.1".parse().unwrap()).unwrap());
        let open = admission.open.lock().unwrap();
        assert_eq!((open.connections, open.by_address.len()), (0, 0));
    }
}
