//! Fetches an engine from Maven Central, once for all checkouts.

use crate::Error;
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// An engine, and what Maven is asked for. The folder's name says the version, as the file does.
struct Engine {
    folder: &'static str,
    pom: &'static str,
}

const CASSANDRA: Engine = Engine {
    folder: "cassandra-5.0.9",
    pom: include_str!("cassandra.pom.xml"),
};
const KAFKA: Engine = Engine {
    folder: "kafka-4.1.0",
    pom: include_str!("kafka.pom.xml"),
};

/// What outlives builds: `$BRINK_CACHE`, or `$XDG_CACHE_HOME/brink`, or `~/.cache/brink`. Made if it is not there.
///
/// # Errors
/// None of the variables is set, or the folder cannot be made.
pub fn cache_folder() -> Result<PathBuf, Error> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let folder = named("BRINK_CACHE")
        .map(PathBuf::from)
        .or_else(|| named("XDG_CACHE_HOME").map(|base| Path::new(&base).join("brink")))
        .or_else(|| named("HOME").map(|home| Path::new(&home).join(".cache/brink")))
        .ok_or_else(|| {
            Error::Shape("none of BRINK_CACHE, XDG_CACHE_HOME and HOME is set".to_owned())
        })?;
    fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
    Ok(folder)
}

/// Whether the CQL engine is in the cache.
#[must_use]
pub fn is_cassandra_fetched() -> bool {
    CASSANDRA.is_fetched()
}

/// Whether the Kafka broker is in the cache.
#[must_use]
pub fn is_kafka_fetched() -> bool {
    KAFKA.is_fetched()
}

/// The folder of the CQL engine's jars; fetched if it is not there (100 files, 66 MB). Whoever else fetches is waited for.
///
/// # Errors
/// Maven or Java is missing, or Maven fails.
pub fn cassandra() -> Result<PathBuf, Error> {
    CASSANDRA.jars()
}

/// The folder of the Kafka broker's jars; fetched if it is not there (46 files, 43 MB). Whoever else fetches is waited for.
///
/// # Errors
/// Maven or Java is missing, or Maven fails.
pub fn kafka() -> Result<PathBuf, Error> {
    KAFKA.jars()
}

impl Engine {
    fn is_fetched(&self) -> bool {
        cache_folder().is_ok_and(|cache| cache.join("engines").join(self.folder).is_dir())
    }

    fn jars(&self) -> Result<PathBuf, Error> {
        let folder = cache_folder()?.join("engines");
        let jars = folder.join(self.folder);
        if jars.is_dir() {
            return Ok(jars);
        }
        require("java", "openjdk-17-jre-headless")?;
        require("mvn", "maven")?;
        fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
        let lock = folder.join("lock");
        let locked = File::create(&lock).map_err(Error::file(&lock))?;
        locked.lock().map_err(Error::file(&lock))?;
        if jars.is_dir() {
            return Ok(jars);
        }
        // Only whole folders have the name: what a fetch that was broken off left behind is thrown away by the next.
        let part = folder.join(format!("{}.part", self.folder));
        if part.exists() {
            fs::remove_dir_all(&part).map_err(Error::file(&part))?;
        }
        fs::create_dir_all(&part).map_err(Error::file(&part))?;
        let pom = part.join("pom.xml");
        fs::write(&pom, self.pom).map_err(Error::file(&pom))?;
        self.fetch(&pom, &part)?;
        fs::rename(&part, &jars).map_err(Error::file(&jars))?;
        Ok(jars)
    }

    fn fetch(&self, pom: &Path, part: &Path) -> Result<(), Error> {
        let output = Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(pom)
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", part.display()))
            .output()
            .map_err(Error::file("mvn"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(Error::Fetch {
            engine: self.folder,
            said: String::from_utf8_lossy(&said).trim().to_owned(),
        })
    }
}

pub(crate) fn require(program: &'static str, package: &'static str) -> Result<(), Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if found {
        Ok(())
    } else {
        Err(Error::Missing { program, package })
    }
}
