//! What new projects begin with: templates, and the SDK or interfaces that they need, packed into this program by `build.rs`.

use crate::{args::Template, error::Error};

/// Packed files: paths and texts.
type Packed = &'static [(&'static str, &'static str)];

include!(concat!(env!("OUT_DIR"), "/packed.rs"));

/// Where the Rust SDK lies in a new project.
const SDK_DIR: &str = ".brink/sdk/rust";

/// The files of a new project called `name`: paths within it and texts.
///
/// # Errors
/// The name is not fit for the language, or a placeholder has no value.
pub(crate) fn files(template: Template, name: &str) -> Result<Vec<(String, String)>, Error> {
    fit(name)?;
    let own = match template {
        Template::Rust => RUST,
        Template::RustPlugin => RUST_PLUGIN,
        Template::RustProjection => RUST_PROJECTION,
        Template::RustWorkflow => RUST_WORKFLOW,
        Template::Js => JS,
    };
    let mut files = Vec::with_capacity(own.len() + SDK.len());
    for (path, text) in own {
        let text = fill(text, name);
        if let Some(placeholder) = placeholder(&text) {
            return Err(Error::Failed(format!(
                "template file {path}: {placeholder} has no value"
            )));
        }
        // Under its own name it would count for the repository that the template lies in.
        let path = if *path == "gitignore" {
            ".gitignore"
        } else {
            path
        };
        files.push((path.to_owned(), text));
    }
    match template {
        // As they lie in the repository: the SDK finds the WIT by a relative path.
        Template::Rust
        | Template::RustPlugin
        | Template::RustProjection
        | Template::RustWorkflow => {
            files.extend(
                SDK.iter()
                    .map(|(path, text)| (format!(".brink/{path}"), (*text).to_owned())),
            );
        }
        Template::Js => {
            let interfaces = WIT.iter().filter(|(path, _)| path.ends_with(".wit"));
            files.extend(interfaces.map(|(path, text)| {
                let file = path.rsplit('/').next().unwrap_or(path);
                (format!("wit/deps/{file}"), (*text).to_owned())
            }));
        }
    }
    Ok(files)
}

fn fill(text: &str, name: &str) -> String {
    text.replace("{{name}}", name)
        .replace("{{crate_name}}", &name.replace('-', "_"))
        .replace("{{sdk}}", SDK_DIR)
}

/// The first `{{word}}` of a text.
fn placeholder(text: &str) -> Option<&str> {
    text.match_indices("{{").find_map(|(at, _)| {
        let rest = text.get(at..)?;
        let end = rest.find("}}")?;
        let word = rest.get(2..end)?;
        let is_word = !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if is_word { rest.get(..end + 2) } else { None }
    })
}

/// Names become crates and WIT packages: each word begins with a letter, and is no word of those languages.
fn fit(name: &str) -> Result<(), Error> {
    const TAKEN: &[&str] = &[
        "abstract",
        "alloc",
        "as",
        "async",
        "await",
        "become",
        "box",
        "break",
        "brink-sdk",
        "const",
        "continue",
        "core",
        "crate",
        "do",
        "dyn",
        "else",
        "enum",
        "export",
        "extern",
        "false",
        "final",
        "flags",
        "fn",
        "for",
        "func",
        "gen",
        "if",
        "impl",
        "import",
        "in",
        "include",
        "interface",
        "let",
        "list",
        "loop",
        "macro",
        "match",
        "mod",
        "move",
        "mut",
        "option",
        "override",
        "package",
        "priv",
        "pub",
        "record",
        "ref",
        "resource",
        "result",
        "return",
        "self",
        "serde",
        "serde-json",
        "static",
        "std",
        "string",
        "struct",
        "super",
        "test",
        "trait",
        "true",
        "try",
        "tuple",
        "type",
        "typeof",
        "unsafe",
        "unsized",
        "use",
        "variant",
        "virtual",
        "where",
        "while",
        "with",
        "world",
        "yield",
    ];
    if TAKEN.contains(&name) {
        return Err(Error::Usage(format!(
            "a module called {name:?} would be taken for a word of the language: choose another name"
        )));
    }
    if name
        .split('-')
        .all(|word| word.starts_with(|first: char| first.is_ascii_lowercase()))
    {
        Ok(())
    } else {
        Err(Error::Usage(format!(
            "module name {name:?}: each word between hyphens begins with a letter"
        )))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn every_template_is_whole() {
        for (template, needs) in [
            (
                Template::Rust,
                &[
                    "brink.toml",
                    "Cargo.toml",
                    "src/lib.rs",
                    ".gitignore",
                    ".brink/sdk/rust/src/lib.rs",
                    ".brink/sdk/rust/Cargo.toml",
                    ".brink/wit/platform.wit",
                    ".brink/wit/deps/http.wit",
                ][..],
            ),
            (
                Template::RustPlugin,
                &[
                    "brink.toml",
                    "Cargo.toml",
                    "src/lib.rs",
                    ".gitignore",
                    ".brink/sdk/rust/src/lib.rs",
                ],
            ),
            (
                Template::RustProjection,
                &["brink.toml", "Cargo.toml", "src/lib.rs", ".gitignore"],
            ),
            (
                Template::RustWorkflow,
                &["brink.toml", "Cargo.toml", "src/lib.rs", ".gitignore"],
            ),
            (
                Template::Js,
                &[
                    "brink.toml",
                    "package.json",
                    "src/index.js",
                    ".gitignore",
                    "wit/world.wit",
                    "wit/deps/platform.wit",
                    "wit/deps/http.wit",
                ],
            ),
        ] {
            let files = files(template, "my-shop").unwrap();
            for path in needs {
                assert!(
                    files.iter().any(|(file, _)| file == path),
                    "{template:?}: {path}"
                );
            }
            let (_, manifest) = files.iter().find(|(path, _)| path == "brink.toml").unwrap();
            assert!(manifest.contains("name = \"my-shop\""), "{manifest}");
            crate::project::check(manifest).unwrap();
        }
    }

    #[test]
    fn the_sdk_stands_alone() {
        let (_, manifest) = SDK
            .iter()
            .find(|(path, _)| *path == "sdk/rust/Cargo.toml")
            .unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        assert!(!manifest.to_string().contains("workspace"), "{manifest}");
        assert_eq!(manifest["package"]["edition"].as_str(), Some("2024"));
        assert!(
            manifest["dependencies"]["wit-bindgen"]["features"]
                .as_array()
                .is_some()
        );
    }

    #[test]
    fn placeholders() {
        for (text, found) in [
            ("a {{name}} b", Some("{{name}}")),
            ("format!(\"{{}}\")", None),
            ("{{ x }}", None),
            ("{{A}} {{b}}", Some("{{b}}")),
        ] {
            assert_eq!(placeholder(text), found, "{text}");
        }
    }

    #[test]
    fn names() {
        for (name, fits) in [
            ("shop", true),
            ("my-shop2", true),
            ("2shop", false),
            ("my-2", false),
            ("fn", false),
            ("world", false),
            ("std", false),
        ] {
            assert_eq!(fit(name).is_ok(), fits, "{name}");
        }
    }
}
