//! Which addresses are public, and blocks of those that may be reached beyond. Pure.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A block of addresses, `ADDRESS/BITS`; an address alone is a block of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Block {
    address: IpAddr,
    bits: u8,
}

impl Block {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(block), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                block.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(block), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                block.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

impl FromStr for Block {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not ADDRESS or ADDRESS/BITS");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| wrong())?,
            None => most,
        };
        if bits > most {
            return Err(wrong());
        }
        Ok(Self { address, bits })
    }
}

impl TryFrom<String> for Block {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Block> for String {
    fn from(block: Block) -> Self {
        block.to_string()
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Every address there is: for a component that its own author runs.
#[must_use]
pub fn everywhere() -> Vec<Block> {
    let any = |address| Block { address, bits: 0 };
    vec![
        any(Ipv4Addr::UNSPECIFIED.into()),
        any(Ipv6Addr::UNSPECIFIED.into()),
    ]
}

/// Whether a module may send to `address`: any public one, and those of `allow`.
#[must_use]
pub fn is_allowed(address: IpAddr, allow: &[Block]) -> bool {
    let address = plain(address);
    is_public(address) || allow.iter().any(|block| block.contains(address))
}

/// An IPv4 address inside an IPv6 one is judged as what it is: RFC 4291 §2.5.5.2, RFC 6052 §2.1, RFC 3056.
pub(crate) fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let of = |high: u16, low: u16| {
        IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => of(g, h),
        (0x2002, high, low, ..) => of(high, low),
        _ => address,
    }
}

/// Not one of the special-purpose blocks of RFC 6890 and its registries.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0                                  // this network
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a >= 240                                       // reserved
        || (a == 100 && b & 0xc0 == 64)                   // shared address space, RFC 6598
        || (a, b, c) == (192, 0, 0)                       // protocol assignments
        || (a == 198 && b & 0xfe == 18); // benchmarks, RFC 2544
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Only 2000::/3 is assigned for global unicast: loopback, unique local, link local and multicast lie outside it.
    a & 0xe000 == 0x2000
        && (a, b) != (0x2001, 0x0db8)                     // documentation
        && !(a == 0x2001 && b < 0x200) // protocol assignments, Teredo
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_public_addresses() {
        for (address, allowed) in [
            ("8.8.8.8", true),
            ("127.0.0.1", false),
            ("127.8.8.8", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("0.0.0.0", false),
            ("192.0.0.8", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
            ("2606:4700::1111", true),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("ff02::1", false),
            ("2001:db8::1", false),
            ("2001::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::808:808", true),
            ("2002:7f00:1::", false),
            ("2002:808:808::", true),
        ] {
            assert_eq!(
                is_allowed(address.parse().unwrap(), &[]),
                allowed,
                "{address}"
            );
        }
    }

    #[test]
    fn blocks_open_more() {
        for (block, address, allowed) in [
            ("127.0.0.0/8", "127.9.9.9", true),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.0.0.0/9", "10.128.0.1", false),
            ("0.0.0.0/0", "192.168.0.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "fe80::1", true),
            ("::1", "::1", true),
            ("fd00::/8", "fd12::1", true),
        ] {
            let blocks = [block.parse().unwrap()];
            assert_eq!(
                is_allowed(address.parse().unwrap(), &blocks),
                allowed,
                "{block} {address}"
            );
        }
        for wrong in ["", "a", "1.2.3.4/33", "::/129", "1.2.3.4/", "1.2.3.4/-1"] {
            assert!(wrong.parse::<Block>().is_err(), "{wrong}");
        }
    }
}
