//! Imports between the files of a crate go one way.
//!
//! A file's imports are its paths that begin with `crate::`, `super::`, `self::` or the name of a module declared in
//! it. Three things do not count: declarations (`mod x;`), what a file hands on (`pub use`), and a module's use of one
//! that it lies in (a type in `cache.rs` may be extended in `cache/disk.rs`).

use super::{
    Finding, Tree,
    lexer::{is_word, mask, without_tests},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// A module's place in its crate: `[]` is the root.
type Module = Vec<String>;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut crates: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for path in tree.rust().filter(|path| !tree.is_test(path)) {
        if let Some(source) = source_folder(tree, path) {
            crates.entry(source).or_default().push(path.to_owned());
        }
    }
    let mut findings = Vec::new();
    for (source, files) in crates {
        let graph = imports(tree, &source, &files);
        for circle in strongly_connected(&graph) {
            let names: Vec<String> = circle
                .iter()
                .filter_map(|module| graph.get(module))
                .map(|file| file.path.display().to_string())
                .collect();
            findings.push(Finding::new(
                &source,
                0,
                format!("these import each other in a circle: {}", names.join(", ")),
            ));
        }
    }
    findings
}

/// A module's file and what it imports.
struct File {
    path: PathBuf,
    imports: BTreeSet<Module>,
}

/// The folder `src` of the crate that `path` belongs to.
fn source_folder(tree: &Tree, path: &Path) -> Option<PathBuf> {
    let source = path.ancestors().find(|folder| folder.ends_with("src"))?;
    let manifest = source.parent()?.join("Cargo.toml");
    tree.has(&manifest).then(|| source.to_owned())
}

/// Where `path` stands in its crate; none for a root of its own (`main.rs` and programs below `bin/`).
fn module_of(source: &Path, path: &Path) -> Option<Module> {
    let relative = path.strip_prefix(source).ok()?.with_extension("");
    let mut module: Module = relative
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if module
        .first()
        .is_some_and(|first| first == "bin" || first == "main")
    {
        return None;
    }
    if module
        .last()
        .is_some_and(|last| last == "mod" || (last == "lib" && module.len() == 1))
    {
        module.pop();
    }
    Some(module)
}

fn imports(tree: &Tree, source: &Path, files: &[PathBuf]) -> BTreeMap<Module, File> {
    let places: BTreeMap<Module, &PathBuf> = files
        .iter()
        .filter_map(|path| Some((module_of(source, path)?, path)))
        .collect();
    let mut graph = BTreeMap::new();
    for (module, path) in &places {
        let text = tree.text(path).unwrap_or_default();
        let (text, _) = without_tests(&mask(&text));
        let imports = paths(&text, module, &places)
            .into_iter()
            .filter_map(|path| nearest(&path, &places))
            .filter(|import| !module.starts_with(import))
            .collect();
        let path = (*path).clone();
        graph.insert(module.clone(), File { path, imports });
    }
    graph
}

/// The longest beginning of `path` that is a module with a file of its own.
fn nearest(path: &[String], places: &BTreeMap<Module, &PathBuf>) -> Option<Module> {
    (0..=path.len())
        .rev()
        .filter_map(|length| path.get(..length))
        .find(|path| places.contains_key(*path))
        .map(<[String]>::to_vec)
}

/// All paths into the crate that the text of `module` names, from the crate's root.
fn paths(text: &str, module: &Module, places: &BTreeMap<Module, &PathBuf>) -> Vec<Module> {
    let tokens = tokens(text);
    let children: BTreeSet<&str> = places
        .keys()
        .filter(|place| place.len() == module.len() + 1 && place.starts_with(module))
        .filter_map(|place| place.last().map(String::as_str))
        .collect();
    let mut found = Vec::new();
    let mut i = 0;
    let mut handed_on = false;
    while let Some(token) = tokens.get(i) {
        match token.as_str() {
            "use" => handed_on = is_public(&tokens, i),
            ";" => handed_on = false,
            _ => {}
        }
        let begins = i
            .checked_sub(1)
            .and_then(|i| tokens.get(i))
            .is_none_or(|before| before != "::" && before != "$");
        let leads = tokens.get(i + 1).is_some_and(|next| next == "::");
        let base = match token.as_str() {
            "crate" => Some(Vec::new()),
            "self" => Some(module.clone()),
            "super" => Some(parent(module)),
            name if children.contains(name) => {
                let mut base = module.clone();
                base.push(name.to_owned());
                Some(base)
            }
            _ => None,
        };
        match base {
            Some(base) if begins && leads => {
                let mut into = Vec::new();
                i = follow(&tokens, i + 2, base, &mut into);
                if !handed_on {
                    found.extend(into);
                }
            }
            _ => i += 1,
        }
    }
    found
}

fn parent(module: &Module) -> Module {
    let mut parent = module.clone();
    parent.pop();
    parent
}

/// Whether the `use` at `at` hands names on: `pub use`, `pub(crate) use`.
fn is_public(tokens: &[String], at: usize) -> bool {
    let before = |n: usize| {
        at.checked_sub(n)
            .and_then(|i| tokens.get(i))
            .map(String::as_str)
    };
    match before(1) {
        Some("pub") => true,
        Some(")") => (3..8).any(|n| before(n) == Some("(") && before(n + 1) == Some("pub")),
        _ => false,
    }
}

/// Follows a path or a tree of paths from the token at `i`, which comes after `::`; answers where it ends.
fn follow(tokens: &[String], mut i: usize, mut base: Module, found: &mut Vec<Module>) -> usize {
    loop {
        match tokens.get(i).map(String::as_str) {
            Some("{") => {
                i += 1;
                loop {
                    match tokens.get(i).map(String::as_str) {
                        None => return i,
                        Some("}") => return i + 1,
                        Some(",") => i += 1,
                        Some(_) => i = follow(tokens, i, base.clone(), found).max(i + 1),
                    }
                }
            }
            Some("super") => {
                base.pop();
                i += 1;
            }
            Some("self") => i += 1,
            Some(name) if name.chars().all(is_word) => {
                base.push(name.to_owned());
                i += 1;
                if tokens.get(i).is_some_and(|token| token == "as") {
                    i += 2;
                }
            }
            _ => {
                found.push(base);
                return i;
            }
        }
        if tokens.get(i).is_some_and(|token| token == "::") {
            i += 1;
        } else {
            found.push(base);
            return i;
        }
    }
}

/// Words, `::`, and every other character that is not white space.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if is_word(c) {
            let mut word = String::from(c);
            while let Some(next) = chars.next_if(|next| is_word(*next)) {
                word.push(next);
            }
            tokens.push(word);
        } else if c == ':' && chars.next_if_eq(&':').is_some() {
            tokens.push("::".to_owned());
        } else if !c.is_whitespace() {
            tokens.push(c.to_string());
        }
    }
    tokens
}

/// Sets of more than one module that all reach each other. Graphs here have at most some hundred nodes.
fn strongly_connected(graph: &BTreeMap<Module, File>) -> Vec<BTreeSet<Module>> {
    let reach: BTreeMap<&Module, BTreeSet<&Module>> = graph
        .keys()
        .map(|module| (module, reached(graph, module)))
        .collect();
    let mut circles: Vec<BTreeSet<Module>> = Vec::new();
    for (module, reached) in &reach {
        if circles.iter().any(|circle| circle.contains(*module)) {
            continue;
        }
        let back = |other: &&&Module| {
            reach
                .get(**other)
                .is_some_and(|from| from.contains(*module))
        };
        let circle: BTreeSet<Module> = reached
            .iter()
            .filter(back)
            .map(|other| (*other).clone())
            .collect();
        if circle.len() > 1 {
            circles.push(circle);
        }
    }
    circles
}

fn reached<'a>(graph: &'a BTreeMap<Module, File>, from: &Module) -> BTreeSet<&'a Module> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&Module> = graph
        .get(from)
        .into_iter()
        .flat_map(|file| &file.imports)
        .collect();
    while let Some(module) = open.pop() {
        if let Some((module, file)) = graph.get_key_value(module)
            && seen.insert(module)
        {
            open.extend(&file.imports);
        }
    }
    seen
}
