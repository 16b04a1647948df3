//! QPACK (RFC 9204) for answers, with the static table only, and the frames of an answer. Pure.
//!
//! h3 writes each frame by itself, head and payload apart; here an answer's frames go into one buffer.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};

/// RFC 9114 §7.2.
const DATA: u8 = 0x00;
const HEADERS: u8 = 0x01;
/// Bytes of a HEADERS frame's header as written here: its type, and its length in four bytes.
const HEADERS_HEADER_BYTES: usize = 5;
/// Index of `:status` as a name (RFC 9204 Appendix A).
const STATUS_NAME: u64 = 24;
/// Payloads up to this many bytes are copied behind their frame's header instead of being sent as a piece of their own.
pub(super) const COPIED_BYTES_MAX: usize = 2048;

/// Fields that belong to one connection and have no place in HTTP/3 (RFC 9114 §4.2).
const CONNECTION_FIELDS: [HeaderName; 3] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Writes a HEADERS frame with a status and fields.
pub(super) fn put_head(status: StatusCode, fields: &HeaderMap, buffer: &mut BytesMut) {
    put_section(buffer, |buffer| {
        put_status(status, buffer);
        put_fields(fields, buffer);
    });
}

/// Writes a HEADERS frame with trailer fields.
pub(super) fn put_trailers(fields: &HeaderMap, buffer: &mut BytesMut) {
    put_section(buffer, |buffer| put_fields(fields, buffer));
}

/// Writes a DATA frame's header.
pub(super) fn put_data_header(length: usize, buffer: &mut BytesMut) {
    buffer.put_u8(DATA);
    put_varint(u64::try_from(length).unwrap_or(u64::MAX), buffer);
}

/// Writes a DATA frame; returns its payload if it is to be sent behind the buffer as it is.
pub(super) fn put_data(payload: Bytes, buffer: &mut BytesMut) -> Option<Bytes> {
    put_data_header(payload.len(), buffer);
    if payload.len() > COPIED_BYTES_MAX {
        return Some(payload);
    }
    buffer.put_slice(&payload);
    None
}

fn put_section(buffer: &mut BytesMut, put: impl FnOnce(&mut BytesMut)) {
    let start = buffer.len();
    buffer.put_slice(&[0; HEADERS_HEADER_BYTES]);
    // Required insert count and base: nothing of the dynamic table (RFC 9204 §4.5.1).
    buffer.put_slice(&[0, 0]);
    put(buffer);
    let length = buffer.len() - start - HEADERS_HEADER_BYTES;
    // Four bytes hold 2^30: more than any header map.
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(header) = buffer.get_mut(start..start + HEADERS_HEADER_BYTES) {
        header.copy_from_slice(&[HEADERS, (a & 0x3f) | 0x80, b, c, d]);
    }
}

fn put_status(status: StatusCode, buffer: &mut BytesMut) {
    let index = match status.as_u16() {
        103 => 24,
        200 => 25,
        304 => 26,
        404 => 27,
        503 => 28,
        100 => 63,
        204 => 64,
        206 => 65,
        302 => 66,
        400 => 67,
        403 => 68,
        421 => 69,
        425 => 70,
        500 => 71,
        _ => {
            put_integer(STATUS_NAME, 4, 0x50, buffer);
            put_string(status.as_str().as_bytes(), buffer);
            return;
        }
    };
    put_integer(index, 6, 0xc0, buffer);
}

fn put_fields(fields: &HeaderMap, buffer: &mut BytesMut) {
    for (name, value) in fields {
        if !CONNECTION_FIELDS.contains(name) && name != "keep-alive" && name != "proxy-connection" {
            put_field(name, value, buffer);
        }
    }
}

fn put_field(name: &HeaderName, value: &HeaderValue, buffer: &mut BytesMut) {
    let name = name.as_str();
    match lookup(name, value.as_bytes()) {
        // Indexed field line, RFC 9204 §4.5.2.
        Known::Field(index) => put_integer(index, 6, 0xc0, buffer),
        // Literal with name reference, §4.5.4.
        Known::Name(index) => {
            put_integer(index, 4, 0x50, buffer);
            put_string(value.as_bytes(), buffer);
        }
        // Literal with literal name, §4.5.6.
        Known::Nothing => {
            put_integer(
                u64::try_from(name.len()).unwrap_or(u64::MAX),
                3,
                0x20,
                buffer,
            );
            buffer.put_slice(name.as_bytes());
            put_string(value.as_bytes(), buffer);
        }
    }
}

/// What the static table knows of a field.
enum Known {
    Field(u64),
    Name(u64),
    Nothing,
}

/// The fields of answers in RFC 9204 Appendix A.
fn lookup(name: &str, value: &[u8]) -> Known {
    let (fields, index): (&[(&[u8], u64)], u64) = match name {
        "age" => (&[(b"0", 2)], 2),
        "content-disposition" => (&[], 3),
        "content-length" => (&[(b"0", 4)], 4),
        "date" => (&[], 6),
        "etag" => (&[], 7),
        "last-modified" => (&[], 10),
        "link" => (&[], 11),
        "location" => (&[], 12),
        "set-cookie" => (&[], 14),
        "accept-ranges" => (&[(b"bytes", 32)], 32),
        "access-control-allow-headers" => (&[(b"*", 75)], 33),
        "access-control-allow-origin" => (&[(b"*", 35)], 35),
        "cache-control" => (
            &[(b"no-cache", 39), (b"no-store", 40), (b"max-age=0", 36)],
            36,
        ),
        "content-encoding" => (&[(b"br", 42), (b"gzip", 43)], 42),
        "content-type" => (CONTENT_TYPES, 44),
        "strict-transport-security" => (&[(b"max-age=31536000", 56)], 56),
        "vary" => (&[(b"accept-encoding", 59), (b"origin", 60)], 59),
        "x-content-type-options" => (&[(b"nosniff", 61)], 61),
        "access-control-allow-credentials" => (&[], 73),
        "access-control-allow-methods" => (&[], 76),
        "access-control-expose-headers" => (&[(b"content-length", 79)], 79),
        "alt-svc" => (&[(b"clear", 83)], 83),
        "content-security-policy" => (&[], 85),
        "server" => (&[], 92),
        "timing-allow-origin" => (&[(b"*", 93)], 93),
        "x-frame-options" => (&[(b"deny", 97), (b"sameorigin", 98)], 97),
        _ => return Known::Nothing,
    };
    let field = fields.iter().find(|(known, _)| *known == value);
    field.map_or(Known::Name(index), |(_, index)| Known::Field(*index))
}

const CONTENT_TYPES: &[(&[u8], u64)] = &[
    (b"application/javascript", 45),
    (b"application/json", 46),
    (b"image/gif", 48),
    (b"image/jpeg", 49),
    (b"image/png", 50),
    (b"text/css", 51),
    (b"text/html; charset=utf-8", 52),
    (b"text/plain", 53),
    (b"text/plain;charset=utf-8", 54),
];

/// RFC 9204 §4.1.2, without Huffman coding: it costs more time than the bytes are worth here.
fn put_string(value: &[u8], buffer: &mut BytesMut) {
    put_integer(u64::try_from(value.len()).unwrap_or(u64::MAX), 7, 0, buffer);
    buffer.put_slice(value);
}

/// A prefixed integer (RFC 7541 §5.1), below the bits of `pattern`.
fn put_integer(value: u64, prefix_bits: u32, pattern: u8, buffer: &mut BytesMut) {
    let full = (1_u64 << prefix_bits) - 1;
    let low = |value: u64| value.to_le_bytes()[0];
    if value < full {
        buffer.put_u8(pattern | low(value));
        return;
    }
    buffer.put_u8(pattern | low(full));
    let mut rest = value - full;
    while rest >= 0x80 {
        buffer.put_u8(low(rest) | 0x80);
        rest >>= 7;
    }
    buffer.put_u8(low(rest));
}

/// RFC 9000 §16.
fn put_varint(value: u64, buffer: &mut BytesMut) {
    match value {
        0..=0x3f => buffer.put_u8(value.to_le_bytes()[0]),
        0x40..=0x3fff => buffer.put_uint(value | 0x4000, 2),
        0x4000..=0x3fff_ffff => buffer.put_uint(value | 0x8000_0000, 4),
        _ => buffer.put_u64((value & 0x3fff_ffff_ffff_ffff) | 0xc000_0000_0000_0000),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn section(status: u16, fields: &[(&'static str, &str)]) -> Vec<u8> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        let mut buffer = BytesMut::new();
        put_head(StatusCode::from_u16(status).unwrap(), &map, &mut buffer);
        let length = buffer.len() - HEADERS_HEADER_BYTES;
        assert_eq!(buffer[0], HEADERS);
        assert_eq!(buffer[1] & 0xc0, 0x80);
        assert_eq!(usize::from(buffer[3]) << 8 | usize::from(buffer[4]), length);
        buffer[HEADERS_HEADER_BYTES + 2..].to_vec()
    }

    #[test]
    fn field_lines_are_those_of_the_rfc() {
        for (status, fields, expected) in [
            (200, &[][..], &[0xc0 | 25][..]),
            (304, &[], &[0xc0 | 26]),
            // 6-bit prefix, full at 63: RFC 7541 §5.1.
            (100, &[], &[0xff, 0]),
            (500, &[], &[0xff, 71 - 63]),
            // 4-bit prefix, full at 15.
            (201, &[], &[0x5f, 24 - 15, 3, b'2', b'0', b'1']),
            (200, &[("content-length", "0")], &[0xc0 | 25, 0xc4]),
            (200, &[("content-length", "1")], &[0xc0 | 25, 0x54, 1, b'1']),
            (
                200,
                &[("x-a", "b")],
                &[0xc0 | 25, 0x23, b'x', b'-', b'a', 1, b'b'],
            ),
            (
                200,
                &[("x-abcdef", "")],
                &[
                    0xc0 | 25,
                    0x27,
                    1,
                    b'x',
                    b'-',
                    b'a',
                    b'b',
                    b'c',
                    b'd',
                    b'e',
                    b'f',
                    0,
                ],
            ),
            (
                200,
                &[("connection", "close"), ("keep-alive", "1")],
                &[0xc0 | 25],
            ),
        ] {
            assert_eq!(section(status, fields), expected, "{status} {fields:?}");
        }
    }

    #[test]
    fn data_is_copied_when_it_is_small() {
        for (length, header, copied) in [
            (1, vec![0, 1], true),
            (63, vec![0, 63], true),
            (64, vec![0, 0x40, 64], true),
            (COPIED_BYTES_MAX, vec![0, 0x48, 0], true),
            (20_000, vec![0, 0x80, 0, 0x4e, 0x20], false),
        ] {
            let mut buffer = BytesMut::new();
            let rest = put_data(Bytes::from(vec![7; length]), &mut buffer);
            assert_eq!(buffer[..header.len()], header);
            assert_eq!(rest.is_none(), copied);
            assert_eq!(
                buffer.len() - header.len() + rest.map_or(0, |rest| rest.len()),
                length
            );
        }
    }
}
