//! `brink-core archive`.

use brink_core::{
    Error,
    archive::{Wanted, files, read, verify},
    backup::moment,
};
use clap::Subcommand;
use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

/// What to do with an archive.
#[derive(Subcommand)]
pub(super) enum ArchiveCommand {
    /// List the files of an archive
    List {
        /// Directory of the archive
        #[arg(long)]
        from: PathBuf,
    },
    /// Read every file through, and say whether it is what was written
    Verify {
        /// Directory of the archive
        #[arg(long)]
        from: PathBuf,
    },
    /// Write records as lines of JSON. A record may come twice: it is the same if partition, sort and version are
    Read {
        /// Directory of the archive
        #[arg(long)]
        from: PathBuf,
        /// Of this tenant alone
        #[arg(long)]
        tenant: Option<String>,
        /// Of this collection alone
        #[arg(long)]
        collection: Option<String>,
        /// Of this partition alone
        #[arg(long)]
        partition: Option<String>,
        /// That ended from this moment on: 2026-11-21T08:30:00Z, or milliseconds since 1970
        #[arg(long)]
        since: Option<String>,
        /// That ended before this moment
        #[arg(long)]
        until: Option<String>,
    },
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Backup(format!("the archive was not {what}: {error}"))
}

/// Does it.
pub(super) fn run(command: ArchiveCommand) -> Result<(), Error> {
    match command {
        ArchiveCommand::List { from } => {
            for found in files(&from)? {
                let bytes = std::fs::metadata(&found.path)
                    .map_err(|error| failed("read", &error))?
                    .len();
                println!("{bytes:>12}  {}", found.path.display());
            }
            Ok(())
        }
        ArchiveCommand::Verify { from } => verify_all(&from),
        ArchiveCommand::Read {
            from,
            tenant,
            collection,
            partition,
            since,
            until,
        } => {
            let wanted = Wanted {
                tenant,
                collection,
                partition,
                from_ms: since.as_deref().map(moment).transpose()?.unwrap_or(0),
                to_ms: until.as_deref().map(moment).transpose()?,
            };
            let mut out = std::io::stdout().lock();
            read(&from, &wanted, |line| {
                let line =
                    serde_json::to_string(line).map_err(|error| failed("written", &error))?;
                writeln!(out, "{line}").map_err(|error| failed("written", &error))
            })
        }
    }
}

fn verify_all(from: &Path) -> Result<(), Error> {
    let (mut records, mut bad) = (0, 0);
    let all = files(from)?;
    for found in &all {
        let shown = found.path.display();
        match verify(found) {
            Ok((count, true)) => records += count,
            Ok((count, false)) => {
                bad += 1;
                println!("{shown}: damaged behind {count} records");
            }
            Err(error) => {
                bad += 1;
                println!("{shown}: {error}");
            }
        }
    }
    println!(
        "{} files, {records} records, {bad} files damaged",
        all.len()
    );
    if bad == 0 {
        return Ok(());
    }
    Err(Error::Backup(format!(
        "{bad} files of the archive are damaged"
    )))
}
