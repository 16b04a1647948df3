//! Compiled components on disk, so that a restart does not compile again.
//!
//! A file holds machine code that this process will run, so it is trusted only if this installation wrote it: each
//! carries a MAC (HMAC-SHA-256, RFC 2104) under a random key that lies in the same directory, readable by its owner
//! only. The MAC covers the component's digest and the fingerprint of engine, CPU and crate, and is checked before the
//! code is touched. Whatever does not fit is ignored and compiled anew.

use crate::{Error, engine};
use aws_lc_rs::hmac;
use brink_protocol::Digest;
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use wasmtime::{Engine, component::Component};

mod trusted;

/// First bytes of every file.
const MAGIC: &[u8; 8] = b"brinkcw1";
const MAC_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
const KEY_FILE: &str = "key";
/// Largest file that is read, in bytes. Machine code is a few times larger than the component.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A directory of compiled components.
pub(crate) struct CompileCache {
    dir: PathBuf,
    key: hmac::Key,
    fingerprint: [u8; 32],
}

impl CompileCache {
    /// Opens or makes the directory and its key.
    pub(crate) fn open(dir: &Path, engine: &Engine) -> Result<Self, Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Cache { path, source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed(dir))?;
        // Also where it was there before: files in it decide which machine code is run.
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed(dir))?;
        let key_path = dir.join(KEY_FILE);
        let key = read_or_make_key(dir, &key_path).map_err(failed(&key_path))?;
        Ok(Self {
            dir: dir.to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            fingerprint: engine::fingerprint(engine),
        })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let mut name = digest.hex();
        name.push('-');
        for byte in self.fingerprint.iter().take(8) {
            name.push_str(&format!("{byte:02x}"));
        }
        name.push_str(".cwasm");
        self.dir.join(name)
    }

    fn mac(&self, digest: &Digest, code: &[u8]) -> hmac::Tag {
        let mut mac = hmac::Context::with_key(&self.key);
        mac.update(MAGIC);
        mac.update(digest.as_bytes());
        mac.update(&self.fingerprint);
        mac.update(code);
        mac.sign()
    }

    /// The compiled component, if there is a file for it and it is ours.
    pub(crate) fn get(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let path = self.path(digest);
        let file = match read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%digest, %error, "a compiled component could not be read");
                return None;
            }
        };
        let Some(code) = self.authentic(digest, &file) else {
            tracing::warn!(%digest, "a compiled component is damaged or not ours; it is compiled again");
            return None;
        };
        match trusted::deserialize(engine, code) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(%digest, error = format!("{error:#}"), "a compiled component does not fit");
                None
            }
        }
    }

    /// The code of a file that we wrote for this component, engine and CPU.
    fn authentic<'a>(&self, digest: &Digest, file: &'a [u8]) -> Option<trusted::Authentic<'a>> {
        let rest = file.strip_prefix(MAGIC)?;
        let (mac, code) = rest.split_at_checked(MAC_BYTES)?;
        let mut signed = Vec::new();
        // `hmac::verify` wants one slice, and compares in constant time.
        signed.extend_from_slice(self.mac(digest, code).as_ref());
        aws_lc_rs::constant_time::verify_slices_are_equal(&signed, mac).ok()?;
        Some(trusted::Authentic::verified(code))
    }

    /// Keeps a compiled component. A file that cannot be written is a lost chance, not an error.
    pub(crate) fn put(&self, digest: &Digest, component: &Component) {
        let written = component
            .serialize()
            .map_err(|error| io::Error::other(format!("{error:#}")))
            .and_then(|code| {
                let mac = self.mac(digest, &code);
                write(&self.dir, &self.path(digest), &[MAGIC, mac.as_ref(), &code])
            });
        if let Err(error) = written {
            tracing::warn!(%digest, %error, "a compiled component could not be kept");
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file of mode 0600 so that others see it whole or not at all.
fn write(dir: &Path, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut unique = [0; 8];
    getrandom::fill(&mut unique).map_err(io::Error::other)?;
    let tmp = dir.join(format!(".tmp-{:016x}", u64::from_le_bytes(unique)));
    let result = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&tmp)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(&tmp, path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&tmp);
    }
    result
}

/// The key; a new one if there is none or it is not 32 bytes. With a new key, all older files are ignored.
fn read_or_make_key(dir: &Path, path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    match read(path).map(<[u8; KEY_BYTES]>::try_from) {
        Ok(Ok(key)) => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            return Ok(key);
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(Err(_)) | Err(_) => {}
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    write(dir, path, &[&key])?;
    Ok(key)
}
