//! The other side of every call that leaves a guest: the host, or in tests [`crate::testing`].

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::module::brink::platform::{
    cache, clock, commands, config, identity, log, random, records,
};
#[cfg(target_arch = "wasm32")]
pub(crate) use crate::outbound;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::platform::{
    cache, clock, commands, config, identity, log, outbound, random, records,
};
