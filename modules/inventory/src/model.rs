//! Items, stock and warehouses, as they are kept and as they are answered.

use brink_sdk::Problem;
use brink_sdk::records::Key;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How many adjustments a stock record remembers.
pub(crate) const RECENT_MAX: usize = 32;
/// Most pieces of an article in a warehouse.
pub(crate) const ON_HAND_MAX: u64 = 1_000_000_000;

/// The stock of an article in a warehouse. Members that inventory has no business with (prices) stay as they are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stock {
    pub(crate) sku: String,
    pub(crate) on_hand: u64,
    pub(crate) reserved: u64,
    /// The last adjustments that came with a key, oldest first, at most [`RECENT_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) recent: Vec<Adjusted>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// An adjustment that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Adjusted {
    pub(crate) key: String,
    pub(crate) delta: i64,
}

/// What can be had of an article at a warehouse.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Availability {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sku: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warehouse: Option<String>,
    pub(crate) on_hand: u64,
    pub(crate) reserved: u64,
    pub(crate) available: u64,
}

impl Stock {
    pub(crate) fn availability(&self) -> Availability {
        let available = self.on_hand.saturating_sub(self.reserved);
        let (on_hand, reserved) = (self.on_hand, self.reserved);
        Availability {
            sku: None,
            warehouse: None,
            on_hand,
            reserved,
            available,
        }
    }

    /// The stock after an adjustment; none if an adjustment with this key was made before.
    pub(crate) fn adjusted(
        mut self,
        delta: i64,
        key: Option<&str>,
    ) -> Result<Option<Self>, Problem> {
        if let Some(before) = self
            .recent
            .iter()
            .find(|adjusted| Some(adjusted.key.as_str()) == key)
        {
            return match before.delta == delta {
                true => Ok(None),
                false => Err(Problem::unprocessable(
                    "this Idempotency-Key was used for another adjustment",
                )),
            };
        }
        let on_hand = self
            .on_hand
            .checked_add_signed(delta)
            .filter(|on_hand| *on_hand <= ON_HAND_MAX);
        let Some(on_hand) = on_hand.filter(|on_hand| *on_hand >= self.reserved) else {
            let detail = format!(
                "{} on hand, {} of them reserved: {delta} is not possible",
                self.on_hand, self.reserved
            );
            return Err(Problem::new(409, "Stock would not suffice").detail(detail));
        };
        self.on_hand = on_hand;
        if let Some(key) = key {
            let surplus = (self.recent.len() + 1).saturating_sub(RECENT_MAX);
            self.recent.drain(..surplus);
            self.recent.push(Adjusted {
                key: key.to_owned(),
                delta,
            });
        }
        Ok(Some(self))
    }
}

impl Availability {
    pub(crate) fn of(self, sku: &str) -> Self {
        Self {
            sku: Some(sku.to_owned()),
            ..self
        }
    }

    pub(crate) fn at(self, warehouse: &str) -> Self {
        Self {
            warehouse: Some(warehouse.to_owned()),
            ..self
        }
    }
}

/// Where the stock of an article in a warehouse is kept.
pub(crate) fn stock_key(warehouse: &str, sku: &str) -> Key {
    Key::new("stock", warehouse, format!("sku/{sku}"))
}

/// 1 to 64 of `A-Z 0-9 -`: SKUs and warehouse codes.
pub(crate) fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn stock(on_hand: u64, reserved: u64) -> Stock {
        Stock {
            sku: "A".to_owned(),
            on_hand,
            reserved,
            recent: Vec::new(),
            rest: Map::new(),
        }
    }

    #[test]
    fn reserved_pieces_stay_on_hand() {
        for (on_hand, reserved, delta, after) in [
            (5, 2, -3, Some(2)),
            (5, 2, -4, None),
            (0, 0, -1, None),
            (0, 0, 7, Some(7)),
            (ON_HAND_MAX, 0, 1, None),
            (1, 0, i64::MAX, None),
            (1, 0, i64::MIN, None),
        ] {
            let adjusted = stock(on_hand, reserved)
                .adjusted(delta, None)
                .ok()
                .flatten();
            assert_eq!(
                adjusted.map(|stock| stock.on_hand),
                after,
                "{on_hand} {reserved} {delta}"
            );
        }
    }

    #[test]
    fn the_last_keys_are_remembered() {
        let mut present = stock(0, 0);
        for number in 0..=RECENT_MAX {
            present = present
                .adjusted(1, Some(&format!("k{number}")))
                .unwrap()
                .unwrap();
        }
        assert_eq!(present.recent.len(), RECENT_MAX);
        assert!(present.clone().adjusted(1, Some("k1")).unwrap().is_none());
        assert_eq!(
            present
                .clone()
                .adjusted(2, Some("k1"))
                .unwrap_err()
                .status(),
            422
        );
        assert!(
            present.adjusted(1, Some("k0")).unwrap().is_some(),
            "too long ago"
        );
    }
}
