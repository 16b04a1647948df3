//! `brink-core restore` and `brink-core check-backup`.

use brink_core::{
    Error,
    backup::{Ending, Generation, inspect, moment, restore, time},
    config::{Config, Flags},
    core::{make_private_directory, open_store},
};
use std::path::Path;

/// Puts a backup back into the store that the configuration names.
pub(super) fn run(flags: &Flags, from: &Path, to_time: Option<&str>) -> Result<(), Error> {
    let config = Config::load(flags)?;
    let to_ms = to_time.map(moment).transpose()?;
    let runtime =
        tokio::runtime::Runtime::new().map_err(|error| Error::Runtime(error.to_string()))?;
    let restored = runtime.block_on(async {
        make_private_directory(&config.data)?;
        let (store, _) = open_store(&config).await?;
        restore(&store, from, to_ms).await
    })?;
    let seconds = restored.took.as_secs_f64();
    println!(
        "Restored the state of {} from {}: {} rows in {seconds:.1} s.\n\
         Every core begins a new life when it starts; PoPs drop what they hold.",
        time(restored.mark.from_ms),
        restored.generation,
        restored.rows
    );
    if restored.elsewhere > 0 {
        println!(
            "{} rows were left out: they lie in another region alone, whose own backups have them.",
            restored.elsewhere
        );
    }
    Ok(())
}

/// Reads every generation through.
pub(super) fn check(from: &Path) -> Result<(), Error> {
    let mut bad = 0;
    let mut generations = 0;
    for generation in Generation::all(from)? {
        if matches!(generation.manifest(), Ok(None)) {
            println!(
                "{}: not whole; it is being taken, or was cut off",
                generation.name
            );
            continue;
        }
        generations += 1;
        match inspect(&generation, u64::MAX) {
            Ok(found) => {
                let span = format!(
                    "{} rows, from {} to {}, {} moments",
                    found.manifest.rows,
                    time(found.manifest.first.to_ms),
                    time(found.last.mark.to_ms),
                    found.marks
                );
                let note = match found.ending {
                    Ending::Whole => String::new(),
                    Ending::Torn => "; the last increment is being written, or was cut off".into(),
                    Ending::Changed(file) => {
                        bad += 1;
                        format!("; {file} is damaged behind that")
                    }
                };
                println!("{}: {span}{note}", generation.name);
            }
            Err(error) => {
                bad += 1;
                println!("{}: {error}", generation.name);
            }
        }
    }
    if bad > 0 || generations == 0 {
        return Err(Error::Backup(format!(
            "{bad} of {generations} backups in {} are damaged",
            from.display()
        )));
    }
    Ok(())
}
