//! Any bytes on the core link are read or refused, whole or in pieces, and what was read is written back the same.

use crate::Target;
use brink_protocol::{codec, deployment::DeploymentTable, link};
use std::fmt::Debug;

pub(crate) const TARGET: Target = Target {
    name: "link_messages",
    seeds,
    run,
};

fn seeds() -> Vec<Vec<u8>> {
    let table = codec::encode(&DeploymentTable::default()).unwrap_or_default();
    vec![table.to_vec(), vec![0; 16], vec![1; 16]]
}

fn check<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(message) = codec::decode::<T>(bytes) {
        let again = codec::encode(&message).and_then(|bytes| codec::decode::<T>(&bytes));
        assert_eq!(again, Ok(message));
    }
}

fn run(bytes: &[u8]) {
    check::<link::FeedMessage>(bytes);
    check::<link::FeedRequest>(bytes);
    check::<link::RecordsRequest>(bytes);
    check::<link::RecordsAnswer>(bytes);
    check::<link::CommandRequest>(bytes);
    check::<link::CommandAnswer>(bytes);
    check::<link::PurgeRequest>(bytes);
    check::<link::Report>(bytes);
    check::<DeploymentTable>(bytes);
    let mut reader = codec::FrameReader::default();
    for piece in bytes.chunks(7) {
        reader.push(piece);
        while let Ok(Some(_)) = reader.next::<link::FeedMessage>() {}
    }
}
