//! Which requests are plain.

use std::mem::MaybeUninit;
use std::time::Instant;

/// Fields that are looked at; with more, a request is not plain.
const FIELDS_MAX: usize = 32;

/// A `GET` of HTTP/1.1 that can be answered at once: it has no body and asks nothing of the connection.
#[derive(Clone, Copy, Debug)]
pub struct PlainRequest<'a> {
    /// Path and query, beginning with `/`, of characters that a URI has (RFC 3986 §2).
    pub target: &'a str,
    /// The one `Host`.
    pub host: &'a str,
    /// When it was read, or the request before it answered if both came together.
    pub read: Instant,
    fields: &'a [httparse::Header<'a>],
}

impl<'a> PlainRequest<'a> {
    /// Its fields, `Host` among them: names as they were sent, and values.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.fields.iter().map(|field| (field.name, field.value))
    }
}

/// What a head is.
pub(crate) enum Head<'a> {
    /// Its end is missing.
    Partial,
    /// A plain request, and how many bytes it has.
    Plain(PlainRequest<'a>, usize),
    /// Not plain, but surely without a body, and so many bytes long.
    Bodiless(usize),
    /// Anything else, broken ones included.
    Other,
}

type Room<'a> = [MaybeUninit<httparse::Header<'a>>; FIELDS_MAX];

/// Room for the fields of one head.
pub(crate) const fn room<'a>() -> Room<'a> {
    [const { MaybeUninit::uninit() }; FIELDS_MAX]
}

/// What one field says of a request.
enum Says {
    Nothing,
    /// Who is asked.
    Host,
    /// A body, or something of the connection.
    Much,
}

pub(crate) fn plain<'a>(bytes: &'a [u8], room: &'a mut Room<'a>, read: Instant) -> Head<'a> {
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, room) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Head::Partial,
        Err(_) => return Head::Other,
    };
    let (Some(method), Some(target), Some(1)) = (request.method, request.path, request.version)
    else {
        return Head::Other;
    };
    let fields: &'a [httparse::Header<'a>] = request.headers;
    let mut host = None;
    for field in fields {
        match says(field.name, field.value) {
            Says::Nothing => {}
            Says::Host if host.is_none() => host = Some(field.value),
            Says::Host | Says::Much => return Head::Other,
        }
    }
    let host = host.and_then(|host| std::str::from_utf8(host).ok());
    let (Some(host), true) = (host, target.starts_with('/')) else {
        return Head::Other;
    };
    match method {
        "GET" if target.bytes().all(is_of_uri) => Head::Plain(
            PlainRequest {
                target,
                host,
                read,
                fields,
            },
            length,
        ),
        "GET" | "HEAD" => Head::Bodiless(length),
        _ => Head::Other,
    }
}

fn says(name: &str, value: &[u8]) -> Says {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    // By length first: most fields are none of these.
    match name.len() {
        2 if is("te") => Says::Much,
        4 if is("host") => Says::Host,
        6 if is("expect") => Says::Much,
        7 if is("upgrade") || is("trailer") => Says::Much,
        10 if is("connection") && !value.eq_ignore_ascii_case(b"keep-alive") => Says::Much,
        14 if is("content-length") || is("http2-settings") => Says::Much,
        16 if is("proxy-connection") => Says::Much,
        17 if is("transfer-encoding") => Says::Much,
        _ => Says::Nothing,
    }
}

/// RFC 3986 §2.2, §2.3, and `%`. What clients send besides is for the URI's own parser.
const fn is_of_uri(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'/'
                | b'?'
                | b'='
                | b'&'
                | b'%'
                | b'+'
                | b','
                | b';'
                | b':'
                | b'@'
                | b'!'
                | b'$'
                | b'\''
                | b'('
                | b')'
                | b'*'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> String {
        let mut room = room();
        match plain(text.as_bytes(), &mut room, Instant::now()) {
            Head::Partial => "partial".into(),
            Head::Other => "other".into(),
            Head::Bodiless(length) => format!("bodiless {length}"),
            Head::Plain(request, length) => {
                format!("{}{} {length}", request.host, request.target)
            }
        }
    }

    #[test]
    fn only_plain_requests_are_plain() {
        for (head, expected) in [
            ("GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n", "h/a?b 30"),
            (
                "GET / HTTP/1.1\r\nhost: h:1\r\nConnection: Keep-Alive\r\nx: y\r\n\r\nGET",
                "h:1/ 59",
            ),
            ("\r\nGET / HTTP/1.1\r\nhost: h\r\n\r\n", "h/ 29"),
            ("GET / HTTP/1.1\r\nhost: h\r\n", "partial"),
            ("G", "partial"),
            ("HEAD / HTTP/1.1\r\nhost: h\r\n\r\n", "bodiless 28"),
            ("GET /\"a HTTP/1.1\r\nhost: h\r\n\r\n", "bodiless 29"),
            ("GET / HTTP/1.0\r\nhost: h\r\n\r\n", "other"),
            ("GET / HTTP/1.1\r\n\r\n", "other"),
            ("GET / HTTP/1.1\r\nhost: h\r\nHOST: h\r\n\r\n", "other"),
            ("GET / HTTP/1.1\r\nhost: \u{ff}\r\n\r\n", "\u{ff}/ 28"),
            ("GET / HTTP/1.1\r\nhost : h\r\n\r\n", "other"),
            ("GET / HTTP/1.1\r\nhost: h\r\n folded\r\n\r\n", "other"),
            ("GET http://h/ HTTP/1.1\r\nhost: h\r\n\r\n", "other"),
            ("GET * HTTP/1.1\r\nhost: h\r\n\r\n", "other"),
            ("POST / HTTP/1.1\r\nhost: h\r\n\r\n", "other"),
            ("get / HTTP/1.1\r\nhost: h\r\n\r\n", "other"),
            (
                "GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n",
                "other",
            ),
            (
                "GET / HTTP/1.1\r\nhost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
                "other",
            ),
            (
                "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
                "other",
            ),
            (
                "GET / HTTP/1.1\r\nhost: h\r\nconnection: keep-alive, x\r\n\r\n",
                "other",
            ),
            (
                "GET / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\n\r\n",
                "other",
            ),
            ("GET / HTTP/1.1\r\nhost: h\r\nupgrade: h2c\r\n\r\n", "other"),
            ("GET / HTTP/1.1\r\nhost: h\r\nte: trailers\r\n\r\n", "other"),
        ] {
            assert_eq!(told(head), expected, "{head}");
        }
        let many = "x: y\r\n".repeat(FIELDS_MAX);
        assert_eq!(
            told(&format!("GET / HTTP/1.1\r\nhost: h\r\n{many}\r\n")),
            "other"
        );
    }

    proptest! {
        /// Whatever comes, what is taken for plain has its end where the first empty line is.
        #[test]
        fn a_plain_head_ends_at_its_empty_line(tail in "[ -~\r\n\t]{0,200}") {
            let text = format!("GET / HTTP/1.1\r\nhost: h\r\n{tail}");
            let mut room = room();
            if let Head::Plain(_, length) | Head::Bodiless(length) = plain(text.as_bytes(), &mut room, Instant::now()) {
                let head = text.get(..length).unwrap_or_default();
                prop_assert!(head.ends_with("\n\r\n") || head.ends_with("\n\n"));
                let inside = head.get(..head.len() - 2).unwrap_or_default();
                prop_assert!(!inside.contains("\n\r\n") && !inside.contains("\n\n"));
            }
        }
    }
}
