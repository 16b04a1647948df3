//! Fields from bytes: lines of `name: value`.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Most lines that are read.
const LINES_MAX: usize = 64;

/// The fields of a block; what is no field is left out.
pub(crate) fn block(bytes: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in bytes.split(|b| *b == b'\n').take(LINES_MAX) {
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let name = HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

/// The blocks before and after the first empty line.
pub(crate) fn two_blocks(bytes: &[u8]) -> (HeaderMap, HeaderMap) {
    let at = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (one, other) = bytes.split_at(at.unwrap_or(bytes.len()));
    (block(one), block(other))
}

/// Each line of the input as a value of one field; those that can be none are left out.
pub(crate) fn values(name: &'static str, bytes: &[u8]) -> HeaderMap {
    let name = HeaderName::from_static(name);
    let lines = bytes.split(|b| *b == b'\n').take(LINES_MAX);
    let values = lines.filter_map(|line| HeaderValue::from_bytes(line).ok());
    values
        .map(|value| (name.clone(), value))
        .fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        })
}

/// Texts as bytes.
pub(crate) fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
