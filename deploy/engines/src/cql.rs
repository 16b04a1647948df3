//! Just enough of the CQL native protocol (version 4) to ask a node whom it knows.

use crate::{PASSWORD, USER};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes.
const FRAME_BYTES_MAX: u32 = 1 << 20;
const REQUEST: u8 = 0x04;
const STARTUP: u8 = 0x01;
const READY: u8 = 0x02;
const AUTHENTICATE: u8 = 0x03;
const QUERY: u8 = 0x07;
const RESULT: u8 = 0x08;
const AUTH_RESPONSE: u8 = 0x0f;
const AUTH_SUCCESS: u8 = 0x10;
/// `Rows` in a result.
const ROWS: u32 = 2;
/// Flag in a result's metadata: one table for all columns; there are more pages.
const GLOBAL_TABLE: u32 = 1;

/// How many other nodes the one at `address` knows.
pub(crate) fn peers(address: SocketAddr) -> io::Result<usize> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut options = vec![0, 1];
    short_string(&mut options, "CQL_VERSION");
    short_string(&mut options, "3.0.0");
    let (mut code, _) = exchange(&mut stream, STARTUP, &options)?;
    if code == AUTHENTICATE {
        let secret = format!("\0{USER}\0{PASSWORD}");
        let mut body = Vec::new();
        long_bytes(&mut body, secret.as_bytes());
        (code, _) = exchange(&mut stream, AUTH_RESPONSE, &body)?;
    }
    if code != READY && code != AUTH_SUCCESS {
        return Err(unexpected("it did not let us in"));
    }
    let mut body = Vec::new();
    // The schema's version is there only once the node has been heard of in full.
    long_bytes(&mut body, b"SELECT schema_version FROM system.peers");
    body.extend([0, 1, 0]); // consistency ONE, no flags
    let (code, answer) = exchange(&mut stream, QUERY, &body)?;
    if code != RESULT {
        return Err(unexpected("it did not answer the query"));
    }
    known(&answer)
}

/// How many rows of one column hold something.
fn known(mut answer: &[u8]) -> io::Result<usize> {
    let body = &mut answer;
    if int(body)? != ROWS {
        return Err(unexpected("it did not give rows"));
    }
    let flags = int(body)?;
    let columns = int(body)?;
    if flags & !GLOBAL_TABLE != 0 || columns != 1 {
        return Err(unexpected("it gave other rows"));
    }
    let names = if flags & GLOBAL_TABLE != 0 { 3 } else { 0 };
    for _ in 0..names {
        let length = usize::from(short(body)?);
        take(body, length)?;
    }
    short(body)?; // the type: a UUID
    let rows = int(body)?;
    let mut count = 0;
    for _ in 0..rows {
        if let Ok(length) = usize::try_from(int(body)?.cast_signed()) {
            take(body, length)?;
            count += 1;
        }
    }
    Ok(count)
}

fn exchange(stream: &mut TcpStream, code: u8, body: &[u8]) -> io::Result<(u8, Vec<u8>)> {
    let mut frame = vec![REQUEST, 0, 0, 0, code];
    long_bytes(&mut frame, body);
    stream.write_all(&frame)?;
    let mut header = [0; 9];
    stream.read_exact(&mut header)?;
    let [_, _, _, _, code, length @ ..] = header;
    let length = u32::from_be_bytes(length);
    if length > FRAME_BYTES_MAX {
        return Err(unexpected("its answer is too long"));
    }
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer)?;
    Ok((code, answer))
}

fn short_string(into: &mut Vec<u8>, text: &str) {
    into.extend(u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
    into.extend(text.as_bytes());
}

fn long_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend(u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
    into.extend(bytes);
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> io::Result<&'a [u8]> {
    from.split_off(..count)
        .ok_or_else(|| unexpected("its answer ends early"))
}

fn int(from: &mut &[u8]) -> io::Result<u32> {
    let bytes = take(from, 4)?.first_chunk().copied().unwrap_or_default();
    Ok(u32::from_be_bytes(bytes))
}

fn short(from: &mut &[u8]) -> io::Result<u16> {
    let bytes = take(from, 2)?.first_chunk().copied().unwrap_or_default();
    Ok(u16::from_be_bytes(bytes))
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
