//! TCP and UDP through relays on loopback.

use crate::{WITHIN, cut, delay, heal, plan};
use brink_wan::{Kind, Network, model::Path, plan::Order};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

fn network(port: u16, path: Path) -> Network {
    Network::open_as(plan(port, path), Kind::Relays).unwrap()
}

/// A port that is free now.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn datagrams_take_their_time_and_are_lost_while_cut() {
    let port = port();
    let network = network(port, delay(30));
    let places = network.places();
    let b = UdpSocket::bind((places[1].address, port)).unwrap();
    let a = UdpSocket::bind((places[0].address, 0)).unwrap();
    for socket in [&a, &b] {
        socket.set_read_timeout(Some(WITHIN)).unwrap();
    }
    a.connect((places[0].reaches["b"], port)).unwrap();
    let mut buffer = [0; 10];
    let begun = Instant::now();
    a.send(b"1").unwrap();
    let (_, from) = b.recv_from(&mut buffer).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(30));
    b.send_to(b"2", from).unwrap();
    a.recv(&mut buffer).unwrap();
    assert_eq!(buffer[0], b'2');
    assert!(begun.elapsed() >= Duration::from_millis(60));

    network.obey(&cut(false)).unwrap();
    a.send(b"3").unwrap();
    while network.obey(&Order::Counts {}).unwrap().cut == 0 {
        std::thread::yield_now();
    }
    network.obey(&heal()).unwrap();
    a.send(b"4").unwrap();
    b.recv_from(&mut buffer).unwrap();
    assert_eq!(buffer[0], b'4');
}

#[test]
fn streams_take_their_time_and_wait_while_cut() {
    let port = port();
    let network = network(port, delay(20));
    let places = network.places();
    let listener = TcpListener::bind((places[1].address, port)).unwrap();
    let begun = Instant::now();
    let mut a = TcpStream::connect((places[0].reaches["b"], port)).unwrap();
    a.write_all(b"1").unwrap();
    let (mut b, _) = listener.accept().unwrap();
    b.set_read_timeout(Some(WITHIN)).unwrap();
    let mut byte = [0];
    b.read_exact(&mut byte).unwrap();
    assert!(
        begun.elapsed() >= Duration::from_millis(60),
        "a handshake, then the byte: {:?}",
        begun.elapsed()
    );

    network.obey(&cut(true)).unwrap();
    a.write_all(b"2").unwrap();
    b.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(b.read_exact(&mut byte).is_err(), "it went through a cut");
    b.set_read_timeout(Some(WITHIN)).unwrap();
    network.obey(&heal()).unwrap();
    b.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"2", "what waited arrives");
    drop(a);
    assert_eq!(
        b.read(&mut byte).unwrap(),
        0,
        "the end of the stream arrives"
    );
}

#[test]
fn a_large_stream_arrives_whole() {
    let port = port();
    let network = network(
        port,
        Path {
            delay_us: 1_000,
            jitter_us: 1_000,
            ..Path::default()
        },
    );
    let places = network.places();
    let listener = TcpListener::bind((places[1].address, port)).unwrap();
    let mut a = TcpStream::connect((places[0].reaches["b"], port)).unwrap();
    let text: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let expected = text.clone();
    let writer = std::thread::spawn(move || a.write_all(&text).unwrap());
    let (mut b, _) = listener.accept().unwrap();
    b.set_read_timeout(Some(WITHIN)).unwrap();
    let mut arrived = Vec::new();
    b.read_to_end(&mut arrived).unwrap();
    writer.join().unwrap();
    assert!(arrived == expected);
}
