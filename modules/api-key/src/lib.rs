//! A plugin that lets only callers with a known key through.
//!
//! The caller sends `x-api-key: <key>`. The plugin compares the key's SHA-256 with those in the configuration, takes the key off the
//! request, and tells cache and module who calls by `x-client`; a caller's own `x-client` is taken off. Without a known
//! key the answer is 401, with a problem document.
//!
//! Config: `keys`, separated by spaces, commas or line ends, each `<client>:<SHA-256 of the key in hexadecimal>`:
//! `acme:9f86d0...0a08, globex:60303a...e752`. Make one with `printf %s "$KEY" | sha256sum`. Keys should be random and long: the
//! hash is not salted. Without a single key in the configuration every request is refused with 500.

use brink_sdk::{
    Plugin, Problem, RequestAction, RequestHead, Response, ResponseAction, ResponseHead, config,
};
use sha2::{Digest, Sha256};
use std::fmt::Write;

const KEY: &str = "x-api-key";
const CLIENT: &str = "x-client";
/// Longest key that is looked at, in bytes.
const KEY_BYTES_MAX: usize = 512;

/// The plugin.
#[derive(Debug)]
pub struct ApiKey;

impl Plugin for ApiKey {
    fn on_request(mut request: RequestHead) -> RequestAction {
        let keys = config::get("keys").unwrap_or_default();
        match admit(&keys, request.headers.get(KEY)) {
            Ok(client) => {
                request.headers.remove(KEY);
                request.headers.set(CLIENT, client);
                RequestAction::Change(request)
            }
            Err(problem) => {
                let refused = Response::from(problem);
                RequestAction::Answer(match refused.status() {
                    401 => refused.header("www-authenticate", "ApiKey"),
                    _ => refused,
                })
            }
        }
    }

    fn on_response(request: RequestHead, mut response: ResponseHead) -> ResponseAction {
        if let Some(client) = request.headers.get(CLIENT) {
            response.headers.set("x-served-for", client);
        }
        // A cache between us and the caller must not give one caller's answer to another.
        response.headers.append("vary", KEY);
        ResponseAction::Change(response)
    }
}

/// The client whose key this is.
fn admit<'a>(keys: &'a str, key: Option<&str>) -> Result<&'a str, Problem> {
    let known: Vec<(&str, &str)> = keys
        .split([' ', ',', '\n', '\r', '\t'])
        .filter_map(|pair| pair.split_once(':'))
        .collect();
    if known.is_empty() {
        return Err(Problem::new(500, "Misconfigured").detail("the plugin api-key has no keys"));
    }
    let refused = |detail: &str| Problem::new(401, "Unauthorized").detail(detail);
    let key = key.ok_or_else(|| refused("send your key in x-api-key"))?;
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(refused("the key is not known"));
    }
    let hash = hexadecimal(&Sha256::digest(key.as_bytes()));
    let client = known
        .iter()
        .find(|(_, expected)| expected.eq_ignore_ascii_case(&hash));
    client
        .map(|(client, _)| *client)
        .ok_or_else(|| refused("the key is not known"))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

brink_sdk::plugin!(ApiKey);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use brink_sdk::testing::Platform;

    /// SHA-256 of `test`.
    const KEYS: &str =
        "globex:00 , acme:9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08\n";

    fn request(headers: &[(&str, &str)]) -> RequestHead {
        let mut request = RequestHead::given("GET", "/");
        for (name, value) in headers {
            request.headers.append(name, value);
        }
        request
    }

    #[test]
    fn a_known_key_becomes_a_client() {
        let platform = Platform::new();
        platform.config("keys", KEYS);
        let sent = request(&[("X-API-Key", "test"), ("x-client", "globex")]);
        let RequestAction::Change(changed) = ApiKey::on_request(sent) else {
            panic!("refused")
        };
        assert_eq!(changed.headers.get("x-client"), Some("acme"));
        assert_eq!(changed.headers.get("x-api-key"), None);
        assert_eq!(changed.headers.iter().count(), 1);

        let response = ResponseHead {
            status: 200,
            headers: Default::default(),
        };
        let ResponseAction::Change(response) = ApiKey::on_response(changed, response) else {
            panic!("not changed")
        };
        assert_eq!(response.headers.get("x-served-for"), Some("acme"));
        assert_eq!(response.headers.get("vary"), Some("x-api-key"));
    }

    #[test]
    fn everyone_else_is_refused() {
        let platform = Platform::new();
        platform.config("keys", KEYS);
        let long = "x".repeat(KEY_BYTES_MAX + 1);
        for headers in [
            &[][..],
            &[("x-api-key", "")],
            &[("x-api-key", "Test")],
            &[("x-api-key", &long)],
            &[("x-client", "acme")],
        ] {
            let RequestAction::Answer(answer) = ApiKey::on_request(request(headers)) else {
                panic!("let through")
            };
            assert_eq!(answer.status(), 401);
            assert_eq!(answer.get("content-type"), Some("application/problem+json"));
            assert!(answer.get("www-authenticate").is_some());
        }
    }

    #[test]
    fn without_keys_nobody_passes() {
        let platform = Platform::new();
        for keys in [None, Some(""), Some("acme")] {
            if let Some(keys) = keys {
                platform.config("keys", keys);
            }
            let RequestAction::Answer(answer) =
                ApiKey::on_request(request(&[("x-api-key", "test")]))
            else {
                panic!("let through")
            };
            assert_eq!(answer.status(), 500);
        }
    }
}
