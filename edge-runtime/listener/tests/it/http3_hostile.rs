//! What no HTTP/3 client would send, byte by byte over QUIC streams.

use brink_listener::Limits;
use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream, VarInt, WriteError};

use crate::harness::{Security, Server, within};
use crate::http3::{ask, connect, get, quic};

const EXCESSIVE_LOAD: u32 = 0x107;
const MEBI32: u64 = 32 * 1024 * 1024;

fn varint(value: u64) -> Vec<u8> {
    (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec()
}

fn frame_header(kind: u64, length: u64) -> Vec<u8> {
    [varint(kind), varint(length)].concat()
}

/// A HEADERS frame of a GET of `/`, as literals without Huffman coding.
fn head(extra: &[(&str, &str)]) -> Vec<u8> {
    // Prefix; :method GET, :scheme https, :path / of the static table.
    let mut block = vec![0, 0, 0xc0 | 17, 0xc0 | 23, 0xc0 | 1];
    for (name, value) in [(":authority", "localhost")].iter().chain(extra) {
        for (text, bits, pattern) in [(name, 3, 0x20_u8), (value, 7, 0)] {
            let full = (1_usize << bits) - 1;
            let length = text.len();
            if length < full {
                block.push(pattern | u8::try_from(length).unwrap());
            } else {
                block.push(pattern | u8::try_from(full).unwrap());
                let mut rest = length - full;
                while rest >= 0x80 {
                    block.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
                    rest >>= 7;
                }
                block.push(u8::try_from(rest).unwrap());
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    [frame_header(1, u64::try_from(block.len()).unwrap()), block].concat()
}

async fn open(connection: &Connection) -> (SendStream, RecvStream) {
    connection.open_bi().await.unwrap()
}

/// Writes until the peer stops it; returns the bytes that it took, and its code.
async fn flood(send: &mut SendStream, bytes_max: usize) -> (usize, Result<(), VarInt>) {
    let chunk = Bytes::from(vec![0_u8; 16 * 1024]);
    let mut written = 0;
    while written < bytes_max {
        match send.write_chunk(chunk.clone()).await {
            Ok(()) => written += chunk.len(),
            Err(WriteError::Stopped(code)) => return (written, Err(code)),
            Err(error) => panic!("{error}"),
        }
    }
    (written, Ok(()))
}

/// The status of the first HEADERS frame of an answer, where it is indexed or literal after `:status`.
async fn status(recv: &mut RecvStream) -> Result<String, quinn::ReadError> {
    let bytes = match within(recv.read_to_end(1 << 20)).await {
        Ok(bytes) => bytes,
        Err(quinn::ReadToEndError::Read(error)) => return Err(error),
        Err(error) => panic!("{error}"),
    };
    // Our frames have a four-byte length; then two bytes of prefix.
    let status = match bytes[7] {
        0xd9 => "200",
        0x5f => std::str::from_utf8(&bytes[10..13]).unwrap(),
        other => panic!("{other:#x}"),
    };
    Ok(status.to_owned())
}

#[tokio::test]
async fn frames_of_32_mib_are_stopped_at_the_cap() {
    let mut limits = Limits::default();
    limits.header_bytes_max = 64 * 1024;
    let window = usize::try_from(limits.stream_window_bytes).unwrap();
    let server = Server::start(Security::Tls, limits).await;
    let connection = quic(&server.client(), server.quic.unwrap()).await;
    for (kind, answer) in [
        (0x01, Some("431")),
        (0x21, None),
        (0x04, None),
        (0x0d, None),
    ] {
        let (mut send, mut recv) = open(&connection).await;
        send.write_all(&frame_header(kind, MEBI32)).await.unwrap();
        let (taken, stopped) = within(flood(&mut send, usize::try_from(MEBI32).unwrap())).await;
        assert_eq!(stopped, Err(VarInt::from_u32(EXCESSIVE_LOAD)), "{kind:#x}");
        // Nothing is read once the length is known: what we could write is what the window let out.
        assert!(
            taken <= window + 64 * 1024,
            "{kind:#x}: {taken} bytes taken"
        );
        match (status(&mut recv).await, answer) {
            (Ok(status), Some(expected)) => assert_eq!(status, expected),
            (Err(quinn::ReadError::Reset(code)), None) => {
                assert_eq!(code, VarInt::from_u32(EXCESSIVE_LOAD));
            }
            (found, _) => panic!("{kind:#x}: {found:?}"),
        }
    }
    // The connection was not the matter.
    let (mut send, mut recv) = open(&connection).await;
    send.write_all(&head(&[])).await.unwrap();
    send.finish().unwrap();
    assert_eq!(status(&mut recv).await.unwrap(), "200");
}

#[tokio::test]
async fn sections_that_unpack_over_the_limit_are_431() {
    let mut limits = Limits::default();
    limits.header_bytes_max = 8 * 1024;
    let server = Server::start(Security::Tls, limits).await;
    let connection = quic(&server.client(), server.quic.unwrap()).await;
    let value = "x".repeat(400);
    // As QPACK counts (32 bytes more a field) over the limit, as bytes below it.
    for (fields, expected) in [(2, "200"), (19, "431")] {
        let (mut send, mut recv) = open(&connection).await;
        send.write_all(&head(&vec![("x", value.as_str()); fields]))
            .await
            .unwrap();
        send.finish().unwrap();
        assert_eq!(status(&mut recv).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn noise_is_skipped_and_bounded() {
    let server = Server::start(Security::Tls, Limits::default()).await;
    let connection = quic(&server.client(), server.quic.unwrap()).await;
    let noise = [frame_header(0x21, 100), vec![7; 100]].concat();
    let (mut send, mut recv) = open(&connection).await;
    send.write_all(&[noise.clone(), head(&[]), noise.clone()].concat())
        .await
        .unwrap();
    send.finish().unwrap();
    assert_eq!(status(&mut recv).await.unwrap(), "200");

    let (mut send, _recv) = open(&connection).await;
    let endless = async {
        loop {
            if let Err(error) = send.write_all(&noise).await {
                return error;
            }
        }
    };
    let stopped = within(endless).await;
    assert_eq!(
        stopped,
        WriteError::Stopped(VarInt::from_u32(EXCESSIVE_LOAD))
    );
}

#[tokio::test]
async fn slow_and_unfinished_heads_end() {
    let mut limits = Limits::default();
    limits.header_ms_max = 200;
    let server = Server::start(Security::Tls, limits).await;
    let connection = quic(&server.client(), server.quic.unwrap()).await;
    let whole = head(&[]);
    let (part, _) = whole.split_at(12);
    let (mut send, mut recv) = open(&connection).await;
    send.write_all(part).await.unwrap();
    assert_eq!(status(&mut recv).await.unwrap(), "408");
    drop(send);
    // Finished without a request: RFC 9114 §4.1.
    let (mut send, mut recv) = open(&connection).await;
    send.finish().unwrap();
    let reset = status(&mut recv).await;
    assert_eq!(reset, Err(quinn::ReadError::Reset(VarInt::from_u32(0x10d))));
}

#[tokio::test]
async fn malformed_frames_end_the_stream_or_connection_and_nothing_else() {
    let server = Server::start(Security::Tls, Limits::default()).await;
    let data_first = [frame_header(0, 1), vec![1]].concat();
    let bad_qpack = [frame_header(1, 3), vec![0, 0, 0x80]].concat();
    let reserved = [frame_header(0x06, 1), vec![1]].concat();
    let twice = [head(&[]), frame_header(0x04, 0)].concat();
    let no_authority = [
        frame_header(1, 5),
        vec![0, 0, 0xc0 | 17, 0xc0 | 23, 0xc0 | 1],
    ]
    .concat();
    for bytes in [
        data_first,
        bad_qpack,
        reserved,
        twice,
        no_authority,
        head(&[("host", "other")]),
    ] {
        let connection = quic(&server.client(), server.quic.unwrap()).await;
        let (mut send, mut recv) = open(&connection).await;
        let _ = send.write_all(&bytes).await;
        let _ = send.finish();
        let found = within(recv.read_to_end(1 << 20)).await;
        assert!(found.is_err(), "{bytes:?}: {found:?}");
    }
    // An endless frame on the control stream.
    let connection = quic(&server.client(), server.quic.unwrap()).await;
    let mut control = connection.open_uni().await.unwrap();
    control
        .write_all(&[varint(0), frame_header(4, MEBI32)].concat())
        .await
        .unwrap();
    let closed = within(connection.closed()).await;
    assert!(
        matches!(closed, quinn::ConnectionError::ApplicationClosed(_)),
        "{closed}"
    );

    let mut sender = connect(&server).await;
    assert_eq!(ask(&mut sender, get("/")).await.unwrap().body, b"hello");
}
