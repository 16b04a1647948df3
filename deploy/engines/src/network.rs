//! A network of the loopback that nobody else uses.

use crate::Error;
use std::{
    env,
    fs::{self, File, TryLockError},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process,
};

/// Networks that may be taken: 127.64.0.0/24 to 127.127.255.0/24.
const COUNT: u32 = 64 * 256;
/// How many are tried before giving up.
const TRIES: u32 = 512;

/// 127.A.B.0/24, held by a lock on a file until it is dropped or the process is gone.
#[derive(Debug)]
pub(crate) struct Network {
    prefix: [u8; 2],
    folder: PathBuf,
    _lock: File,
}

impl Network {
    /// Takes a free one. What an earlier cluster left in its folder is removed.
    pub(crate) fn take() -> Result<Self, Error> {
        let user = rustix::process::geteuid().as_raw();
        let base = env::temp_dir().join(format!("brink-engines-{user}"));
        fs::create_dir_all(&base).map_err(Error::file(&base))?;
        // Somewhere else for each process, so that they seldom ask for the same.
        let first = process::id().wrapping_mul(7);
        for step in 0..TRIES {
            let number = first.wrapping_add(step) % COUNT;
            let [.., high, low] = number.to_be_bytes();
            if let Some(network) = Self::claim(&base, [64 + high, low])? {
                return Ok(network);
            }
        }
        Err(Error::NoNetwork)
    }

    fn claim(base: &Path, prefix: [u8; 2]) -> Result<Option<Self>, Error> {
        let [high, low] = prefix;
        let folder = base.join(format!("127.{high}.{low}"));
        fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(Error::file(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(Error::file(path)(error)),
        }
        // Somebody else's program, or an engine that is just ending.
        if TcpListener::bind((Ipv4Addr::new(127, high, low, 1), crate::CQL_PORT)).is_err() {
            return Ok(None);
        }
        for entry in fs::read_dir(&folder)
            .map_err(Error::file(&folder))?
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                fs::remove_dir_all(&path).map_err(Error::file(&path))?;
            }
        }
        Ok(Some(Self {
            prefix,
            folder,
            _lock: lock,
        }))
    }

    /// The address of node `number`, counted from 1.
    pub(crate) fn address(&self, number: u8) -> Ipv4Addr {
        let [high, low] = self.prefix;
        Ipv4Addr::new(127, high, low, number)
    }

    /// Where the nodes' files go.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}
