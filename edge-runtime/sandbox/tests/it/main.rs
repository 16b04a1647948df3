//! Runs components, made here from WebAssembly text, in a real sandbox.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod background;
mod cache;
mod calls;
mod events;
mod faults;
mod guest;
mod guests;
mod host;
mod http;
mod inspect;
mod looks;
mod platform;
mod reuse;
