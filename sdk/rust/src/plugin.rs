//! The world `plugin`: sees the heads of requests before the cache, and of responses after it.

use crate::plugin_types as wit;
use crate::response::Response;

/// Header fields in order. Names are compared without regard to case.
///
/// They remember which names were set, appended or removed, to whatever value: on a request, these become part of the
/// answer's key in the cache.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    fields: Vec<(String, Vec<u8>)>,
    /// In lower case, each once.
    named: Vec<String>,
}

/// The same fields, however they came about.
impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

impl Eq for Headers {}

impl Headers {
    /// The first value of that name, if it is text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .fields
            .iter()
            .find(|(present, _)| present.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// Sets a field, in the place of those with the same name.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.append(name, value);
    }

    /// Adds a field beside those with the same name.
    pub fn append(&mut self, name: &str, value: &str) {
        self.name(name);
        self.fields
            .push((name.to_ascii_lowercase(), value.as_bytes().to_vec()));
    }

    fn name(&mut self, name: &str) {
        if !self.named.iter().any(|n| n.eq_ignore_ascii_case(name)) {
            self.named.push(name.to_ascii_lowercase());
        }
    }

    fn given(fields: wit::Headers) -> Self {
        Self {
            fields,
            named: Vec::new(),
        }
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(present, _)| present.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Takes every field of that name out; says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        self.name(name);
        let before = self.fields.len();
        self.fields
            .retain(|(present, _)| !present.eq_ignore_ascii_case(name));
        self.fields.len() != before
    }

    /// Every field.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
    }
}

/// What is before a request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method. A change has no effect.
    pub method: String,
    /// `http` or `https`. A change has no effect.
    pub scheme: String,
    /// `host[:port]`. A change has no effect.
    pub authority: String,
    /// The path and query; changing it changes the cache key and the route's rest, not the route.
    pub path_and_query: String,
    /// The header fields.
    pub headers: Headers,
    /// The client's address as the listener saw it. A change has no effect.
    pub client_address: String,
}

impl RequestHead {
    /// A head for tests: a method, and a path with an optional query.
    #[must_use]
    pub fn given(method: &str, path_and_query: &str) -> Self {
        Self {
            method: method.to_owned(),
            scheme: "https".to_owned(),
            authority: "localhost".to_owned(),
            path_and_query: path_and_query.to_owned(),
            headers: Headers::default(),
            client_address: "127.0.0.1".to_owned(),
        }
    }
}

/// What is before a response's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub headers: Headers,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestAction {
    /// It goes on as it is.
    Pass,
    /// It goes on with this head. Every field that was set or removed, to whatever value, becomes part of the answer's
    /// key in the cache.
    Change(RequestHead),
    /// It is answered at once, with a body of at most 64 KiB; neither cache, module nor later plugins are asked.
    Answer(Response),
}

/// What becomes of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseAction {
    /// It goes on as it is.
    Pass,
    /// It goes on with this head.
    Change(ResponseHead),
    /// This one goes on in its place, with a body of at most 64 KiB.
    Answer(Response),
}

/// A plugin. [`crate::plugin!`] makes a component of a type that implements it.
pub trait Plugin {
    /// Sees a request before the cache.
    fn on_request(request: RequestHead) -> RequestAction {
        let _ = request;
        RequestAction::Pass
    }

    /// Sees a response on its way to the client, with the request as this plugin left it.
    fn on_response(request: RequestHead, response: ResponseHead) -> ResponseAction {
        let _ = (request, response);
        ResponseAction::Pass
    }
}

/// Calls a plugin with the host's types. [`crate::plugin!`] calls it.
#[doc(hidden)]
pub fn on_request<P: Plugin>(request: wit::RequestHead) -> wit::RequestAction {
    let given = request_head(request);
    match P::on_request(given.clone()) {
        RequestAction::Pass => wit::RequestAction::Pass,
        RequestAction::Change(head) => wit::RequestAction::Change(change(&given, head)),
        RequestAction::Answer(response) => wit::RequestAction::Answer(answer(&response)),
    }
}

/// Calls a plugin with the host's types. [`crate::plugin!`] calls it.
#[doc(hidden)]
pub fn on_response<P: Plugin>(
    request: wit::RequestHead,
    response: wit::ResponseHead,
) -> wit::ResponseAction {
    let response = ResponseHead {
        status: response.status,
        headers: Headers::given(response.headers),
    };
    match P::on_response(request_head(request), response) {
        ResponseAction::Pass => wit::ResponseAction::Pass,
        ResponseAction::Change(head) => wit::ResponseAction::Change(wit::ResponseHead {
            status: head.status,
            headers: head.headers.fields,
        }),
        ResponseAction::Answer(response) => wit::ResponseAction::Answer(answer(&response)),
    }
}

/// What has to be said of `head` to one who has `given`: the names that were spoken of, and those that differ because
/// the fields are others altogether.
fn change(given: &RequestHead, head: RequestHead) -> wit::RequestChange {
    let mut names = head.headers.named.clone();
    for (name, _) in given.headers.iter().chain(head.headers.iter()) {
        let differs = || !given.headers.values(name).eq(head.headers.values(name));
        if !names.iter().any(|n| n.eq_ignore_ascii_case(name)) && differs() {
            names.push(name.to_ascii_lowercase());
        }
    }
    let is_named = |name: &str| names.iter().any(|n| n.eq_ignore_ascii_case(name));
    let (path, fields) = (head.path_and_query, head.headers.fields);
    let mut set = fields;
    set.retain(|(name, _)| is_named(name));
    let is_set = |name: &String| set.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let remove = names.iter().filter(|name| !is_set(name)).cloned().collect();
    wit::RequestChange {
        path_and_query: (path != given.path_and_query).then_some(path),
        set,
        remove,
    }
}

fn request_head(head: wit::RequestHead) -> RequestHead {
    RequestHead {
        method: head.method,
        scheme: head.scheme,
        authority: head.authority,
        path_and_query: head.path_and_query,
        headers: Headers::given(head.headers),
        client_address: head.client_address,
    }
}

fn answer(response: &Response) -> wit::Response {
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
        .collect();
    wit::Response {
        status: response.status(),
        headers,
        body: response.body().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    struct Stamp;

    impl Plugin for Stamp {
        fn on_request(mut request: RequestHead) -> RequestAction {
            match request.headers.get("x-deny") {
                Some(_) => RequestAction::Answer(Response::problem(403, "Forbidden", "denied")),
                None => {
                    request.headers.set("X-Stamp", "1");
                    RequestAction::Change(request)
                }
            }
        }
    }

    fn head(headers: &[(&str, &str)]) -> wit::RequestHead {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect();
        let text = str::to_owned;
        wit::RequestHead {
            method: text("GET"),
            scheme: text("https"),
            authority: text("a"),
            path_and_query: text("/b"),
            headers,
            client_address: text("::1"),
        }
    }

    #[test]
    fn heads_cross_in_both_directions() {
        // What the client sent makes no difference.
        for sent in ["0", "1"] {
            let wit::RequestAction::Change(changed) =
                on_request::<Stamp>(head(&[("x-stamp", sent), ("a", "b")]))
            else {
                panic!("not changed")
            };
            assert_eq!(changed.set, [("x-stamp".to_owned(), b"1".to_vec())]);
            assert_eq!(changed.path_and_query, None);
            assert!(changed.remove.is_empty());
        }
        let wit::RequestAction::Answer(answer) = on_request::<Stamp>(head(&[("X-Deny", "")]))
        else {
            panic!("not answered")
        };
        assert_eq!(answer.status, 403);
    }

    #[test]
    fn every_change_is_told() {
        let given = request_head(head(&[("a", "1"), ("B", "2"), ("b", "3"), ("c", "4")]));
        let told = |make: &dyn Fn(&mut RequestHead)| {
            let mut head = given.clone();
            make(&mut head);
            let change = change(&given, head);
            let set: Vec<_> = change
                .set
                .iter()
                .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
                .collect();
            (
                set.join(" "),
                change.remove.join(" "),
                change.path_and_query,
            )
        };
        let none = String::new;
        assert_eq!(told(&|_| {}), (none(), none(), None));
        let path = told(&|head| head.path_and_query = "/x".to_owned());
        assert_eq!(path, (none(), none(), Some("/x".to_owned())));
        let appended = told(&|head| head.headers.append("B", "9"));
        assert_eq!(appended, ("B=2 b=3 b=9".to_owned(), none(), None));
        let removed = told(&|head| {
            head.headers.remove("A");
            head.headers.remove("absent");
        });
        assert_eq!(removed, (none(), "a absent".to_owned(), None));
        let replaced = told(&|head| {
            head.headers = Headers::default();
            head.headers.set("c", "4");
        });
        assert_eq!(replaced, ("c=4".to_owned(), "a b".to_owned(), None));
        let foreign = told(&|head| {
            let other = super::tests::head(&[("a", "1"), ("c", "5")]);
            head.headers = request_head(other).headers;
        });
        assert_eq!(foreign, ("c=5".to_owned(), "b".to_owned(), None));
    }

    #[test]
    fn by_default_everything_passes() {
        let response = wit::ResponseHead {
            status: 200,
            headers: Vec::new(),
        };
        assert!(matches!(
            on_response::<Stamp>(head(&[]), response),
            wit::ResponseAction::Pass
        ));
    }
}
