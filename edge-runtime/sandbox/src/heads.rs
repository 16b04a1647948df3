//! Heads of requests and responses to and from the guest's types; what comes back is checked.

use crate::{
    RunError,
    bindings::platform::plugin_types as wit,
    plugin::{
        PLUGIN_BODY_BYTES_MAX, RequestAction, RequestChange, RequestHead, ResponseAction,
        ResponseHead,
    },
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
        let name = name_in(&name)?;
        let value = HeaderValue::from_bytes(&value).map_err(|_| {
            bad(format!(
                "the value of its header field {name} is not allowed"
            ))
        })?;
        map.append(name, value);
    }
    Ok(map)
}

fn name_in(name: &str) -> Result<HeaderName, RunError> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        let short: String = name.chars().take(80).collect();
        bad(format!("{short:?} is not a header field's name"))
    })
}

fn names_in(names: &[String]) -> Result<Vec<HeaderName>, RunError> {
    if names.len() > HEADERS_MAX {
        let count = names.len();
        return Err(bad(format!(
            "it takes {count} header fields off, the limit is {HEADERS_MAX}"
        )));
    }
    names.iter().map(|name| name_in(name)).collect()
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

/// What a plugin decided on a request.
pub(crate) fn request_action(action: wit::RequestAction) -> Result<RequestAction, RunError> {
    match action {
        wit::RequestAction::Pass => Ok(RequestAction::Pass),
        wit::RequestAction::Answer(response) => response_in(response).map(RequestAction::Answer),
        wit::RequestAction::Change(change) => {
            let target = |path: String| {
                Some(path)
                    .filter(|path| path.starts_with('/'))
                    .and_then(|path| path.parse().ok())
                    .ok_or_else(|| bad("the path that it set is not a path"))
            };
            Ok(RequestAction::Change(RequestChange {
                path_and_query: change.path_and_query.map(target).transpose()?,
                set: headers_in(change.set)?,
                remove: names_in(&change.remove)?,
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
    fn changes() {
        let change = wit::RequestChange {
            path_and_query: None,
            set: Vec::new(),
            remove: Vec::new(),
        };
        let read = |change: &wit::RequestChange| {
            request_action(wit::RequestAction::Change(change.clone())).map(|action| match action {
                RequestAction::Change(change) => change,
                RequestAction::Pass | RequestAction::Answer(_) => unreachable!(),
            })
        };
        let text = str::to_owned;
        let changed = read(&wit::RequestChange {
            path_and_query: Some(text("/b?c")),
            set: vec![(text("A"), b"1".to_vec()), (text("a"), b"2".to_vec())],
            remove: vec![text("B")],
        })
        .unwrap();
        assert_eq!(changed.path_and_query.unwrap(), "/b?c");
        let values: Vec<_> = changed.set.get_all("a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!(changed.remove, ["b"]);
        assert!(read(&change).unwrap().path_and_query.is_none());
        for path in ["", "b", "/a b", "http://evil.example/"] {
            let path_and_query = Some(text(path));
            let change = wit::RequestChange {
                path_and_query,
                ..change.clone()
            };
            assert!(read(&change).is_err(), "{path:?}");
        }
        for remove in [vec![text("a b")], vec![text("a"); HEADERS_MAX + 1]] {
            let change = wit::RequestChange {
                remove,
                ..change.clone()
            };
            assert!(read(&change).is_err());
        }
    }
}
