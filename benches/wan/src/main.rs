//! `brink-wan`: makes a network and changes it as it is told, until its standard input ends.
//!
//! The first line of standard input is the plan; the answer says where the nodes are. Each further line is an order; its
//! answer holds the counts, or what is wrong with it. All lines are JSON.

use brink_wan::{
    Error, Kind, Network,
    plan::{Order, Plan},
};
use serde_json::{Value, json};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    io::{self, BufRead, Write},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

const USAGE: &str = "usage: brink-wan [--relays]
Reads a plan and then orders from standard input, one JSON text a line, and answers each with a line:
  {\"seed\": 1, \"nodes\": [{\"name\": \"ams\"}, {\"name\": \"sfo\"}], \"ways\": [{\"from\": \"ams\", \"to\": \"sfo\", \"both\": true, \"path\": {\"delay_us\": 70000}}]}
  {\"set\": {\"from\": \"ams\", \"to\": \"sfo\", \"path\": {\"delay_us\": 9000, \"loss\": 0.01}}}
  {\"cut\": {\"from\": \"ams\", \"to\": \"sfo\", \"both\": true}}
  {\"heal\": {\"from\": \"ams\", \"to\": \"sfo\", \"both\": true}}
  {\"counts\": {}}
--relays: relays on loopback, even where namespaces are permitted.";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let kind = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => None,
        (Some("--relays"), None) => Some(Kind::Relays),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(kind) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("brink-wan: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(kind: Option<Kind>) -> Result<(), Error> {
    let mut input = io::stdin().lock();
    let Some(line) = line(&mut input)? else {
        return Ok(());
    };
    let plan: Plan = serde_json::from_str(&line).map_err(|error| Error::Plan(error.to_string()))?;
    let network = match kind {
        Some(kind) => Network::open_as(plan, kind)?,
        None => Network::open(plan)?,
    };
    answer(&json!({"ready": {"kind": network.kind(), "nodes": network.places()}}))?;
    let network = Arc::new(Mutex::new(Some(network)));
    end_at_signals(Arc::clone(&network))?;
    let outcome = converse(&mut input, &network);
    // The thread that waits for signals has it too.
    drop(
        network
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(),
    );
    outcome
}

fn converse(input: &mut impl BufRead, network: &Mutex<Option<Network>>) -> Result<(), Error> {
    while let Some(line) = line(input)? {
        let network = network.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(network) = &*network else {
            return Err(Error::Ended);
        };
        answer(&obey(network, &line))?;
    }
    Ok(())
}

/// A signal ends the network in good order: namespaces would outlive us.
fn end_at_signals(network: Arc<Mutex<Option<Network>>>) -> Result<(), Error> {
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]);
    let mut signals = signals.map_err(|source| Error::Io {
        subject: "signals".to_owned(),
        source,
    })?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            drop(
                network
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            );
            std::process::exit(130);
        }
    });
    Ok(())
}

fn obey(network: &Network, line: &str) -> Value {
    let order: Order = match serde_json::from_str(line) {
        Ok(order) => order,
        Err(error) => return json!({"error": error.to_string()}),
    };
    match network.obey(&order) {
        Ok(counts) => json!({"counts": counts}),
        Err(error) => json!({"error": error.to_string()}),
    }
}

/// The next line that is not empty; none at the end.
fn line(input: &mut impl BufRead) -> Result<Option<String>, Error> {
    loop {
        let mut line = String::new();
        let length = io::Read::take(&mut *input, LINE_BYTES_MAX).read_line(&mut line);
        match length {
            Ok(0) => return Ok(None),
            Ok(_) if line.trim().is_empty() => {}
            Ok(_) => return Ok(Some(line)),
            Err(source) => {
                let subject = "standard input".to_owned();
                return Err(Error::Io { subject, source });
            }
        }
    }
}

fn answer(value: &Value) -> Result<(), Error> {
    let mut output = io::stdout().lock();
    let written = writeln!(output, "{value}").and_then(|()| output.flush());
    written.map_err(|source| Error::Io {
        subject: "standard output".to_owned(),
        source,
    })
}
