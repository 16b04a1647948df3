//! The decisions about HTTP caching held against naive models of the RFCs' text.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod age;
mod freshness;
mod models;
mod ranges;
mod vary;
