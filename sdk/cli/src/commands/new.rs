//! `brink new`.

use crate::{
    args::{New, Template},
    error::Error,
    output::Output,
    templates,
};
use std::path::{Path, PathBuf};

/// Begins a project in a new directory.
pub(super) fn run(args: &New, output: Output) -> Result<(), Error> {
    let dir = args
        .dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(args.name.as_str()));
    refuse_what_is_there(&dir)?;
    let files = templates::files(args.template, args.name.as_str())?;
    for (path, text) in &files {
        write(&dir.join(path), text)?;
    }
    let result = serde_json::json!({
        "name": args.name,
        "dir": dir,
        "files": files.iter().map(|(path, _)| path).collect::<Vec<_>>(),
    });
    output.result(&result, |_| {
        let test = match args.template {
            Template::Rust
            | Template::RustPlugin
            | Template::RustProjection
            | Template::RustWorkflow => "cargo test",
            Template::Js => "npm install && npm test",
        };
        let dir = dir.display();
        format!("{dir} is ready. Go on with:\n  cd {dir}\n  {test}\n  brink build\n  brink dev\n")
    })
}

fn refuse_what_is_there(dir: &Path) -> Result<(), Error> {
    match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::Usage(format!(
            "{} cannot be used: {error}",
            dir.display()
        ))),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::Usage(format!(
                "{} is not empty, and nothing is written over. Choose another NAME or --dir.",
                dir.display()
            ))),
        },
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let wrong = |error: std::io::Error| {
        Error::failed(format_args!("{} cannot be written", path.display()), error)
    };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(wrong)?;
    }
    std::fs::write(path, text).map_err(wrong)
}
