//! What the control API says of backups, erasures and the health of a core.

use crate::{Position, control::PurgeStatus};
use serde::{Deserialize, Serialize};

/// What is kept as backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Backups {
    /// Where, at the core; none: none are taken.
    pub directory: Option<String>,
    /// When everything was last known to be kept, in milliseconds since 1970: what is acknowledged later may be lost with
    /// the store.
    pub kept_until_ms: Option<u64>,
    /// Why it was not kept any further.
    pub failure: Option<String>,
    /// The logs did not reach back any more to what was kept last, at this moment, in milliseconds since 1970: from it to the
    /// next snapshot nothing can be restored.
    #[serde(default)]
    pub gap_ms: Option<u64>,
    /// Why something that lies there is no backup any more.
    #[serde(default)]
    pub damaged: Vec<String>,
    /// Oldest first.
    pub generations: Vec<BackupGeneration>,
}

/// A snapshot with what followed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BackupGeneration {
    /// Its name.
    pub name: String,
    /// When it was begun, in milliseconds since 1970.
    pub begun_ms: u64,
    /// The first moment that can be restored from it, in milliseconds since 1970.
    pub from_ms: u64,
    /// Rows in its snapshot.
    pub rows: u64,
    /// Bytes of all its files.
    pub bytes: u64,
}

/// One partition of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErasedPartition {
    /// Its collection.
    pub collection: String,
    /// Its key.
    pub partition: String,
}

/// One record of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErasedRecord {
    /// Its collection.
    pub collection: String,
    /// Its partition.
    pub partition: String,
    /// Its sort key.
    pub sort: String,
}

/// Most partitions and records of one erasure, together.
pub const ERASED_MAX: usize = 1000;

/// Asks for an erasure: everything of a person.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewErasure {
    /// Partitions of which nothing is to be left.
    #[serde(default)]
    pub partitions: Vec<ErasedPartition>,
    /// Single records of partitions that hold something else, too.
    #[serde(default)]
    pub records: Vec<ErasedRecord>,
}

/// How far an erasure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ErasureStage {
    /// Rows are being deleted.
    Deleting,
    /// They are; PoPs have yet to say that nothing made from them is left.
    Purging,
    /// It is looked whether anything came back.
    Checking,
    /// It is done, and certified.
    Done,
}

/// An erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Erasure {
    /// A ULID.
    pub id: String,
    /// How far it is.
    pub stage: ErasureStage,
    /// When it was asked for, in milliseconds since 1970.
    pub asked_ms: u64,
    /// The id of the token that asked.
    pub by: String,
    /// What is known of it so far, signed once it is done.
    pub certificate: Option<SignedCertificate>,
}

/// What was erased of one collection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErasedCollection {
    /// The collection.
    pub collection: String,
    /// Records and events that were deleted.
    pub records: u64,
    /// Kept answers, and what was kept of records that were gone before.
    pub others: u64,
}

/// What cannot be reached by an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotReached {
    /// What.
    pub what: String,
    /// When it is gone by itself, in milliseconds since 1970; none: it is not known.
    pub lapses_ms: Option<u64>,
}

/// The proof of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Certificate {
    /// The version of this form: 1.
    pub form: u32,
    /// The erasure.
    pub id: String,
    /// Whose data it was in.
    pub tenant: String,
    /// The core that certifies it.
    pub node: String,
    /// When it was asked for, in milliseconds since 1970.
    pub asked_ms: u64,
    /// When it was found that nothing is left, in milliseconds since 1970.
    pub done_ms: u64,
    /// SHA-256 of each thing that was asked for: `COLLECTION NUL PARTITION`, or `COLLECTION NUL PARTITION NUL SORT`.
    pub subjects: Vec<String>,
    /// What was deleted.
    pub erased: Vec<ErasedCollection>,
    /// The position of the last deletion.
    pub position: Position,
    /// Which PoPs have ended what was made from it, and when.
    pub purge: PurgeStatus,
    /// What else may hold a copy.
    pub not_reached: Vec<NotReached>,
}

/// A certificate with its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedCertificate {
    /// The certificate, as the JSON text that was signed.
    pub certificate: String,
    /// Ed25519 signature of the text, in base64.
    pub signature: String,
    /// The core's public key, in base64.
    pub key: String,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Health {
    /// As it should be.
    Ok,
    /// It will become bad.
    Warn,
    /// It is bad.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Finding {
    /// What.
    pub name: String,
    /// How it is.
    pub health: Health,
    /// What was seen, and what to do about it if it is not as it should be.
    pub text: String,
}

/// What a core says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Diagnosis {
    /// The core.
    pub node: String,
    /// Its clock, in milliseconds since 1970.
    pub at_ms: u64,
    /// Everything that was looked at.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// How the worst of it is.
    #[must_use]
    pub fn health(&self) -> Health {
        let worst = self.findings.iter().map(|finding| finding.health).max();
        worst.unwrap_or(Health::Ok)
    }
}
