//! What is in the frames of a backup.

use super::gathered::RegistryChange;
use crate::{Error, store::KeptRow};
use brink_protocol::{Digest, Position, address::PartitionAddress};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What one frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Rows of a partition as they were.
    Rows(PartitionAddress, Vec<KeptRow>),
    /// A component.
    Component(Digest, Bytes),
    /// What changed of what is no record.
    Registry(Box<RegistryChange>),
    /// All before it together is the state of a moment.
    Mark(Mark),
}

/// A moment that can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Whatever was acknowledged before this is in, in milliseconds since 1970.
    pub from_ms: u64,
    /// Nothing of what began after this is in, in milliseconds since 1970.
    pub to_ms: u64,
    /// From where in the logs a follower goes on.
    pub position: Position,
}

const ROWS: u8 = 1;
const COMPONENT: u8 = 2;
const REGISTRY: u8 = 3;
const MARK: u8 = 4;

impl Piece {
    /// As it is written. Rows are postcard, what many versions of the program have to read is JSON.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Error> {
        let failed = |error: String| Error::Backup(format!("a piece was not encoded: {error}"));
        let json = |tag: u8, encoded: Result<Vec<u8>, serde_json::Error>| {
            let body = encoded.map_err(|error| failed(error.to_string()))?;
            Ok([&[tag], body.as_slice()].concat())
        };
        match self {
            Self::Rows(partition, rows) => postcard::to_extend(&(partition, rows), vec![ROWS])
                .map_err(|error| failed(error.to_string())),
            Self::Component(digest, bytes) => {
                Ok([&[COMPONENT], digest.as_bytes().as_slice(), bytes].concat())
            }
            Self::Registry(registry) => json(REGISTRY, serde_json::to_vec(registry)),
            Self::Mark(mark) => json(MARK, serde_json::to_vec(mark)),
        }
    }

    /// Reads what [`Piece::encode`] wrote.
    ///
    /// # Errors
    /// It is not that: another program wrote it.
    pub(super) fn decode(frame: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "piece of a backup";
        let (tag, body) = frame
            .split_first()
            .ok_or_else(|| Error::corrupt(WHAT, "it is empty"))?;
        match *tag {
            ROWS => {
                let (partition, rows) =
                    postcard::from_bytes(body).map_err(|error| Error::corrupt(WHAT, error))?;
                Ok(Self::Rows(partition, rows))
            }
            COMPONENT => {
                let (name, bytes) = body
                    .split_first_chunk::<32>()
                    .ok_or_else(|| Error::corrupt(WHAT, "it is too short"))?;
                let digest = Digest::of(bytes);
                if digest.as_bytes() != name {
                    return Err(Error::corrupt(
                        WHAT,
                        "a component is not what its name says",
                    ));
                }
                Ok(Self::Component(digest, Bytes::copy_from_slice(bytes)))
            }
            REGISTRY => serde_json::from_slice(body)
                .map(|registry| Self::Registry(Box::new(registry)))
                .map_err(|error| Error::corrupt(WHAT, error)),
            MARK => serde_json::from_slice(body)
                .map(Self::Mark)
                .map_err(|error| Error::corrupt(WHAT, error)),
            tag => Err(Error::corrupt(
                WHAT,
                format!("this program knows no piece of kind {tag}"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::RowKey;

    #[test]
    fn pieces_and_back() {
        let partition = PartitionAddress {
            tenant: "t".parse().unwrap(),
            collection: "c".into(),
            partition: "p".into(),
        };
        let rows = vec![
            KeptRow {
                key: RowKey::Record("s".into()),
                version: 3,
                value: Some(Bytes::from_static(b"v")),
                expires_at_ms: Some(7),
            },
            KeptRow {
                key: RowKey::Answer {
                    command: "pay".parse().unwrap(),
                    key: "1".into(),
                },
                version: 1,
                value: None,
                expires_at_ms: None,
            },
        ];
        let mark = Mark {
            from_ms: 1,
            to_ms: 2,
            position: "core-1.1=42".parse().unwrap(),
        };
        for piece in [
            Piece::Rows(partition, rows),
            Piece::Component(Digest::of(b"wasm"), Bytes::from_static(b"wasm")),
            Piece::Registry(Box::default()),
            Piece::Mark(mark),
        ] {
            let bytes = piece.encode().unwrap();
            assert_eq!(Piece::decode(&bytes).unwrap(), piece);
        }
        assert!(Piece::decode(&[]).is_err());
        assert!(Piece::decode(&[9, 1]).is_err());
    }
}
