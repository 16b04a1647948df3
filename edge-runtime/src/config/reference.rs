//! The configuration reference, read out of the types that hold the configuration.

use std::fmt::Write as _;

/// The sections of the file: their name, the type that holds them, the source of that type.
const SECTIONS: [(&str, &str, &str); 12] = [
    ("", "File", include_str!("mod.rs")),
    ("listen", "Listen", include_str!("mod.rs")),
    (
        "limits",
        "Limits",
        include_str!("../../listener/src/config.rs"),
    ),
    ("admin", "Admin", include_str!("mod.rs")),
    ("core", "Core", include_str!("mod.rs")),
    ("admission", "Admission", include_str!("mod.rs")),
    ("cache", "Config", include_str!("../cache/config.rs")),
    (
        "sandbox",
        "Config",
        include_str!("../../sandbox/src/config.rs"),
    ),
    ("origin", "Config", include_str!("../origin/config.rs")),
    ("egress", "Egress", include_str!("mod.rs")),
    (
        "telemetry",
        "Config",
        include_str!("../../telemetry/src/config.rs"),
    ),
    ("access", "Access", include_str!("mod.rs")),
];

/// One key as its type documents it.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    name: String,
    text: String,
    default: Option<String>,
}

/// The reference as Markdown: a section for each table of the file, a row for each key.
#[must_use]
pub fn reference() -> String {
    let mut markdown = String::from(
        "# Configuration of `brink-edge run`\n\nTOML, given with `--config FILE`. Unknown keys are mistakes. Flags go before the file.\n",
    );
    for (section, name, source) in SECTIONS {
        let keys = keys(source, name);
        let rows: Vec<&Key> = keys
            .iter()
            .filter(|key| !is_section(section, key))
            .collect();
        if section.is_empty() {
            markdown.push_str("\n## Top level\n\n");
        } else {
            let _ = write!(markdown, "\n## `[{section}]`\n\n");
        }
        markdown.push_str("| key | meaning |\n|---|---|\n");
        for key in rows {
            let default = key.default.as_ref().map(|d| format!(" Default `{d}`."));
            let default = default.unwrap_or_default();
            let _ = writeln!(markdown, "| `{}` | {}{default} |", key.name, key.text);
        }
    }
    markdown
}

/// A key of the top level that is a section of its own, or one that the program sets.
fn is_section(section: &str, key: &Key) -> bool {
    let is_named = SECTIONS.iter().any(|(name, ..)| *name == key.name);
    let is_set_by_program = match section {
        "cache" => key.name == "follows_feed",
        "telemetry" => ["service", "node"].contains(&key.name.as_str()),
        _ => false,
    };
    section.is_empty() && is_named || is_set_by_program
}

/// The documented fields of `name` in `source`: of a struct, or of a macro that makes one (`name: type = default`).
fn keys(source: &str, name: &str) -> Vec<Key> {
    let opening = format!("pub struct {name} {{");
    let macro_opening = format!("{}! {{", name.to_lowercase());
    let mut lines = source
        .lines()
        .skip_while(|line| **line != *opening && **line != *macro_opening)
        .skip(1)
        .take_while(|line| !line.starts_with('}'));
    let mut keys = Vec::new();
    let mut text: Vec<&str> = Vec::new();
    while let Some(line) = lines.next().map(str::trim) {
        if let Some(doc) = line.strip_prefix("///") {
            text.push(doc.trim());
        } else if let Some((field, rest)) = line.trim_start_matches("pub ").split_once(':') {
            let default = rest
                .split_once(" = ")
                .map(|(_, d)| d.trim_end_matches(',').replace('_', ""));
            keys.push(Key {
                name: field.to_owned(),
                text: text.join(" ").replace('|', "\\|"),
                default,
            });
            text.clear();
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_has_documented_keys() {
        for (section, name, source) in SECTIONS {
            let keys = keys(source, name);
            assert!(!keys.is_empty(), "[{section}] {name}");
            for key in keys {
                assert!(key.text.len() > 10, "[{section}] {} says nothing", key.name);
            }
        }
    }

    #[test]
    fn rows_say_meaning_and_default() {
        let reference = reference();
        for line in [
            "## `[cache]`",
            "| `pop` | The PoP's name: 1 to 63 of `a-z 0-9 -`.",
            "| `request_ms_max` | Time for one question to the core, in milliseconds. Default 5,000. |",
            "| `drain_ms_max` | Time from the stop signal",
        ] {
            assert!(reference.contains(line), "{line}\n{reference}");
        }
        for hidden in ["follows_feed", "| `listen` |", "| `node` |"] {
            assert!(!reference.contains(hidden), "{hidden}");
        }
    }
}
