//! `brink build`.

use crate::{
    args::Build,
    build::{self, Built, Options},
    error::Error,
    output::{Output, size},
    project::Project,
};

/// Builds the project, or packages of a workspace.
pub(super) fn run(args: &Build, output: Output) -> Result<(), Error> {
    let options = Options {
        debug: args.debug,
        names: args.names,
        std: args.std_choice,
    };
    let Some(manifest_path) = &args.manifest_path else {
        let built = build::project(&Project::open(&args.dir)?, options)?;
        return output.result(&built, describe);
    };
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| manifest_path.with_file_name("target").join("brink"));
    let built = build::packages(manifest_path, &args.package, &out, options)?;
    output.result(&built, |built| built.iter().map(describe).collect())
}

fn describe(built: &Built) -> String {
    format!(
        "{}  {}  {}  {}\n",
        built.path.display(),
        built.world.as_str(),
        size(built.size_bytes),
        built.digest
    )
}
