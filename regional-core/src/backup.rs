//! Backups: a snapshot of everything that a store holds, and increments that follow the change log, so that the state of any
//! moment since can be put back.
//!
//! | module | what it knows |
//! |---|---|
//! | `frames`, `piece`, `gathered`, `directory` | what the files are |
//! | `snapshot`, `pending`, `answers`, `capture`, `follow`, `take` | how they are written while the core runs |
//! | `inspect`, `restore` | how they are read, and put back |
//! | `service` | when they are taken, and how many are kept |
//!
//! What is absent: keys. The certificate authority and the control API's secrets are files of the data directory; session
//! keys are not kept, for a store that was put back does not know what their tokens have seen.

mod answers;
mod capture;
mod directory;
mod follow;
pub(crate) mod frames;
mod gathered;
mod inspect;
mod moment;
mod pending;
mod piece;
mod restore;
mod service;
mod snapshot;
mod take;
#[cfg(test)]
pub(crate) mod tests;

pub use directory::{Generation, Manifest, Part};
pub use follow::Follower;
pub use inspect::{Ending, Inspection, Standing, inspect};
pub use moment::{moment, time};
pub use piece::Mark;
pub use restore::{Restored, restore};
pub use service::{BackupConfig, Backups};
pub use take::{Resumed, begin, resume};
