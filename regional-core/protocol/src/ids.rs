//! Names of tenants, PoPs, nodes and modules, and the identity of an origin.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// Whether `text` is a DNS label in lower case: RFC 1035 §2.3.1, RFC 1123 §2.1.
fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(inner)
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

/// Which store a core has: chance that was taken once, when the store was begun, and is kept in it. All cores over one
/// engine say the same. Shown as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StoreId(u128);

impl StoreId {
    /// Of 16 random bytes.
    #[must_use]
    pub const fn new(chance: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(chance))
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for StoreId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let parsed = is_hex
            .then(|| u128::from_str_radix(text, 16).ok())
            .flatten();
        parsed
            .map(Self)
            .ok_or_else(|| Error::name("store id", text, "32 hexadecimal digits"))
    }
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        /// 1 to 63 of `a-z 0-9 -`, not beginning or ending with `-` (a DNS label).
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                if is_label(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(Error::name($what, text, "1 to 63 of a-z, 0-9 and -, not beginning or ending with -"))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

label!(
    /// A tenant: whose modules, routes, records and cache entries these are.
    TenantName, "tenant"
);
label!(
    /// A point of presence.
    PopName, "PoP"
);
label!(
    /// A core node.
    NodeName, "node"
);
label!(
    /// A region: one or more cores with a database, or a data centre of one, of their own.
    RegionName, "region"
);
label!(
    /// A module, command or plugin of a tenant.
    ModuleName, "module name"
);

/// One life of a core node: its name and how often it has begun anew. Sequences count within it.
///
/// An incarnation ends when the node can no longer go on counting from what it knows (its data was lost or restored).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OriginId {
    /// The core node.
    pub node: NodeName,
    /// Which of its lives; the first is 1.
    pub incarnation: u32,
}

impl fmt::Display for OriginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.incarnation)
    }
}

impl fmt::Debug for OriginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for OriginId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::malformed("origin", "it is written NODE.INCARNATION");
        let (node, incarnation) = text.rsplit_once('.').ok_or_else(wrong)?;
        Ok(Self {
            node: node.parse()?,
            incarnation: incarnation.parse().map_err(|_| wrong())?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn labels() {
        let long = "a".repeat(64);
        for (text, valid) in [
            ("ams", true),
            ("a-1", true),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("A", false),
            ("a.b", false),
            (long.as_str(), false),
        ] {
            assert_eq!(text.parse::<PopName>().is_ok(), valid, "{text:?}");
        }
        assert!(serde_json::from_str::<PopName>("\"A B\"").is_err());
    }

    #[test]
    fn origins() {
        let origin: OriginId = "core-1.7".parse().unwrap();
        assert_eq!((origin.node.as_str(), origin.incarnation), ("core-1", 7));
        assert_eq!(origin.to_string(), "core-1.7");
        for wrong in ["core", "core.", "core.x", ".1", "core.-1"] {
            assert!(wrong.parse::<OriginId>().is_err(), "{wrong}");
        }
    }
}
