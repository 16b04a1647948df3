//! The other side of every call that leaves a guest: the host, or in tests [`crate::testing`].

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::command::brink::platform::event_append;
#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::module::brink::platform::{
    cache, clock, commands, config, events, identity, log, random, records, workflows,
};
#[cfg(target_arch = "wasm32")]
pub(crate) use crate::outbound;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::platform::{
    cache, clock, commands, config, event_append, events, identity, log, outbound, random, records,
    workflows,
};
