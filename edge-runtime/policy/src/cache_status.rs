//! `Cache-Status`: RFC 9211.

use ::http::HeaderValue;

/// Why a request went forward. RFC 9211 §2.2, with the reasons of our own told apart in `detail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ForwardReason {
    /// The cache was told not to handle the request.
    Bypass,
    /// The method is not one that is answered from the cache.
    Method,
    /// Nothing is stored for the URI.
    UriMiss,
    /// Something is stored for the URI, but not for these selecting fields.
    VaryMiss,
    /// Nothing usable is stored (the cache cannot or need not say more).
    Miss,
    /// The request's directives ask for more than what is stored.
    Request,
    /// What is stored is stale.
    Stale,
    /// What is stored is only a part, or a part was asked for.
    Partial,
}

impl ForwardReason {
    /// The token of RFC 9211 §2.2.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// What the cache did with one request. Renders as one member of `Cache-Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheStatus {
    /// Answered from what is stored, or forwarded and why.
    pub outcome: Outcome,
    /// What is left of the freshness lifetime, in seconds; negative: stale for that long. RFC 9211 §2.4.
    pub ttl_seconds: Option<i64>,
    /// A word about how: the tier, or why an answer was not stored. A token (RFC 9651 §3.3.4). RFC 9211 §2.8.
    pub detail: Option<&'static str>,
}

/// See [`CacheStatus::outcome`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// `hit`: RFC 9211 §2.1.
    Hit,
    /// `fwd`: RFC 9211 §2.2.
    Forward {
        /// Why.
        reason: ForwardReason,
        /// `fwd-status`: the status of the forwarded request where the client sees another. RFC 9211 §2.3.
        status: Option<u16>,
        /// `stored`: RFC 9211 §2.5.
        stored: bool,
        /// `collapsed`: the request waited for another's answer and took it. RFC 9211 §2.6.
        collapsed: bool,
    },
}

impl CacheStatus {
    /// A request that went forward and whose answer was not stored.
    #[must_use]
    pub const fn forward(reason: ForwardReason) -> Self {
        Self {
            outcome: Outcome::Forward {
                reason,
                status: None,
                stored: false,
                collapsed: false,
            },
            ttl_seconds: None,
            detail: None,
        }
    }

    /// Whether the answer came from what is stored.
    #[must_use]
    pub const fn is_hit(&self) -> bool {
        matches!(self.outcome, Outcome::Hit)
    }

    /// As a field value; `cache` is the name that this cache gives itself, a token of at most 80 bytes such as
    /// `brink-ams`. Costs one allocation.
    #[must_use]
    pub fn to_value(&self, cache: &str) -> Option<HeaderValue> {
        let line = self.line(cache);
        HeaderValue::from_bytes(line.bytes.get(..line.length)?).ok()
    }

    /// As [`to_value`](Self::to_value), behind what is in `out`.
    pub fn put(&self, cache: &str, out: &mut Vec<u8>) {
        let line = self.line(cache);
        out.extend_from_slice(line.bytes.get(..line.length).unwrap_or_default());
    }

    fn line(&self, cache: &str) -> Line {
        let mut line = Line {
            bytes: [0; LINE_BYTES_MAX],
            length: 0,
        };
        line.push(cache);
        match self.outcome {
            Outcome::Hit => line.push("; hit"),
            Outcome::Forward {
                reason,
                status,
                stored,
                collapsed,
            } => {
                line.push("; fwd=");
                line.push(reason.as_str());
                if let Some(status) = status {
                    line.push("; fwd-status=");
                    line.push_number(status.into());
                }
                if stored {
                    line.push("; stored");
                }
                if collapsed {
                    line.push("; collapsed");
                }
            }
        }
        if let Some(ttl) = self.ttl_seconds {
            line.push(if ttl < 0 { "; ttl=-" } else { "; ttl=" });
            line.push_number(ttl.unsigned_abs());
        }
        if let Some(detail) = self.detail {
            line.push("; detail=");
            line.push(detail);
        }
        line
    }
}

/// Room for the longest line: a name, every parameter, the longest detail.
const LINE_BYTES_MAX: usize = 256;

/// A line that is written without an allocation.
struct Line {
    bytes: [u8; LINE_BYTES_MAX],
    length: usize,
}

impl Line {
    fn push(&mut self, text: &str) {
        let end = self.length + text.len();
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(text.as_bytes());
            self.length = end;
        }
    }

    fn push_number(&mut self, mut number: u64) {
        let mut digits = [b'0'; 20];
        let mut count = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
            count += 1;
            if number == 0 {
                break;
            }
        }
        let text = digits.get(digits.len() - count..).unwrap_or(&[]);
        self.push(std::str::from_utf8(text).unwrap_or(""));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rendered() {
        let hit = CacheStatus {
            outcome: Outcome::Hit,
            ttl_seconds: Some(57),
            detail: Some("memory"),
        };
        let stored = CacheStatus {
            outcome: Outcome::Forward {
                reason: ForwardReason::Stale,
                status: Some(304),
                stored: true,
                collapsed: true,
            },
            ttl_seconds: Some(-3),
            detail: None,
        };
        for (status, text) in [
            (hit, "brink-ams; hit; ttl=57; detail=memory"),
            (
                CacheStatus::forward(ForwardReason::UriMiss),
                "brink-ams; fwd=uri-miss",
            ),
            (
                stored,
                "brink-ams; fwd=stale; fwd-status=304; stored; collapsed; ttl=-3",
            ),
        ] {
            assert_eq!(status.to_value("brink-ams").unwrap(), text);
        }
    }

    #[test]
    fn is_a_structured_list() {
        for reason in [
            ForwardReason::Bypass,
            ForwardReason::Method,
            ForwardReason::UriMiss,
            ForwardReason::VaryMiss,
            ForwardReason::Miss,
            ForwardReason::Request,
            ForwardReason::Stale,
            ForwardReason::Partial,
        ] {
            let value = CacheStatus::forward(reason).to_value("brink-ams").unwrap();
            sfv::Parser::new(value.to_str().unwrap())
                .parse::<sfv::List>()
                .unwrap();
        }
    }
}
