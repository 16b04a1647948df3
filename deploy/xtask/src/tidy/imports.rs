//! The import table of docs/architecture.md: which crate may import which of ours.

use super::Finding;
use anyhow::{Context, Result};
use serde_json::Value;

/// Crate, and those of ours that it may import.
const TABLE: [(&str, &[&str]); 10] = [
    ("brink-protocol", &[]),
    ("brink-policy", &["brink-protocol"]),
    ("brink-sandbox", &["brink-protocol"]),
    ("brink-listener", &[]),
    ("brink-telemetry", &[]),
    (
        "brink-edge",
        &[
            "brink-listener",
            "brink-policy",
            "brink-protocol",
            "brink-sandbox",
            "brink-telemetry",
        ],
    ),
    (
        "brink-core",
        &[
            "brink-listener",
            "brink-protocol",
            "brink-sandbox",
            "brink-telemetry",
        ],
    ),
    ("brink-sdk", &[]),
    ("brink-cli", &["brink-protocol"]),
    ("brink-engines", &[]),
];
/// May import anything of ours.
const FREE: [&str; 6] = [
    "brink-bench",
    "brink-fuzz",
    "brink-history",
    "brink-planet",
    "brink-wan",
    "xtask",
];
/// Tests alone may import it, of any crate.
const OF_TESTS: &str = "brink-engines";
/// What guests below `modules/` may import: the SDK, and libraries of their own room.
const GUEST_IMPORTS: [&str; 2] = ["sdk/rust", "modules"];

pub(super) fn check(metadata: &Value) -> Result<Vec<Finding>> {
    let root = metadata["workspace_root"]
        .as_str()
        .context("cargo metadata names no workspace root")?;
    let guests = root.ends_with("/modules");
    let mut findings = Vec::new();
    for package in metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?
    {
        if !package["source"].is_null() {
            continue;
        }
        let name = package["name"].as_str().unwrap_or_default();
        if FREE.contains(&name) {
            continue;
        }
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let base = if guests {
            root.trim_end_matches("/modules")
        } else {
            root
        };
        let place = manifest
            .strip_prefix(base)
            .unwrap_or(manifest)
            .trim_start_matches('/');
        let guest = place.starts_with("modules/");
        let row = TABLE.iter().find(|(row, _)| *row == name);
        if row.is_none() && !guest {
            findings.push(Finding::new(
                place,
                0,
                format!("{name} is not in the import table"),
            ));
            continue;
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let Some(path) = dependency["path"].as_str() else {
                continue;
            };
            let imported = dependency["name"].as_str().unwrap_or_default();
            let room = path
                .strip_prefix(base)
                .unwrap_or(path)
                .trim_start_matches('/');
            let allowed = match row {
                Some((_, allowed)) => allowed.contains(&imported),
                None => GUEST_IMPORTS
                    .iter()
                    .any(|import| room == *import || room.starts_with(&format!("{import}/"))),
            };
            let of_tests = imported == OF_TESTS && dependency["kind"] == "dev";
            if !allowed && !of_tests && imported != name {
                let message =
                    format!("{name} imports {imported}: the import table does not allow it");
                findings.push(Finding::new(place, 0, message));
            }
        }
    }
    Ok(findings)
}
