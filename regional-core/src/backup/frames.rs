//! Files of a backup: frames in a chain of SHA-256, so that nothing in them changes, moves or goes missing unseen.
//!
//! A file is `BRNKBK01`, the 32 bytes of the chain where it begins, and frames. A frame is its length (4 bytes,
//! little-endian), the first 4 bytes of SHA-256(chain, length), the payload, and the next link of the chain:
//! SHA-256(chain, length, payload). A file that ends in the middle of a frame was cut off; one whose bytes are not what the
//! chain says was changed.

use crate::Error;
use sha2::{Digest as _, Sha256};
use std::{
    fs::{File, OpenOptions},
    io::{BufReader, BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"BRNKBK01";
const HEADER_BYTES: u64 = 40;
/// Bytes of a frame beyond its payload.
const FRAME_BYTES: u64 = 40;
/// Largest payload, in bytes: a component and some names.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 96 << 20;

/// A link of a chain.
pub(crate) type Link = [u8; 32];

/// Where a chain begins.
#[must_use]
pub(crate) fn beginning(of: &str) -> Link {
    Sha256::digest(of.as_bytes()).into()
}

fn next(chain: &Link, length: [u8; 4], payload: &[u8]) -> Link {
    let mut hash = Sha256::new();
    hash.update(chain);
    hash.update(length);
    hash.update(payload);
    hash.finalize().into()
}

fn check_of(chain: &Link, length: [u8; 4]) -> [u8; 4] {
    let mut hash = Sha256::new();
    hash.update(chain);
    hash.update(length);
    let [a, b, c, d, ..] = <Link>::from(hash.finalize());
    [a, b, c, d]
}

/// Opens a file of its owner's alone for writing; it must not be there, or `is_new` is false.
pub(crate) fn open_private(path: &Path, is_new: bool) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    open(options.write(true).create_new(is_new), path)
}

/// Opens a file of its owner's alone, and makes it first if it is not there.
pub(crate) fn open_or_make_private(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    open(options.write(true).create(true).truncate(false), path)
}

fn open(options: &mut OpenOptions, path: &Path) -> Result<File, Error> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let opened = options.open(path);
    opened.map_err(|error| Error::file("written", path, error))
}

/// Writes frames.
pub(crate) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    chain: Link,
    bytes: u64,
}

impl Writer {
    /// Begins a new file.
    ///
    /// # Errors
    /// It is there already, or cannot be written.
    pub(crate) fn create(path: &Path, chain: Link) -> Result<Self, Error> {
        let mut writer = Self {
            path: path.to_owned(),
            file: BufWriter::new(open_private(path, true)?),
            chain,
            bytes: 0,
        };
        writer.write(MAGIC)?;
        writer.write(&chain)?;
        Ok(writer)
    }

    /// Goes on in a file that was read up to `bytes`, where its chain is at `chain`; what comes behind is cut off.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn resume(path: &Path, bytes: u64, chain: Link) -> Result<Self, Error> {
        use std::io::Seek as _;
        let failed = |error| Error::file("written", path, error);
        let mut file = open_private(path, false)?;
        file.set_len(bytes).map_err(failed)?;
        file.seek(std::io::SeekFrom::Start(bytes)).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            chain,
            bytes,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file
            .write_all(bytes)
            .map_err(|error| Error::file("written", &self.path, error))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// It is too large, or the file cannot be written.
    pub(crate) fn push(&mut self, payload: &[u8]) -> Result<(), Error> {
        let length = u32::try_from(payload.len())
            .ok()
            .filter(|_| payload.len() <= PAYLOAD_BYTES_MAX)
            .ok_or_else(|| Error::Backup("a row is too large for a backup".into()))?
            .to_le_bytes();
        let check = check_of(&self.chain, length);
        self.chain = next(&self.chain, length, payload);
        let chain = self.chain;
        self.write(&length)?;
        self.write(&check)?;
        self.write(payload)?;
        self.write(&chain)
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        let synced = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_data());
        synced.map_err(|error| Error::file("written", &self.path, error))
    }

    /// How long the file is, in bytes.
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where its chain is.
    #[must_use]
    pub(crate) fn chain(&self) -> Link {
        self.chain
    }
}

/// What comes next in a file.
#[derive(Debug)]
pub(crate) enum Next {
    /// A frame that is what it was.
    Frame(Vec<u8>),
    /// The file ends behind its last frame.
    End,
    /// The file ends in the middle of a frame, or of its beginning.
    Torn,
    /// Its bytes are not those that were written.
    Changed,
}

/// Reads frames.
pub(crate) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    chain: Link,
    /// Bytes up to the end of the last good frame.
    good: u64,
    length: u64,
    is_begun: bool,
}

impl Reader {
    /// Over a file whose chain begins at `chain`.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn open(path: &Path, chain: Link) -> Result<Self, Error> {
        let failed = |error| Error::file("read", path, error);
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(1 << 20, file),
            chain,
            good: 0,
            length,
            is_begun: false,
        })
    }

    fn read<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.file
            .read_exact(&mut bytes)
            .map_err(|error| Error::file("read", &self.path, error))?;
        Ok(bytes)
    }

    /// The next frame.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn next(&mut self) -> Result<Next, Error> {
        if !self.is_begun {
            if self.length < HEADER_BYTES {
                return Ok(Next::Torn);
            }
            let (magic, chain) = (self.read::<8>()?, self.read::<32>()?);
            if magic != *MAGIC || chain != self.chain {
                return Ok(Next::Changed);
            }
            self.is_begun = true;
            self.good = HEADER_BYTES;
        }
        let left = self.length - self.good;
        if left == 0 {
            return Ok(Next::End);
        }
        if left < 8 {
            return Ok(Next::Torn);
        }
        let (length, check) = (self.read::<4>()?, self.read::<4>()?);
        let bytes = u32::from_le_bytes(length) as usize;
        if check != check_of(&self.chain, length) || bytes > PAYLOAD_BYTES_MAX {
            return Ok(Next::Changed);
        }
        if left < bytes as u64 + FRAME_BYTES {
            return Ok(Next::Torn);
        }
        let mut payload = vec![0; bytes];
        self.file
            .read_exact(&mut payload)
            .map_err(|error| Error::file("read", &self.path, error))?;
        let link = self.read::<32>()?;
        if link != next(&self.chain, length, &payload) {
            return Ok(Next::Changed);
        }
        self.chain = link;
        self.good += bytes as u64 + FRAME_BYTES;
        Ok(Next::Frame(payload))
    }

    /// How many of its bytes are good.
    #[must_use]
    pub(crate) fn good(&self) -> u64 {
        self.good
    }

    /// Where its chain is.
    #[must_use]
    pub(crate) fn chain(&self) -> Link {
        self.chain
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn frames(path: &Path, chain: Link) -> (Vec<Vec<u8>>, Next) {
        let mut reader = Reader::open(path, chain).unwrap();
        let mut found = Vec::new();
        loop {
            match reader.next().unwrap() {
                Next::Frame(frame) => found.push(frame),
                end => return (found, end),
            }
        }
    }

    #[test]
    fn every_byte_counts_and_every_cut_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let (path, bad) = (directory.path().join("a"), directory.path().join("b"));
        let chain = beginning("x");
        let mut writer = Writer::create(&path, chain).unwrap();
        let written: Vec<Vec<u8>> = vec![b"one".to_vec(), Vec::new(), vec![7; 300]];
        for frame in &written {
            writer.push(frame).unwrap();
        }
        writer.sync().unwrap();
        let (found, end) = frames(&path, chain);
        assert!(matches!(end, Next::End));
        assert_eq!(found, written);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(writer.bytes(), bytes.len() as u64);
        let ends: Vec<usize> = [3, 0, 300]
            .iter()
            .scan(40, |end, length| {
                *end += length + 40;
                Some(*end)
            })
            .collect();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            std::fs::write(&bad, &changed).unwrap();
            let (found, end) = frames(&bad, chain);
            assert!(matches!(end, Next::Changed), "byte {at}: {end:?}");
            let whole = ends.iter().filter(|end| **end <= at).count();
            assert_eq!(found, written[..whole], "byte {at}");
            std::fs::write(&bad, &bytes[..at]).unwrap();
            let (found, end) = frames(&bad, chain);
            let is_torn = at != 40 && !ends.contains(&at);
            assert_eq!(matches!(end, Next::Torn), is_torn, "cut at {at}: {end:?}");
            assert_eq!(found, written[..whole], "cut at {at}");
        }
        assert!(matches!(frames(&path, beginning("y")).1, Next::Changed));
    }

    #[test]
    fn a_cut_file_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let chain = beginning("x");
        let mut writer = Writer::create(&path, chain).unwrap();
        writer.push(b"one").unwrap();
        let (bytes, link) = (writer.bytes(), writer.chain());
        writer.push(b"two").unwrap();
        writer.sync().unwrap();
        let mut writer = Writer::resume(&path, bytes, link).unwrap();
        writer.push(b"three").unwrap();
        writer.sync().unwrap();
        assert_eq!(frames(&path, chain).0, [b"one".to_vec(), b"three".to_vec()]);
    }
}
