//! Rules on single files: a heading, at most 500 lines, no unsafe code, nothing of somebody's machine.

use super::{
    Finding, Tree,
    lexer::{find_words, line_of, mask, without_tests},
};
use std::path::Path;

/// Most lines of a source file, tests apart.
pub(super) const LINES_MAX: usize = 500;

/// Beginnings of paths that exist on somebody's machine only.
const MACHINE_PATHS: [&str; 3] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
];
/// The same, but tests may make one up.
const HOMES: &str = concat!("/ho", "me/");

/// Where locked packages may come from.
const CRATES: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
const NPM: &str = "\"resolved\": \"https://registry.npmjs.org/";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let records = decision_records(tree);
    let mut findings = Vec::new();
    for path in &tree.files {
        let Some(text) = tree.text(path) else {
            continue;
        };
        let test = tree.is_test(path);
        findings.extend(machine_words(path, &text, test));
        if path.extension().is_some_and(|extension| extension == "rs") {
            findings.extend(source_rules(path, &text, test, &records));
        }
    }
    findings
}

/// The text of all decision records.
fn decision_records(tree: &Tree) -> String {
    tree.files
        .iter()
        .filter(|file| file.starts_with("docs/decisions"))
        .filter_map(|file| tree.text(file))
        .collect()
}

fn source_rules(path: &Path, text: &str, test: bool, records: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !text.trim_start().starts_with("//!") {
        findings.push(Finding::new(
            path,
            1,
            "begins without `//!`: say what the module is for",
        ));
    }
    let masked = mask(text);
    let (_, test_lines) = without_tests(&masked);
    let lines = text.lines().count().saturating_sub(test_lines);
    if lines > LINES_MAX && !test {
        findings.push(Finding::new(
            path,
            0,
            format!("has {lines} lines without its tests; {LINES_MAX} are allowed: split it"),
        ));
    }
    let chars: Vec<char> = masked.chars().collect();
    let named = records.contains(&*path.to_string_lossy());
    if let Some(at) = find_words(&chars, "unsafe").first().filter(|_| !named) {
        findings.push(Finding::new(
            path,
            line_of(&chars, *at),
            "unsafe code in a file that no decision record (docs/decisions/) names",
        ));
    }
    findings
}

fn machine_words(path: &Path, text: &str, test: bool) -> Vec<Finding> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        let mut words = MACHINE_PATHS.iter().chain((!test).then_some(&HOMES));
        if let Some(word) = words.find(|word| line.contains(**word)) {
            let message = format!("names {word}: a path of somebody's machine");
            findings.push(Finding::new(path, number + 1, message));
        }
        let foreign = match &*name {
            "Cargo.lock" => trimmed.starts_with("source = ") && trimmed != CRATES,
            "package-lock.json" => {
                trimmed.starts_with("\"resolved\": ") && !trimmed.starts_with(NPM)
            }
            _ => false,
        };
        if foreign {
            findings.push(Finding::new(
                path,
                number + 1,
                "a package locked to a source that is not the public registry",
            ));
        }
    }
    findings
}
