//! What needs no round trip: `brink:platform/config`, `log`, `identity`, `clock` and `random`.

use crate::{
    bindings::platform::{clock, config, identity, log, plugin_types, random},
    context::Level,
    host::Host,
};
use std::time::UNIX_EPOCH;

/// Most random bytes of one call.
const RANDOM_BYTES_MAX: u32 = 4096;

impl config::Host for Host {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.context.config.get(&name).cloned())
    }

    fn all(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        let values = self.context.config.iter();
        Ok(values.map(|(n, v)| (n.clone(), v.clone())).collect())
    }
}

impl From<log::Level> for Level {
    fn from(level: log::Level) -> Self {
        match level {
            log::Level::Trace => Self::Trace,
            log::Level::Debug => Self::Debug,
            log::Level::Info => Self::Info,
            log::Level::Warn => Self::Warn,
            log::Level::Error => Self::Error,
        }
    }
}

impl log::Host for Host {
    fn emit(
        &mut self,
        level: log::Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        self.lines.emit(level.into(), message, fields);
        Ok(())
    }
}

impl identity::Host for Host {
    fn tenant(&mut self) -> wasmtime::Result<String> {
        Ok(self.context.identity.tenant())
    }

    fn subject(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.context.identity.subject())
    }

    fn claims(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.context.identity.claims())
    }

    fn region(&mut self) -> wasmtime::Result<String> {
        Ok(self.context.identity.region())
    }

    fn pop(&mut self) -> wasmtime::Result<String> {
        Ok(self.context.identity.pop())
    }
}

/// Traps unless the grant is there. A module that imports the interface is refused at deployment already; this holds
/// for grants taken away later.
fn granted(grant: &str, is: bool) -> wasmtime::Result<()> {
    if is {
        Ok(())
    } else {
        wasmtime::bail!(
            "brink:platform/{grant} was called, and the deployment has no grant `{grant}`"
        )
    }
}

impl clock::Host for Host {
    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        granted("clock", self.context.grants.clock)?;
        self.context.witness.unnamed();
        let since = self.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl random::Host for Host {
    fn bytes(&mut self, length: u32) -> wasmtime::Result<Vec<u8>> {
        granted("random", self.context.grants.random)?;
        self.context.witness.unnamed();
        if length > RANDOM_BYTES_MAX {
            wasmtime::bail!(
                "brink:platform/random was asked for {length} bytes, the limit is {RANDOM_BYTES_MAX}"
            );
        }
        let mut bytes = vec![0; length as usize];
        if let Err(error) = getrandom::fill(&mut bytes) {
            wasmtime::bail!("the machine has no random bytes: {error}");
        }
        Ok(bytes)
    }
}

impl plugin_types::Host for Host {}
