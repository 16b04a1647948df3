//! TCP relays: bytes take their time, and wait while a way is cut.

use super::Shared;
use crate::Error;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 16 << 10;
/// Pieces under way on one direction of a connection; then its reader waits, and so does the sender.
const PIECES_MAX: usize = 256;

/// Listens on `here`, which stands for `there`.
pub(super) async fn open(
    shared: Arc<Shared>,
    way: (usize, usize),
    here: SocketAddr,
    there: SocketAddr,
) -> Result<(), Error> {
    let listener = TcpListener::bind(here).await;
    let listener = listener.map_err(Error::io(format!("TCP on {here}")))?;
    tokio::spawn(async move {
        loop {
            // Without descriptors there is nothing to do but to try again.
            let Ok((client, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            tokio::spawn(connect(Arc::clone(&shared), way, client, there));
        }
    });
    Ok(())
}

async fn connect(
    shared: Arc<Shared>,
    (from, to): (usize, usize),
    client: TcpStream,
    there: SocketAddr,
) {
    // The handshake: one way and back.
    let due = shared.stream((from, to), 40).await;
    shared.until(due).await;
    let Ok(server) = TcpStream::connect(there).await else {
        return;
    };
    let due = shared.stream((to, from), 40).await;
    shared.until(due).await;
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        direction(&shared, (from, to), from_client, to_server),
        direction(&shared, (to, from), from_server, to_client),
    );
}

async fn direction(
    shared: &Shared,
    way: (usize, usize),
    mut source: OwnedReadHalf,
    mut sink: OwnedWriteHalf,
) {
    let (pieces, mut under_way) = mpsc::channel::<(Duration, Vec<u8>)>(PIECES_MAX);
    let read = async move {
        let mut last = Duration::ZERO;
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let length = source.read(&mut piece).await.unwrap_or(0);
            piece.truncate(length);
            let due = shared.stream(way, length as u64).await.max(last);
            last = due;
            // The end of a stream takes as long as its bytes.
            if pieces.send((due, piece)).await.is_err() || length == 0 {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = under_way.recv().await {
            shared.until(due).await;
            if shared
                .wan()
                .path(way.0, way.1)
                .is_some_and(|path| path.is_cut)
            {
                // Lost on the way; sent again when it is healed.
                let due = shared.stream(way, piece.len() as u64).await;
                shared.until(due).await;
            }
            if piece.is_empty() || sink.write_all(&piece).await.is_err() {
                break;
            }
        }
        let _ = sink.shutdown().await;
    };
    tokio::join!(read, write);
}
