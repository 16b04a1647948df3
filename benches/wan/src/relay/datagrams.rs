//! UDP relays: each datagram is a packet of the model.

use super::Shared;
use crate::{Error, model::Wan};
use std::{collections::HashMap, net::SocketAddr, sync::Arc};
use tokio::net::UdpSocket;

/// Largest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Clients of one relay; when there are more, all of them begin anew.
const CLIENTS_MAX: usize = 1_024;
/// What IPv4 and UDP add to a datagram (RFC 791, RFC 768), in bytes.
const HEAD_BYTES: u64 = 28;

/// A datagram under way, with the socket that sends it on.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    socket: Arc<UdpSocket>,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// Listens on `here`, which stands for `there`.
pub(super) async fn open(
    shared: Arc<Shared>,
    way: (usize, usize),
    here: SocketAddr,
    there: SocketAddr,
) -> Result<(), Error> {
    let socket = UdpSocket::bind(here).await;
    let socket = Arc::new(socket.map_err(Error::io(format!("UDP on {here}")))?);
    tokio::spawn(async move {
        let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            // An error is that of an earlier datagram to a port that is closed.
            let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
                continue;
            };
            if clients.len() >= CLIENTS_MAX {
                clients.clear();
            }
            let upstream = match clients.get(&client) {
                Some(upstream) => Arc::clone(upstream),
                None => {
                    let Ok(upstream) = UdpSocket::bind((super::address(way.0), 0)).await else {
                        continue;
                    };
                    let upstream = Arc::new(upstream);
                    let back = back(
                        Arc::clone(&shared),
                        way,
                        Arc::clone(&upstream),
                        Arc::clone(&socket),
                        client,
                    );
                    tokio::spawn(back);
                    clients.insert(client, Arc::clone(&upstream));
                    upstream
                }
            };
            offer(&shared, way, upstream, there, buffer.get(..length));
        }
    });
    Ok(())
}

/// Takes what comes back for one client.
async fn back(
    shared: Arc<Shared>,
    (from, to): (usize, usize),
    upstream: Arc<UdpSocket>,
    socket: Arc<UdpSocket>,
    client: SocketAddr,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        if let Ok((length, _)) = upstream.recv_from(&mut buffer).await {
            offer(
                &shared,
                (to, from),
                Arc::clone(&socket),
                client,
                buffer.get(..length),
            );
        }
        // Nobody but this task and datagrams under way has it: the client was given up.
        if Arc::strong_count(&upstream) == 1 {
            return;
        }
    }
}

fn offer(
    shared: &Shared,
    (from, to): (usize, usize),
    socket: Arc<UdpSocket>,
    receiver: SocketAddr,
    bytes: Option<&[u8]>,
) {
    let bytes = bytes.unwrap_or_default().to_vec();
    let size = bytes.len() as u64 + HEAD_BYTES;
    let datagram = Datagram {
        socket,
        to: receiver,
        bytes,
    };
    shared.wan().offer(from, to, datagram, size, shared.now());
    shared.tell();
}

/// Sends datagrams on when they are due.
pub(super) async fn deliver(shared: Arc<Shared>) {
    let mut changed = shared.changed.subscribe();
    loop {
        let (next, due) = {
            let mut wan: std::sync::MutexGuard<'_, Wan<Datagram>> = shared.wan();
            (wan.take(shared.now()), wan.next_due())
        };
        if let Some(delivery) = next {
            let datagram = delivery.packet;
            // A full socket loses it, as a network would.
            let _ = datagram.socket.try_send_to(&datagram.bytes, datagram.to);
            continue;
        }
        let timer = async {
            match due {
                Some(due) => shared.until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timer => {}
            outcome = changed.changed() => if outcome.is_err() { return },
        }
    }
}
