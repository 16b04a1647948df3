//! Heads of requests and responses to and from the guest's types; what comes back is checked.

use crate::{
    RunError,
    bindings::platform::plugin_types as wit,
    plugin::{PLUGIN_BODY_BYTES_MAX, RequestAction, RequestHead, ResponseAction, ResponseHead},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// Most fields of a head that a plugin makes.
const HEADERS_MAX: usize = 256;
/// Largest head that a plugin makes: names and values together, in bytes.
const HEADERS_BYTES_MAX: usize = 64 << 10;

/// Fields of one connection, which no plugin's answer may carry. RFC 9110 §7.6.1, RFC 9113 §8.2.2.
const CONNECTION_FIELDS: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

fn bad(reason: impl Into<String>) -> RunError {
    RunError::BadResponse {
        reason: reason.into(),
    }
}

fn headers_out(headers: &HeaderMap) -> wit::Headers {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}

fn headers_in(headers: wit::Headers) -> Result<HeaderMap, RunError> {
    let bytes: usize = headers.iter().map(|(n, v)| n.len() + v.len()).sum();
    if headers.len() > HEADERS_MAX || bytes > HEADERS_BYTES_MAX {
        return Err(bad(format!(
            "it has {} header fields of {bytes} bytes, the limits are {HEADERS_MAX} and {HEADERS_BYTES_MAX}",
            headers.len()
        )));
    }
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let short: String = name.chars().take(80).collect();
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| bad(format!("{short:?} is not a header field's name")))?;
        let value = HeaderValue::from_bytes(&value).map_err(|_| {
            bad(format!(
                "the value of its header field {name} is not allowed"
            ))
        })?;
        map.append(name, value);
    }
    Ok(map)
}

fn final_status(status: u16) -> Result<StatusCode, RunError> {
    StatusCode::from_u16(status)
        .ok()
        .filter(|status| (200..600).contains(&status.as_u16()))
        .ok_or_else(|| bad(format!("its status is {status}, it must be 200 to 599")))
}

fn response_in(response: wit::Response) -> Result<http::Response<Bytes>, RunError> {
    if response.body.len() > PLUGIN_BODY_BYTES_MAX {
        return Err(RunError::ResponseTooLarge {
            limit: PLUGIN_BODY_BYTES_MAX as u64,
        });
    }
    let mut answer = http::Response::new(Bytes::from(response.body));
    *answer.status_mut() = final_status(response.status)?;
    *answer.headers_mut() = answer_headers(response.headers)?;
    // The body is all there: what the plugin said of its length can only be wrong.
    answer.headers_mut().remove(header::CONTENT_LENGTH);
    Ok(answer)
}

fn answer_headers(headers: wit::Headers) -> Result<HeaderMap, RunError> {
    let headers = headers_in(headers)?;
    match CONNECTION_FIELDS.iter().find(|f| headers.contains_key(*f)) {
        Some(field) => Err(bad(format!(
            "it has the header field {field}, which belongs to the connection"
        ))),
        None => Ok(headers),
    }
}

pub(crate) fn request_out(head: &RequestHead) -> wit::RequestHead {
    wit::RequestHead {
        method: head.method.as_str().to_owned(),
        scheme: head.scheme.clone(),
        authority: head.authority.clone(),
        path_and_query: head.path_and_query.as_str().to_owned(),
        headers: headers_out(&head.headers),
        client_address: head.client_address.clone(),
    }
}

pub(crate) fn response_out(head: &ResponseHead) -> wit::ResponseHead {
    wit::ResponseHead {
        status: head.status.as_u16(),
        headers: headers_out(&head.headers),
    }
}

/// What a plugin decided on a request; `given` is the head that it was given.
pub(crate) fn request_action(
    action: wit::RequestAction,
    given: RequestHead,
) -> Result<RequestAction, RunError> {
    match action {
        wit::RequestAction::Pass => Ok(RequestAction::Pass),
        wit::RequestAction::Answer(response) => response_in(response).map(RequestAction::Answer),
        wit::RequestAction::Change(head) => {
            let path_and_query = Some(&head.path_and_query)
                .filter(|path| path.starts_with('/'))
                .and_then(|path| path.parse().ok())
                .ok_or_else(|| bad("the path that it set is not a path"))?;
            Ok(RequestAction::Change(RequestHead {
                path_and_query,
                headers: headers_in(head.headers)?,
                ..given
            }))
        }
    }
}

/// What a plugin decided on a response.
pub(crate) fn response_action(action: wit::ResponseAction) -> Result<ResponseAction, RunError> {
    match action {
        wit::ResponseAction::Pass => Ok(ResponseAction::Pass),
        wit::ResponseAction::Answer(response) => response_in(response).map(ResponseAction::Answer),
        wit::ResponseAction::Change(head) => Ok(ResponseAction::Change(ResponseHead {
            status: final_status(head.status)?,
            headers: answer_headers(head.headers)?,
        })),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn response(status: u16, headers: &[(&str, &[u8])], body: usize) -> wit::Response {
        wit::Response {
            status,
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), v.to_vec()))
                .collect(),
            body: vec![b'x'; body],
        }
    }

    #[test]
    fn answers() {
        for (status, headers, body, valid) in [
            (200, &[("a", b"b".as_slice()), ("a", b"\xff")][..], 0, true),
            (599, &[][..], PLUGIN_BODY_BYTES_MAX, true),
            (200, &[][..], PLUGIN_BODY_BYTES_MAX + 1, false),
            (101, &[][..], 0, false),
            (600, &[][..], 0, false),
            (200, &[("a b", b"".as_slice())][..], 0, false),
            (200, &[("a", b"\r\nb: c".as_slice())][..], 0, false),
            (
                200,
                &[("transfer-encoding", b"chunked".as_slice())][..],
                0,
                false,
            ),
            (200, &[("Connection", b"close".as_slice())][..], 0, false),
        ] {
            let answer = response_in(response(status, headers, body));
            assert_eq!(answer.is_ok(), valid, "{status} {headers:?} {body}");
        }
        let length = response(200, &[("content-length", b"7")], 2);
        assert!(response_in(length).unwrap().headers().is_empty());
    }

    #[test]
    fn changes_keep_what_is_not_theirs() {
        let given = RequestHead {
            method: http::Method::PUT,
            scheme: "https".into(),
            authority: "example.com".into(),
            path_and_query: "/a".parse().unwrap(),
            headers: HeaderMap::new(),
            client_address: "192.0.2.1".into(),
        };
        let mut changed = request_out(&given);
        changed.method = "GET".into();
        changed.authority = "evil.example".into();
        changed.client_address = String::new();
        changed.path_and_query = "/b?c".into();
        let action = wit::RequestAction::Change(changed.clone());
        let RequestAction::Change(head) = request_action(action, given.clone()).unwrap() else {
            unreachable!()
        };
        let expected = RequestHead {
            path_and_query: "/b?c".parse().unwrap(),
            ..given.clone()
        };
        assert_eq!(head, expected);
        for path in ["", "b", "/a b", "http://evil.example/"] {
            changed.path_and_query = path.into();
            let action = wit::RequestAction::Change(changed.clone());
            assert!(request_action(action, given.clone()).is_err(), "{path:?}");
        }
    }
}
