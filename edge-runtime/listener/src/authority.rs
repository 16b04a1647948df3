//! A certificate authority for development: made on first start, kept in two files.
//!
//! Good for one machine and for the link between an edge and its core. Its key lies in a file (mode
//! 0600); whoever can read that file can be any server and any PoP.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use crate::error::Error;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Lifetime of the authority.
const AUTHORITY_LIFETIME: Duration = DAY.saturating_mul(3650);
/// Lifetime of a leaf: browsers take no more than 398 days.
const LEAF_LIFETIME: Duration = DAY.saturating_mul(397);
/// Clocks differ a little.
const BACKDATED: Duration = DAY;

/// A development authority: `ca.pem` and `ca.key` of a directory.
pub struct DevAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    certificate: PathBuf,
}

/// What a certificate is for.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// DNS names and IP addresses (subjectAltName); the first is the common name too. At least one.
    pub names: Vec<String>,
    /// May be shown by a client.
    pub client: bool,
    /// May be shown by a server.
    pub server: bool,
}

impl DevAuthority {
    /// Opens the authority of `dir`, or makes one there (and the directory, mode 0700).
    ///
    /// # Errors
    /// Files that cannot be read or written, or are not an authority's.
    pub fn open_or_create(dir: &Path) -> Result<Self, Error> {
        let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
        if !certificate.exists() {
            let failed = |source| Error::File {
                action: "created",
                path: dir.to_owned(),
                source,
            };
            let made = fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir);
            made.map_err(failed)?;
            // Two processes that start together must not mix their files: the second waits here.
            let lock = fs::File::create(dir.join("ca.lock")).map_err(failed)?;
            lock.lock().map_err(failed)?;
            if !certificate.exists() {
                Self::create(&certificate, &key)?;
            }
        }
        Self::open(certificate, &key)
    }

    fn open(certificate: PathBuf, key: &Path) -> Result<Self, Error> {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|source| Error::File {
                action: "read",
                path: path.to_owned(),
                source,
            })
        };
        let wrong = |path: &Path, error: rcgen::Error| Error::Pem {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let pair = KeyPair::from_pem(&read(key)?).map_err(|error| wrong(key, error))?;
        let certificate_pem = read(&certificate)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, pair)
            .map_err(|error| wrong(&certificate, error))?;
        Ok(Self {
            issuer,
            certificate_pem,
            certificate,
        })
    }

    fn create(certificate: &Path, key: &Path) -> Result<(), Error> {
        let name = "Brink development authority";
        let failed = |error: rcgen::Error| Error::Issue {
            subject: name.to_owned(),
            reason: error.to_string(),
        };
        let pair = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid_for(&mut params, AUTHORITY_LIFETIME);
        let signed = params.self_signed(&pair).map_err(failed)?;
        // The certificate last: with it the authority is complete.
        write(key, &pair.serialize_pem(), 0o600)?;
        write(certificate, &signed.pem(), 0o644)
    }

    /// The authority's own certificate, for those who shall trust it.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The same, as PEM text.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Issues a certificate with a fresh key. Writes both files whole: first the key (mode 0600), then
    /// the certificate with the authority's behind it (mode 0644).
    ///
    /// # Errors
    /// Names that are none, files that cannot be written.
    pub fn issue(&self, leaf: &Leaf, certificate: &Path, key: &Path) -> Result<(), Error> {
        let subject = leaf.names.first().cloned().unwrap_or_default();
        let failed = |reason: String| Error::Issue {
            subject: subject.clone(),
            reason,
        };
        if subject.is_empty() {
            return Err(failed("it has no name".to_owned()));
        }
        let mut params = CertificateParams::new(leaf.names.clone())
            .map_err(|error| failed(error.to_string()))?;
        params.distinguished_name = common_name(&subject);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if leaf.client {
            params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth);
        }
        if leaf.server {
            params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
        }
        valid_for(&mut params, LEAF_LIFETIME);
        let pair = KeyPair::generate().map_err(|error| failed(error.to_string()))?;
        let signed = params
            .signed_by(&pair, &self.issuer)
            .map_err(|error| failed(error.to_string()))?;
        write(key, &pair.serialize_pem(), 0o600)?;
        write(
            certificate,
            &format!("{}{}", signed.pem(), self.certificate_pem),
            0o644,
        )
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn valid_for(params: &mut CertificateParams, lifetime: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + lifetime - BACKDATED).into();
}

/// Writes a file whole or not at all: readers see the old one or the new one.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    let written = || -> io::Result<()> {
        let _ = fs::remove_file(&fresh);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    written().map_err(|source| {
        let _ = fs::remove_file(&fresh);
        Error::File {
            action: "written",
            path: path.to_owned(),
            source,
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls;

    #[test]
    fn made_once_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("ca");
        let first = DevAuthority::open_or_create(&dir).unwrap();
        let second = DevAuthority::open_or_create(&dir).unwrap();
        assert_eq!(first.certificate_pem(), second.certificate_pem());

        let (certificate, key) = (dir.join("leaf.pem"), dir.join("leaf.key"));
        let names = vec!["ams.pop.brink.internal".to_owned(), "127.0.0.1".to_owned()];
        let leaf = Leaf {
            names,
            client: true,
            server: false,
        };
        second.issue(&leaf, &certificate, &key).unwrap();
        let chain = tls::certificates(&certificate).unwrap();
        assert_eq!(chain.len(), 2);
        assert_eq!(tls::dns_names(&chain[0]), ["ams.pop.brink.internal"]);
        assert!(tls::private_key(&key).is_ok());
        for (path, mode) in [
            (dir.join("ca.key"), 0o600),
            (key, 0o600),
            (certificate, 0o644),
        ] {
            let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{}", path.display());
        }
        let files = fs::read_dir(&dir).unwrap().count();
        assert_eq!(files, 5, "the lock, and nothing else stays behind");
    }

    #[test]
    fn many_at_once_make_one() {
        let dir = tempfile::tempdir().unwrap();
        let made: Vec<_> = std::thread::scope(|scope| {
            let open = || DevAuthority::open_or_create(dir.path()).unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap().certificate_pem)
                .collect()
        });
        assert!(made.iter().all(|pem| *pem == made[0]));
        let last = DevAuthority::open_or_create(dir.path()).unwrap();
        assert_eq!(last.certificate_pem(), made[0]);
    }

    #[test]
    fn what_is_not_an_authority_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), "nonsense").unwrap();
        assert!(matches!(
            DevAuthority::open_or_create(dir.path()),
            Err(Error::File { .. })
        ));
        fs::write(dir.path().join("ca.key"), "nonsense").unwrap();
        assert!(matches!(
            DevAuthority::open_or_create(dir.path()),
            Err(Error::Pem { .. })
        ));
        let dir = tempfile::tempdir().unwrap();
        let authority = DevAuthority::open_or_create(dir.path()).unwrap();
        let leaf = Leaf {
            names: vec![],
            client: true,
            server: true,
        };
        let path = dir.path().join("x");
        assert!(matches!(
            authority.issue(&leaf, &path, &path),
            Err(Error::Issue { .. })
        ));
    }
}
