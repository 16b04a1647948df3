//! The target of a request: path segments and query parameters, decoded (RFC 3986 §3.3, §3.4).

use std::borrow::Cow;

/// Most query parameters that are read; later ones are ignored.
pub(crate) const PARAMETERS_MAX: usize = 256;

/// Decodes `%41`; a `%` without two hexadecimal digits stays as it is, bytes that are not UTF-8 become U+FFFD.
pub(crate) fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'%', [high, low, tail @ ..]) => match (hexadecimal(*high), hexadecimal(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    tail
                }
                _ => {
                    bytes.push(first);
                    after
                }
            },
            _ => {
                bytes.push(first);
                after
            }
        };
    }
    match String::from_utf8(bytes) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

fn hexadecimal(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// The decoded segments of a path; empty ones (a leading, trailing or doubled `/`) are left out.
pub(crate) fn segments(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decoded(segment).into_owned())
        .collect()
}

/// The decoded parameters of a query in order; `+` is a space (`application/x-www-form-urlencoded`).
pub(crate) fn parameters(query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| match text.contains('+') {
        true => percent_decoded(&text.replace('+', " ")).into_owned(),
        false => percent_decoded(text).into_owned(),
    };
    let pairs = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .take(PARAMETERS_MAX);
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes() {
        for (encoded, decoded) in [
            ("", ""),
            ("a", "a"),
            ("%41b", "Ab"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("%25%", "%%"),
            ("%c3%a9", "é"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(percent_decoded(encoded), decoded, "{encoded}");
        }
    }

    #[test]
    fn splits_paths_before_it_decodes() {
        assert_eq!(segments("/"), Vec::<String>::new());
        assert_eq!(segments("//a/%2Fb//c%20d/"), ["a", "/b", "c d"]);
    }

    #[test]
    fn reads_parameters() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            parameters("a=1&&b&c=x+y%2B&a=2=3"),
            [
                pair("a", "1"),
                pair("b", ""),
                pair("c", "x y+"),
                pair("a", "2=3")
            ]
        );
        assert_eq!(
            parameters(&"a&".repeat(PARAMETERS_MAX + 9)).len(),
            PARAMETERS_MAX
        );
    }
}
