//! A small HTTP/1.1 origin behind the cache.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    thread,
};

/// Starts an origin on a free port, which it gives. `answer` makes lines of fields, and a body, of a request's first line.
pub(crate) fn start(answer: fn(&str) -> (String, String)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                while lines.next().is_some_and(|line| !line.is_empty()) {}
                let (fields, body) = answer(&first);
                let length = body.len();
                let _ = write!(
                    &stream,
                    "HTTP/1.1 200 OK\r\n{fields}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
                );
            });
        }
    });
    port
}
