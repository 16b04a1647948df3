//! An origin that sends bytes as they are told, and a client that does the same.

use crate::harness::within;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};

/// What an origin does for a request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Sends this.
    Say(String),
    /// Waits for a permit of [`RawOrigin::go`].
    Wait,
    /// Closes the connection.
    Close,
}

/// Sends this.
pub(crate) fn say(text: &str) -> Step {
    Step::Say(text.into())
}

/// An origin over HTTP/1.1: requests are answered by their path.
pub(crate) struct RawOrigin {
    pub(crate) url: String,
    pub(crate) go: Arc<Semaphore>,
    heads: Arc<Mutex<Vec<String>>>,
    running: JoinHandle<()>,
}

impl Drop for RawOrigin {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl RawOrigin {
    pub(crate) async fn start(script: fn(&str) -> Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (go, heads) = (Arc::new(Semaphore::new(0)), Arc::default());
        let (permits, seen) = (Arc::clone(&go), Arc::clone(&heads));
        let running = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(
                    stream,
                    script,
                    Arc::clone(&permits),
                    Arc::clone(&seen),
                ));
            }
        });
        Self {
            url,
            go,
            heads,
            running,
        }
    }

    /// The heads of all requests so far, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(
    stream: TcpStream,
    script: fn(&str) -> Vec<Step>,
    go: Arc<Semaphore>,
    heads: Arc<Mutex<Vec<String>>>,
) {
    let mut stream = RawClient { stream };
    loop {
        let Some(mut head) = stream.read_head().await else {
            return;
        };
        if head.contains("transfer-encoding: chunked") {
            head += &stream.until("\r\n\r\n").await;
        }
        let path = head.split(' ').nth(1).unwrap().to_owned();
        heads.lock().unwrap().push(head);
        for step in script(&path) {
            match step {
                Step::Close => return,
                Step::Wait => go.acquire().await.unwrap().forget(),
                Step::Say(text) => {
                    if stream.stream.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// A connection without any knowledge of HTTP.
pub(crate) struct RawClient {
    stream: TcpStream,
}

impl RawClient {
    pub(crate) async fn connect(url: &str) -> Self {
        let address: SocketAddr = url.trim_start_matches("http://").parse().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        Self { stream }
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads, byte by byte, until what was read ends so.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        within(async {
            let mut read = Vec::new();
            while !read.ends_with(end.as_bytes()) {
                match self.stream.read_u8().await {
                    Ok(byte) => read.push(byte),
                    Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&read)),
                }
            }
            String::from_utf8(read).unwrap()
        })
        .await
    }

    /// The next head, in lower case; none if the connection has ended.
    async fn read_head(&mut self) -> Option<String> {
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            read.push(self.stream.read_u8().await.ok()?);
        }
        Some(String::from_utf8(read).unwrap().to_lowercase())
    }

    /// The next head, in lower case.
    pub(crate) async fn head(&mut self) -> String {
        within(self.read_head())
            .await
            .expect("the connection ended")
    }

    /// All until the connection ends.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = within(self.stream.read_to_end(&mut rest)).await;
        String::from_utf8(rest).unwrap()
    }

    /// Whether there is nothing to read just now.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }
}
