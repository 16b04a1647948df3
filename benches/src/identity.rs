//! The certificate that servers under load show.

use anyhow::Result;
use brink_listener::authority::{DevAuthority, Leaf};
use std::path::{Path, PathBuf};

/// A certificate for `localhost` and 127.0.0.1.
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Who signed it.
    pub(crate) ca: PathBuf,
}

impl Identity {
    /// Makes one, and an authority for it, below `directory`.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let authority = DevAuthority::open_or_create(&directory.join("ca"))?;
        let (certificate, key) = (directory.join("server.pem"), directory.join("server.key"));
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = Leaf {
            names,
            server: true,
            client: false,
        };
        authority.issue(&leaf, &certificate, &key)?;
        let ca = directory.join("ca").join("ca.pem");
        Ok(Self {
            certificate,
            key,
            ca,
        })
    }

    /// Certificate and key in one file, as HAProxy wants them.
    pub(crate) fn bundle(&self, directory: &Path) -> Result<PathBuf> {
        let path = directory.join("bundle.pem");
        let both = [&self.certificate, &self.key].map(std::fs::read_to_string);
        let [certificate, key] = both;
        std::fs::write(&path, certificate? + &key?)?;
        Ok(path)
    }
}
