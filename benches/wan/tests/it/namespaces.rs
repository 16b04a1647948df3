//! UDP and TCP between namespaces. Where they are not permitted, these tests say so and try nothing.

use crate::{WITHIN, cut, delay, heal, plan, way};
use brink_wan::{Error, Kind, Network, Place, model::Path, plan::Order};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    time::{Duration, Instant},
};

const PORT: u16 = 9_000;

fn network(path: Path) -> Option<Network> {
    match Network::open_as(plan(PORT, path), Kind::Namespaces) {
        Ok(network) => Some(network),
        Err(Error::Namespaces(reason)) => {
            eprintln!("namespaces are not permitted here, not tried: {reason}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Does something inside the namespace of a node, where sockets stay that are made there.
fn inside<T: Send>(place: &Place, act: impl FnOnce() -> T + Send) -> T {
    let name = place.enter.last().unwrap();
    let file = File::open(format!("/run/netns/{name}")).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            act()
        });
        thread.join().unwrap()
    })
}

/// A UDP socket at each node.
fn datagrams(network: &Network) -> (UdpSocket, UdpSocket) {
    let places = network.places();
    let (a, b) = (places[0].clone(), places[1].clone());
    let bind = |place: &Place| inside(place, || UdpSocket::bind((place.address, PORT)).unwrap());
    let (first, second) = (bind(&a), bind(&b));
    for socket in [&first, &second] {
        socket.set_read_timeout(Some(WITHIN)).unwrap();
    }
    first.connect((a.reaches["b"], PORT)).unwrap();
    second.connect((b.reaches["a"], PORT)).unwrap();
    (first, second)
}

fn received(socket: &UdpSocket) -> String {
    let mut buffer = [0; 100];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn packets_take_their_time() {
    let Some(network) = network(delay(60)) else {
        return;
    };
    let (a, b) = datagrams(&network);
    let begun = Instant::now();
    a.send(b"there").unwrap();
    assert_eq!(received(&b), "there");
    assert!(
        begun.elapsed() >= Duration::from_millis(60),
        "{:?}",
        begun.elapsed()
    );
    b.send(b"back").unwrap();
    assert_eq!(received(&a), "back");
    assert!(
        begun.elapsed() >= Duration::from_millis(120),
        "{:?}",
        begun.elapsed()
    );
    // From now on it is quick one way.
    let mut quick = way(Path::default());
    quick.both = false;
    network.obey(&Order::Set(quick)).unwrap();
    let begun = Instant::now();
    a.send(b"again").unwrap();
    assert_eq!(received(&b), "again");
    b.send(b"and back").unwrap();
    assert_eq!(received(&a), "and back");
    assert!(begun.elapsed() >= Duration::from_millis(60));
}

#[test]
fn a_cut_way_carries_nothing_until_it_is_healed() {
    let Some(network) = network(Path::default()) else {
        return;
    };
    let (a, b) = datagrams(&network);
    a.send(b"1").unwrap();
    assert_eq!(received(&b), "1");
    network.obey(&cut(false)).unwrap();
    a.send(b"2").unwrap();
    // The way back is there: what comes over it was sent after the lost one was read from its device.
    b.send(b"still").unwrap();
    assert_eq!(received(&a), "still");
    network.obey(&heal()).unwrap();
    a.send(b"3").unwrap();
    assert_eq!(received(&b), "3", "what was sent meanwhile is lost");
    assert_eq!(network.obey(&Order::Counts {}).unwrap().cut, 1);
}

#[test]
fn duplicates_and_losses() {
    let Some(network) = network(Path {
        duplicate: 1.0,
        ..Path::default()
    }) else {
        return;
    };
    let (a, b) = datagrams(&network);
    a.send(b"twice").unwrap();
    assert_eq!(
        (received(&b), received(&b)),
        ("twice".to_owned(), "twice".to_owned())
    );
    network
        .obey(&Order::Set(way(Path {
            loss: 1.0,
            ..Path::default()
        })))
        .unwrap();
    a.send(b"lost").unwrap();
    // The order after it is carried out when the packet was read, or before: either way it is lost or not at all.
    while network.obey(&Order::Counts {}).unwrap().lost == 0 {
        std::thread::yield_now();
    }
    network.obey(&Order::Set(way(Path::default()))).unwrap();
    a.send(b"kept").unwrap();
    assert_eq!(received(&b), "kept");
}

#[test]
fn held_packets_are_overtaken() {
    let path = Path {
        reorder: 0.5,
        held_us: 20_000,
        ..Path::default()
    };
    let Some(network) = network(path) else { return };
    let (a, b) = datagrams(&network);
    for number in 0..20_u8 {
        a.send(&[b'a' + number]).unwrap();
    }
    let arrived: Vec<String> = (0..20).map(|_| received(&b)).collect();
    assert!(!arrived.is_sorted(), "{arrived:?}");
}

#[test]
fn a_stream_survives_loss_reordering_and_a_cut() {
    let path = Path {
        delay_us: 3_000,
        jitter_us: 2_000,
        loss: 0.02,
        duplicate: 0.01,
        reorder: 0.05,
        held_us: 2_000,
        bytes_per_second: 20_000_000,
        ..Path::default()
    };
    let Some(network) = network(path) else { return };
    let places = network.places();
    let listener = inside(&places[1], || {
        TcpListener::bind((places[1].address, PORT)).unwrap()
    });
    let mut sent = inside(&places[0], || {
        TcpStream::connect((places[0].reaches["b"], PORT)).unwrap()
    });
    let (mut taken, _) = listener.accept().unwrap();
    taken.set_read_timeout(Some(WITHIN)).unwrap();
    let text: Vec<u8> = (0..300_000_u32)
        .map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1])
        .collect();
    let expected = text.clone();
    let writer = std::thread::spawn(move || {
        sent.write_all(&text[..100_000]).unwrap();
        sent.write_all(&text[100_000..]).unwrap();
    });
    let mut arrived = vec![0; 50_000];
    taken.read_exact(&mut arrived).unwrap();
    network.obey(&cut(true)).unwrap();
    assert!(network.obey(&Order::Counts {}).unwrap().delivered > 0);
    network.obey(&heal()).unwrap();
    let mut rest = vec![0; 250_000];
    taken.read_exact(&mut rest).unwrap();
    arrived.extend(rest);
    writer.join().unwrap();
    assert!(arrived == expected, "the stream changed on its way");
    assert!(network.obey(&Order::Counts {}).unwrap().lost > 0);
}

#[test]
fn namespaces_are_gone_with_their_network() {
    let Some(network) = network(Path::default()) else {
        return;
    };
    let names: Vec<String> = network
        .places()
        .into_iter()
        .map(|place| place.enter[3].clone())
        .collect();
    let there = |name: &String| std::path::Path::new("/run/netns").join(name).exists();
    assert!(names.iter().all(there), "{names:?}");
    drop(network);
    assert!(!names.iter().any(there), "{names:?}");
}
