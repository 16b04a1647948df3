//! The sample modules and their data, brought to a running core with the tools that anybody has: `brink` and curl.

use crate::{curl::Control, guests, launch, platform::Site, seed};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{path::Path, process::Command};

/// Lines of one import.
const IMPORT_LINES: usize = 2_000;
/// The key that opens `/partner`; sample data, no secret.
pub const PARTNER_KEY: &str = "sample-partner-key";
/// Its SHA-256, with the name of who uses it: how the plugin `api-key` wants it.
const PARTNER_KEYS: &str =
    "keys=acme:97fb99e615b78ad0be90e73d4fc0ccb272622faa5851191bff43cedecdaab04a";

/// Modules in the order in which they are deployed, with what they may use and are told.
const MODULES: [(&str, &[&str]); 8] = [
    ("hello", &[]),
    ("inventory", &[]),
    ("place-order", &["--grant", "clock"]),
    ("orders", &["--grant", "clock", "--grant", "random"]),
    (
        "orders-by-customer",
        &[
            "--config",
            "source=stock",
            "--config",
            "target=orders-by-customer",
        ],
    ),
    ("fulfilment", &[]),
    ("fulfil", &[]),
    ("api-key", &["--config", PARTNER_KEYS]),
];

/// Names of the sample modules.
pub fn names() -> impl Iterator<Item = &'static str> {
    MODULES.iter().map(|(name, _)| *name)
}

/// Runs `brink` against the core.
///
/// # Errors
/// What `brink` says.
pub fn brink(site: &Site, control: &Control, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(&site.binaries.brink);
    command.args(arguments).current_dir(&site.data);
    command
        .env("BRINK_CONTROL", &control.url)
        .env("BRINK_CA", &control.ca);
    command.env("BRINK_TOKEN_FILE", site.token_file());
    let answer = launch::read(&mut command, &[])
        .with_context(|| format!("brink {}", arguments.join(" ")))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Publishes and deploys the sample modules, and sets their routes.
///
/// # Errors
/// One is missing or refused.
pub fn deploy(site: &Site, control: &Control, folder: &Path) -> Result<()> {
    for (name, options) in MODULES {
        let component = guests::component(folder, name)?;
        let component = component
            .to_str()
            .context("the path of a component is not UTF-8")?;
        brink(site, control, &["publish", component, "--name", name])?;
        brink(
            site,
            control,
            &[&["deploy", name, "--no-wait"], options].concat(),
        )?;
    }
    let route = [
        "routes", "set", "/partner", "--module", "hello", "--plugin", "api-key",
    ];
    brink(site, control, &route).map(drop)
}

/// Whether the sample data was imported into this core before, whole: its last record is there.
///
/// # Errors
/// The core does not answer.
pub fn are_imported(control: &Control) -> Result<bool> {
    let last = seed::customer_id(seed::CUSTOMERS - 1);
    let page = control.get(&format!("/v1/records/customers/{last}"))?;
    let entries = page.get("entries").and_then(Value::as_array);
    Ok(entries.is_some_and(|entries| !entries.is_empty()))
}

/// Imports the sample data; answers how many records there are.
///
/// # Errors
/// The core refuses them.
pub fn import(control: &Control) -> Result<u64> {
    let records = seed::records();
    let mut imported = 0;
    for part in records.chunks(IMPORT_LINES) {
        crate::interrupt::check()?;
        let body = seed::lines(part);
        let answer = control.post(
            "/v1/records/import",
            "application/x-ndjson",
            body.as_bytes(),
        )?;
        let answer: Value = serde_json::from_str(&answer).context("the import answered no JSON")?;
        imported += answer.get("imported").and_then(Value::as_u64).unwrap_or(0);
    }
    if imported != records.len() as u64 {
        bail!("{imported} of {} records were imported", records.len());
    }
    Ok(imported)
}
