//! `brink-load`: clients that write, read and purge at several PoPs, note what they see, and hold it against the promises
//! of coherence (`brink_planet::checker`).
//!
//! The first line of standard input is the [`setup`]. When every PoP serves what is needed, `{"ready":{}}` is answered.
//! `{"note":"..."}` puts a line into the history, `{"finish":{}}` ends the load, waits for rest, checks, and answers with
//! a `result`. `brink-load check FILE` checks a history that an earlier run left. All lines are JSON.

mod answer;
mod client;
mod figures;
mod finish;
mod http3;
mod objects;
mod origin;
mod recorder;
mod registers;
mod setup;
mod shop;
mod world;

use brink_planet::checker::{self, Rules};
use serde::Deserialize;
use serde_json::{Value, json};
use setup::Setup;
use std::{
    io::{self, BufRead, Write},
    process::ExitCode,
    sync::Arc,
};
use tokio::{sync::mpsc, task::JoinSet};
use world::World;

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the setup: {0}")]
    Setup(String),
    #[error("{0}: {1}")]
    Io(String, io::Error),
    #[error(transparent)]
    History(#[from] brink_planet::history::Error),
    #[error("waited in vain for {0}")]
    Vain(String),
}

/// What can be asked while the load runs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    Note(String),
    Finish {},
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(),
        ["check", file] => check(file),
        _ => {
            eprintln!("usage: brink-load < SETUP\n       brink-load check FILE");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("brink-load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Checks a history; false: it breaks promises.
fn check(path: &str) -> Result<bool, Error> {
    let file = std::fs::File::open(path).map_err(|error| Error::Io(path.to_owned(), error))?;
    let events = brink_planet::history::read_lines(io::BufReader::new(file))?;
    let rules = Rules {
        bound_us: setup::BOUND_US,
    };
    let violations = checker::check(&events, rules);
    for violation in &violations {
        println!("{violation}");
    }
    println!("{} events, {} violations", events.len(), violations.len());
    Ok(violations.is_empty())
}

/// The result is in the answer; false: promises were broken.
fn run() -> Result<bool, Error> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Error::Io("standard input".to_owned(), error))?;
    let setup: Setup =
        serde_json::from_str(&line).map_err(|error| Error::Setup(error.to_string()))?;
    let orders = orders();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::Io("the runtime".to_owned(), error))?;
    let outcome = runtime.block_on(load(setup, orders));
    runtime.shutdown_background();
    outcome
}

/// Lines of standard input, read by a thread of their own; the channel ends with the input.
fn orders() -> mpsc::Receiver<Order> {
    let (sender, receiver) = mpsc::channel(64);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let Ok(order) = serde_json::from_str(&line) else {
                answer(&json!({"error": "no order"}));
                continue;
            };
            if sender.blocking_send(order).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn load(setup: Setup, mut orders: mpsc::Receiver<Order>) -> Result<bool, Error> {
    let world = Arc::new(World::open(setup).await?);
    tokio::spawn(origin::serve(Arc::clone(&world)).await?);
    tokio::select! {
        ready = world.ready(shop::records(world.setup.sessions)) => ready?,
        () = input_ended(&mut orders) => return Ok(false),
    }
    answer(&json!({"ready": {}}));
    let clients = start(&world);
    while let Some(order) = orders.recv().await {
        match order {
            Order::Note(text) => world.recorder.fault(text),
            Order::Finish {} => {
                let result = finish::finish(&world, clients).await?;
                answer(&json!({"result": result.json}));
                return Ok(result.is_good);
            }
        }
    }
    // Whoever started us is gone.
    Ok(false)
}

/// Starts all clients.
fn start(world: &Arc<World>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for number in 0..world.setup.sessions {
        clients.spawn(registers::session(Arc::clone(world)));
        if number % 3 == 0 {
            clients.spawn(shop::customer(Arc::clone(world), number));
        }
    }
    for pop in 0..world.pops.len() {
        for number in 0..world.setup.readers {
            clients.spawn(registers::reader(Arc::clone(world), pop));
            if number % 2 == 0 {
                clients.spawn(objects::reader(Arc::clone(world), pop));
            }
        }
    }
    clients.spawn(objects::purger(Arc::clone(world)));
    clients
}

async fn input_ended(orders: &mut mpsc::Receiver<Order>) {
    while orders.recv().await.is_some() {}
}

fn answer(value: &Value) {
    let mut output = io::stdout().lock();
    // Without anybody who reads there is nobody to tell.
    let _ = writeln!(output, "{value}").and_then(|()| output.flush());
}
