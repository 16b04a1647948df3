//! `docs/configuration.md`: every key of both configuration files, read out of the types that hold them.
//!
//! `cargo xtask docs` writes it; `cargo xtask tidy` refuses one that is out of date.

use anyhow::{Context as _, Result};
use std::{fmt::Write as _, fs, path::Path};

/// Where the reference is kept, below the root of the repository.
pub const PATH: &str = "docs/configuration.md";

/// One table of a configuration file.
struct Section {
    /// Its name; empty for the keys before the first table.
    name: &'static str,
    /// The type that holds it.
    holder: &'static str,
    /// Where that type is.
    source: &'static str,
    /// Keys that the program sets itself.
    hidden: &'static [&'static str],
}

const fn section(name: &'static str, holder: &'static str, source: &'static str) -> Section {
    Section {
        name,
        holder,
        source,
        hidden: &[],
    }
}

const EDGE: &str = "edge-runtime/src/config/mod.rs";
const CORE: &str = "regional-core/src/config.rs";
const STORE: &str = "regional-core/src/config/store.rs";
const KAFKA: &str = "regional-core/src/config/kafka.rs";
const TELEMETRY: Section = Section {
    name: "telemetry",
    holder: "Config",
    source: "edge-runtime/telemetry/src/config.rs",
    hidden: &["service", "node"],
};
const SANDBOX: Section = section("sandbox", "Config", "edge-runtime/sandbox/src/config.rs");

/// The programs, each with the tables of its file.
const PROGRAMS: [(&str, &[Section]); 2] = [
    (
        "brink-edge run",
        &[
            section("", "File", EDGE),
            section("listen", "Listen", EDGE),
            section("limits", "Limits", "edge-runtime/listener/src/config.rs"),
            section("admin", "Admin", EDGE),
            section("core", "Core", EDGE),
            section("admission", "Admission", EDGE),
            Section {
                name: "cache",
                holder: "Config",
                source: "edge-runtime/src/cache/config.rs",
                hidden: &["follows_feed", "asks_shields", "coherence"],
            },
            section(
                "records",
                "Config",
                "edge-runtime/src/modules/record_cache.rs",
            ),
            SANDBOX,
            section("origin", "Config", "edge-runtime/src/origin/config.rs"),
            section("egress", "Egress", EDGE),
            TELEMETRY,
            section("access", "Access", EDGE),
        ],
    ),
    (
        "brink-core",
        &[
            section("", "Config", CORE),
            section("control", "ControlConfig", CORE),
            section("link", "LinkConfig", CORE),
            section("admin", "AdminConfig", CORE),
            Section {
                name: "store",
                holder: "StoreConfig",
                source: STORE,
                hidden: &["cql"],
            },
            section("store.cql", "CqlConfig", STORE),
            section("feed", "FeedConfig", CORE),
            SANDBOX,
            section(
                "ceilings",
                "Ceilings",
                "regional-core/src/deployments/plan.rs",
            ),
            section(
                "purges",
                "PurgesConfig",
                "regional-core/src/purges/order.rs",
            ),
            section(
                "workflows",
                "WorkflowsConfig",
                "regional-core/src/workflows/settings.rs",
            ),
            section(
                "projections",
                "ProjectionsConfig",
                "regional-core/src/projections/settings.rs",
            ),
            section(
                "backup",
                "BackupConfig",
                "regional-core/src/backup/service.rs",
            ),
            section("archive", "ArchiveConfig", "regional-core/src/archive.rs"),
            section("prober", "ProberConfig", "regional-core/src/prober.rs"),
            Section {
                name: "kafka",
                holder: "KafkaConfig",
                source: KAFKA,
                hidden: &["send", "receive"],
            },
            section("[kafka.send]", "SendConfig", KAFKA),
            section("[kafka.receive]", "ReceiveConfig", KAFKA),
            TELEMETRY,
        ],
    ),
];

/// One key as its type documents it.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    name: String,
    text: String,
    default: Option<String>,
}

/// Writes the reference.
///
/// # Errors
/// A source cannot be read, or the file not be written.
pub fn run(root: &Path) -> Result<()> {
    let path = root.join(PATH);
    fs::write(&path, reference(root)?).with_context(|| path.display().to_string())
}

/// The reference as Markdown: a section for each table, a row for each key.
///
/// # Errors
/// A source cannot be read, or has no such type.
pub fn reference(root: &Path) -> Result<String> {
    let mut markdown = String::from(
        "# Configuration\n\nMade by `cargo xtask docs` from the types that hold the configuration.\n\n\
         Both files are TOML, given with `--config FILE`. Unknown keys are mistakes; all mistakes are reported together. Flags go before the file.\n",
    );
    for (program, sections) in PROGRAMS {
        let _ = write!(markdown, "\n## `{program}`\n");
        for section in sections {
            let source = fs::read_to_string(root.join(section.source)).context(section.source)?;
            let keys = keys(&source, section.holder);
            anyhow::ensure!(
                !keys.is_empty(),
                "{}: no {} with keys",
                section.source,
                section.holder
            );
            if !section.name.is_empty() {
                let _ = write!(markdown, "\n### `[{}]`\n", section.name);
            }
            markdown.push_str("\n| key | meaning |\n|---|---|\n");
            let is_table =
                |key: &Key| section.name.is_empty() && sections.iter().any(|s| s.name == key.name);
            let is_hidden = |key: &Key| section.hidden.contains(&key.name.as_str());
            for key in keys.iter().filter(|key| !is_table(key) && !is_hidden(key)) {
                let default = key.default.as_ref().map(|d| format!(" Default `{d}`."));
                let default = default.unwrap_or_default();
                let _ = writeln!(markdown, "| `{}` | {}{default} |", key.name, key.text);
            }
        }
    }
    Ok(markdown)
}

/// The documented fields of `holder` in `source`: of a struct, or of a macro that makes one (`name: type = default`).
fn keys(source: &str, holder: &str) -> Vec<Key> {
    let opening = format!("pub struct {holder} {{");
    let macro_opening = format!("{}! {{", holder.to_lowercase());
    let lines = source
        .lines()
        .skip_while(|line| **line != *opening && **line != *macro_opening)
        .skip(1)
        .take_while(|line| !line.starts_with('}'));
    let mut keys = Vec::new();
    let mut text: Vec<&str> = Vec::new();
    for line in lines.map(str::trim) {
        if let Some(doc) = line.strip_prefix("///") {
            text.push(doc.trim());
        } else if let Some((field, rest)) = line.trim_start_matches("pub ").split_once(':') {
            let default = rest
                .split_once(" = ")
                .map(|(_, d)| d.trim_end_matches(',').replace('_', ""));
            keys.push(Key {
                name: field.to_owned(),
                text: plain(&text.join(" ")),
                default,
            });
            text.clear();
        }
    }
    keys
}

/// Without links to items, which lead nowhere outside of rustdoc, and fit for a cell of a table.
fn plain(text: &str) -> String {
    let mut text = text
        .replace("[`", "`")
        .replace("`]", "`")
        .replace('|', "\\|");
    while let Some(start) = text.find("`(Self::") {
        let end = text[start..]
            .find(')')
            .map_or(text.len(), |at| start + at + 1);
        text.replace_range(start + 1..end, "");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_of_a_struct_and_of_a_macro() {
        let source = "/// X.\npub struct Config {\n    /// First |\n    /// [`line`](Self::line).\n    pub a: u32,\n}\nlimits! {\n    /// Bytes.\n    b: u64 = 1_000,\n}\n";
        let key = |name: &str, text: &str, default: Option<&str>| Key {
            name: name.into(),
            text: text.into(),
            default: default.map(Into::into),
        };
        assert_eq!(
            keys(source, "Config"),
            [key("a", "First \\| `line`.", None)]
        );
        assert_eq!(keys(source, "Limits"), [key("b", "Bytes.", Some("1000"))]);
    }

    #[test]
    fn every_key_says_something_and_none_that_the_program_sets_is_shown() {
        let reference = reference(&crate::repository_root()).unwrap();
        for line in reference.lines().filter(|line| line.starts_with("| `")) {
            assert!(line.len() > 24, "{line}");
        }
        for line in [
            "## `brink-edge run`",
            "### `[store]`",
            "| `drain_ms_max` | Time from the stop signal",
        ] {
            assert!(reference.contains(line), "{line}\n{reference}");
        }
        for hidden in [
            "follows_feed",
            "asks_shields",
            "| `listen` | Where",
            "| `node` | Which",
        ] {
            assert!(!reference.contains(hidden), "{hidden}");
        }
    }
}
