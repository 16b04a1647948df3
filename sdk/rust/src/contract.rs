//! Holds the worlds that macros quote to `wit/platform.wit`.

#![allow(
    clippy::expect_used,
    reason = "a quotation that cannot be read must stop the test"
)]

/// The lines that mean something.
fn meaning(wit: &str) -> String {
    wit.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// What a world says beside its imports.
fn exports(meaning: &str, world: &str) -> String {
    let (_, rest) = meaning
        .split_once(&format!("world {world} {{\n"))
        .expect("the world is there");
    let (body, _) = rest.split_once("\n}").expect("the world ends");
    let lines = body.lines().filter(|line| !line.starts_with("import "));
    lines.collect::<Vec<_>>().join("\n")
}

/// The WIT that is quoted in a source: its types are in the contract as they are, and its world says the same.
pub(crate) fn check(source: &str, world: &str) {
    let contract = meaning(include_str!("../../../wit/platform.wit"));
    let (_, quoted) = source.split_once("r#\"\n").expect("a quotation");
    let (quoted, _) = quoted.split_once("\n\"#").expect("the quotation ends");
    let quoted = meaning(quoted);
    let (types, _) = quoted
        .split_once(&format!("world {world} {{"))
        .expect("a world");
    let (_, types) = types.split_once(";\n").expect("a package");
    assert!(types.len() > 60 && contract.contains(types), "{types}");
    assert_eq!(exports(&quoted, world), exports(&contract, world));
}
