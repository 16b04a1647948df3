//! The field `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).

use super::reply::Failure;
use brink_protocol::control::IDEMPOTENCY_HEADER;
use http::HeaderMap;

/// The key that a request carries: a string of RFC 9651, or the same without its quotes.
///
/// # Errors
/// There are two, or it is not 1 to 128 visible ASCII characters (the rest is checked where it is used).
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let wrong = |detail: &str| Failure::new(400, "idempotency-key", "The key is not valid", detail);
    let mut fields = headers.get_all(IDEMPOTENCY_HEADER).iter();
    let Some(field) = fields.next() else {
        return Ok(None);
    };
    if fields.next().is_some() {
        return Err(wrong("Send `Idempotency-Key` once."));
    }
    let text = field
        .to_str()
        .map_err(|_| wrong("It is 1 to 128 visible ASCII characters."))?;
    let quoted = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    Ok(Some(quoted.unwrap_or(text).to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys() {
        let of = |fields: &[&str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(IDEMPOTENCY_HEADER, field.parse().unwrap());
            }
            idempotency_key(&headers).map_err(|failure| failure.0.status)
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["a-1"]), Ok(Some("a-1".into())));
        assert_eq!(of(&["\"a-1\""]), Ok(Some("a-1".into())));
        assert_eq!(of(&["a", "b"]), Err(400));
    }
}
