//! The key that certificates of erasures are signed with: Ed25519, made at first need, in a file of the core's alone.

use crate::Error;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use brink_protocol::operations::{Certificate, SignedCertificate};
use std::{fs, io::Write as _, path::Path};

/// Signs certificates.
pub struct Signer {
    pair: Ed25519KeyPair,
}

impl Signer {
    /// With the key of a file, which is made if it is not there.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds no key.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unusable = |_| Error::corrupt("key of certificates", "it is no Ed25519 key in PKCS #8");
        if !path.exists() {
            let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
            let made = made.map_err(|_| Error::Random("no key was made".into()))?;
            write(path, made.as_ref())?;
        }
        let bytes = fs::read(path).map_err(|error| Error::file("read", path, error))?;
        let pair = Ed25519KeyPair::from_pkcs8(&bytes).map_err(unusable)?;
        Ok(Self { pair })
    }

    /// The public key, in base64.
    #[must_use]
    pub fn key(&self) -> String {
        STANDARD.encode(self.pair.public_key().as_ref())
    }

    /// Signs.
    ///
    /// # Errors
    /// The certificate cannot be encoded.
    pub fn sign(&self, certificate: &Certificate) -> Result<SignedCertificate, Error> {
        let text = serde_json::to_string(certificate)
            .map_err(|error| Error::corrupt("certificate", error))?;
        Ok(SignedCertificate {
            signature: STANDARD.encode(self.pair.sign(text.as_bytes()).as_ref()),
            key: self.key(),
            certificate: text,
        })
    }
}

fn write(path: &Path, key: &[u8]) -> Result<(), Error> {
    let failed = |error| Error::file("written", path, error);
    let partial = path.with_extension("partial");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&partial).map_err(failed)?;
    file.write_all(key)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&partial, path))
        .map_err(failed)
}
