//! The cache: responses in memory and on disk, kept coherent by the feed.
//!
//! ```text
//! lookup -> Hit(answer)            send it; run `answer.revalidate` beside, if there is one
//!        -> Forward(fill)          prepare(headers), ask module or origin, then one of
//!                                    complete(..) -> Answer   the body is at hand
//!                                    pass(..)                 it is streamed, or not to be stored
//!                                    failed(..)               no answer came; maybe a stale one may be served
//!        -> Unavailable(problem)
//! ```
//!
//! Memory and disk ([`tiers`]); a hit costs one look-up in a shard, one comparison of apply indexes, one copy of the
//! prepared head. What the feed says stands in the [`ledger`], and in the [`journal`] across restarts.

mod at_once;
mod coders;
mod coding;
mod combining;
mod config;
mod content;
mod counters;
mod disk;
mod encoding;
mod ending;
mod engine;
mod error;
mod explain;
mod fill;
mod filling;
mod first_form;
mod flights;
mod growing;
mod invalidation;
mod journal;
mod judgement;
mod keeping;
mod laying;
mod ledger;
mod lookup;
mod memory;
mod outdated;
mod post;
mod prepared;
mod reading;
mod reply;
mod request;
mod shared;
mod shielded;
mod stored;
mod tiers;
mod unstored;
mod validation;
mod waiting;
mod way;
mod weight;
mod widened;

pub use at_once::{AtOnce, PlainGet};
pub use config::Config;
pub use counters::Figures;
pub use disk::DiskFigures;
pub use engine::{Applied, Cache};
pub use error::Error;
pub use fill::{Answer, Fill};
pub use filling::Filling;
pub use lookup::Lookup;
pub use request::{CacheRequest, Dependencies, Kept, PopAsks, Ruled};
pub use shielded::ShieldTerms;

#[cfg(test)]
mod tests;
