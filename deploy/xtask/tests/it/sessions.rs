//! Reading one's own writes at another PoP: the sample flow, with nothing in the modules' sources for it.
//!
//! The PoP that is read from hears of changes late, by a relay that holds back what its core says. So what is stored
//! there is stale for a while after every order, and only the token can tell.

use crate::{
    clients::Curl,
    harness::{Stack, order, until},
};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

const ORDERS: u64 = 100;
const AVAILABILITY: &str = "/inventory/availability/A-1?warehouse=AMS1";
const LIST: &str = "/orders/C1";
/// On hand at the beginning; see `harness::records`.
const STOCK: u64 = 1_000;

/// A way to the core on which its words take longer.
struct Relay {
    address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
}

impl Relay {
    fn to(core: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let delay_ms = Arc::new(AtomicU64::new(0));
        let delay = Arc::clone(&delay_ms);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(core) {
                    carry(client, server, &delay);
                }
            }
        });
        Self { address, delay_ms }
    }

    fn hold_back(&self, ms: u64) {
        self.delay_ms.store(ms, Ordering::Relaxed);
    }
}

fn carry(client: TcpStream, server: TcpStream, delay_ms: &Arc<AtomicU64>) {
    let (mut to_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (mut from_client, mut from_server) = (client, server);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (later, waiting) = mpsc::channel::<(Instant, Vec<u8>)>();
    let delay_ms = Arc::clone(delay_ms);
    thread::spawn(move || {
        let mut piece = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from_server.read(&mut piece) {
            let delay = Duration::from_millis(delay_ms.load(Ordering::Relaxed));
            if later
                .send((Instant::now() + delay, piece[..length].to_vec()))
                .is_err()
            {
                break;
            }
        }
    });
    thread::spawn(move || {
        while let Ok((when, piece)) = waiting.recv() {
            thread::sleep(when.saturating_duration_since(Instant::now()));
            if to_client.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
}

/// A shop whose second PoP hears late.
fn shop() -> (Stack, Relay) {
    let mut stack = Stack::shop();
    let relay = Relay::to(stack.core.as_ref().unwrap().link);
    let (name, ports) = stack.kill_pop(1);
    let pop = stack
        .site
        .launch_pop(&name, &[relay.address], ports)
        .unwrap()
        .wait()
        .unwrap();
    stack.pops.insert(1, pop);
    stack.settled();
    (stack, relay)
}

/// What an order told: its id and the token.
struct Placed {
    id: String,
    token: String,
}

fn place(stack: &Stack, token: Option<&str>) -> Placed {
    let mut curl = stack.curl(0, "/orders").json(&order("A-1", 1));
    if let Some(token) = token {
        curl = curl.header(&format!("brink-session: {token}"));
    }
    let answer = curl.send().expect(201);
    let token = answer.header("brink-session").to_owned();
    assert!(!token.is_empty(), "{answer:?}");
    Placed {
        id: answer.json()["id"].as_str().unwrap().to_owned(),
        token,
    }
}

/// Answers over one connection: status, `Cache-Status`, body.
fn read_all(stack: &Stack, paths: &[String], field: &str) -> Vec<(u16, String, Value)> {
    const END: &str = "\u{1e}";
    let mut command = std::process::Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "60",
        "--header",
        field,
    ]);
    command.arg("--cacert").arg(stack.ca());
    command.arg("--write-out").arg(format!(
        "\u{1f}%{{http_code}}\u{1f}%header{{cache-status}}{END}"
    ));
    command.args(paths.iter().map(|path| stack.url(1, path)));
    let output = command.output().expect("curl starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<_> = text
        .split_terminator(END)
        .map(|answer| {
            let mut parts = answer.split('\u{1f}');
            let mut part = || parts.next().unwrap_or_default();
            let (body, status, cache) = (part(), part(), part());
            let body = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"));
            (status.parse().unwrap(), cache.to_owned(), body)
        })
        .collect();
    assert_eq!(answers.len(), paths.len(), "{text}");
    answers
}

/// Whether an answer shows the order with this number, or a later one.
fn shows(path: &str, status: u16, body: &Value, placed: &Placed, number: u64) -> bool {
    match path {
        AVAILABILITY => status == 200 && body["available"].as_u64() <= Some(STOCK - number),
        LIST => status == 200 && body["orders"][0]["id"] == placed.id.as_str(),
        _ => status == 200 && body["id"] == placed.id.as_str(),
    }
}

#[test]
fn an_order_is_seen_at_every_pop_by_who_placed_it() {
    let (stack, relay) = shop();
    // Without the token the other PoP is behind for a while: there is something to be seen through.
    relay.hold_back(700);
    let mut number = 0;
    let placed = until("a stale answer without a token", || {
        stack.get(1, LIST).expect(200);
        let placed = place(&stack, None);
        number += 1;
        let seen = stack.get(1, LIST).expect(200).json();
        (seen["orders"][0]["id"] != placed.id.as_str()).then_some(placed)
    });
    let field = format!("brink-session: {}", placed.token);
    let read = read_all(&stack, &[LIST.into(), AVAILABILITY.into()], &field);
    for ((status, cache, body), path) in read.iter().zip([LIST, AVAILABILITY]) {
        assert!(
            shows(path, *status, body, &placed, number),
            "{path}: {cache} {body}"
        );
    }

    relay.hold_back(30);
    let (mut fresh, mut readings, mut hits) = (0, 0, 0);
    let mut token = Some(placed.token);
    for _ in 0..ORDERS {
        let placed = place(&stack, token.as_deref());
        number += 1;
        let one = format!("{LIST}/{}", placed.id);
        let paths: Vec<String> = [AVAILABILITY, LIST, &one]
            .iter()
            .cycle()
            .take(10)
            .map(|path| (*path).to_owned())
            .collect();
        let field = format!("brink-session: {}", placed.token);
        for ((status, cache, body), path) in read_all(&stack, &paths, &field).iter().zip(&paths) {
            readings += 1;
            hits += u64::from(cache.contains("; hit"));
            if shows(path, *status, body, &placed, number) {
                fresh += 1;
            } else {
                eprintln!("order {number}, {path}: {status} {cache} {body}");
            }
        }
        token = Some(placed.token);
    }
    eprintln!("{fresh} of {readings} readings were fresh, {hits} of them hits");
    assert_eq!((fresh, readings), (ORDERS * 10, ORDERS * 10));
    assert!(hits > 0, "the cache does not take part");
}

/// A token with its last letter changed.
fn changed(token: &str) -> String {
    let last = if token.ends_with('A') { 'B' } else { 'A' };
    format!("{}{last}", &token[..token.len() - 1])
}

#[test]
fn tokens_are_taken_as_fields_and_cookies_and_only_if_they_are_whole() {
    let stack = Stack::shop();
    stack.get(1, LIST).expect(200);
    let placed = place(&stack, None);
    let read = |field: &str| -> Curl { stack.curl(1, LIST).header(field) };
    let cookie = format!("cookie: theme=dark; brink-session={}; a=b", placed.token);
    let answer = read(&cookie).send().expect(200);
    assert_eq!(answer.json()["orders"][0]["id"], placed.id.as_str());

    let middle = placed.token.len() / 2;
    for token in [
        changed(&placed.token),
        format!("{}{}", &placed.token[..middle], &placed.token[middle + 1..]),
        format!("{}AAAA", placed.token),
        "core-1.1=99999".to_owned(),
        "x".repeat(5_000),
    ] {
        let refused = read(&format!("brink-session: {token}")).send().problem(400);
        let kind = refused.json()["type"].as_str().unwrap().to_owned();
        assert!(kind.ends_with("/session-invalid"), "{kind}");
        // A browser cannot be told to drop it, so it is dropped for it.
        let kept = read(&format!("cookie: brink-session={token}"));
        let answer = kept.send().expect(200);
        let ended = answer.header("set-cookie");
        assert!(
            ended.starts_with("brink-session=;") && ended.contains("Max-Age=0"),
            "{answer:?}"
        );
    }
    let twice = read(&format!("brink-session: {}", placed.token))
        .header(&format!("brink-session: {}", placed.token));
    twice.send().problem(400);

    // Cookies of others taint nothing that does not look at them, and the token's own never does.
    stack.get(1, AVAILABILITY).expect(200);
    let any = stack
        .curl(1, AVAILABILITY)
        .header(&cookie)
        .send()
        .expect(200);
    assert!(any.is_hit(), "{any:?}");
    let any = stack.curl(1, AVAILABILITY).header("cookie: _ga=1.2").send();
    assert!(any.expect(200).is_hit());
}
