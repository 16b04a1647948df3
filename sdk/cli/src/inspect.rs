//! What a component is: its world, what it imports and exports, and which grants it needs.

use crate::error::Error;
use brink_protocol::{
    Digest,
    control::COMPONENT_BYTES_MAX,
    deployment::{Grants, World},
};
use serde::Serialize;
use std::path::Path;
use wit_parser::{Resolve, WorldItem, WorldKey, decoding::DecodedWasm};

/// What is known of a component from its bytes alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Inspection {
    /// What it exports; none: nothing that Brink runs.
    pub(crate) world: Option<World>,
    /// Its imports, in order.
    pub(crate) imports: Vec<Interface>,
    /// Its exports, in order.
    pub(crate) exports: Vec<Interface>,
    /// Grants without which a deployment of it is refused.
    pub(crate) grants_needed: Grants,
    /// Grants that it has a use for: without the others of them, a call is answered with an error. Toolchains of languages
    /// with a large runtime import outbound HTTP whether the program uses it or not.
    pub(crate) grants_used: Grants,
    /// Its content address.
    pub(crate) digest: Digest,
    /// Its size.
    pub(crate) size_bytes: u64,
}

/// An import or export: an interface with its functions, or one function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Interface {
    /// `wasi:http/types@0.2.3`, or the function's name.
    pub(crate) name: String,
    /// The functions of the interface; empty for a single function.
    pub(crate) functions: Vec<String>,
}

/// What a file that is not a component is instead.
fn instead(bytes: &[u8]) -> Option<&'static str> {
    // Version and layer, component model Binary.md: a core module has version 1, layer 0; a component has layer 1.
    let preamble = bytes.get(..8);
    match preamble {
        None => Some("too short for any WebAssembly file"),
        Some([0, b'a', b's', b'm', _, _, 1, 0]) => None,
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Some(
            "a core WebAssembly module, not a component. `brink build` makes a component of a Brink project; \
             `wasm-tools component new` does it for others",
        ),
        Some([0, b'a', b's', b'm', ..]) => {
            Some("WebAssembly of a version that Brink does not know")
        }
        Some([0x7f, b'E', b'L', b'F', ..]) => {
            Some("a native (ELF) program or library; build it for WebAssembly with `brink build`")
        }
        Some([b'(', ..]) => Some("WebAssembly text; `wasm-tools parse` makes it binary"),
        Some(_) => Some("not WebAssembly"),
    }
}

/// Reads and inspects a component file.
///
/// # Errors
/// It cannot be read, is larger than 64 MiB, or is not a component; the text says what it is instead.
pub(crate) fn inspect_file(path: &Path) -> Result<(Vec<u8>, Inspection), Error> {
    let wrong =
        |cause: &dyn std::fmt::Display| Error::Usage(format!("{}: {cause}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| wrong(&error))?;
    if metadata.is_dir() {
        return Err(wrong(&"a directory, not a component"));
    }
    if metadata.len() > COMPONENT_BYTES_MAX as u64 {
        return Err(wrong(&format!(
            "{} bytes; a component may have {COMPONENT_BYTES_MAX} at most",
            metadata.len()
        )));
    }
    let bytes = std::fs::read(path).map_err(|error| wrong(&error))?;
    let inspection = inspect(&bytes).map_err(|cause| wrong(&cause))?;
    Ok((bytes, inspection))
}

/// Inspects the bytes of a component.
///
/// # Errors
/// What they are instead, or what is malformed.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Inspection, String> {
    if let Some(what) = instead(bytes) {
        return Err(format!("this is {what}"));
    }
    let features = wasmparser::WasmFeatures::default() | wasmparser::WasmFeatures::CM_ASYNC;
    wasmparser::Validator::new_with_features(features)
        .validate_all(bytes)
        .map_err(|error| format!("this is not a valid component: {error}"))?;
    let decoded = wit_parser::decoding::decode(bytes)
        .map_err(|error| format!("this component cannot be read: {error:#}"))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err("this is a WIT package (an interface), not a component".into());
    };
    let world = resolve
        .worlds
        .get(world)
        .ok_or("this component has no world")?;
    let imports: Vec<_> = world
        .imports
        .iter()
        .filter_map(|(key, item)| interface(&resolve, key, item))
        .collect();
    let exports: Vec<_> = world
        .exports
        .iter()
        .filter_map(|(key, item)| interface(&resolve, key, item))
        .collect();
    Ok(Inspection {
        world: world_of(&exports),
        grants_needed: grants_needed(grants_used(&imports)),
        grants_used: grants_used(&imports),
        imports,
        exports,
        digest: Digest::of(bytes),
        size_bytes: bytes.len() as u64,
    })
}

fn interface(resolve: &Resolve, key: &WorldKey, item: &WorldItem) -> Option<Interface> {
    let name = resolve.name_world_key(key);
    match item {
        WorldItem::Interface { id, .. } => {
            let functions = resolve
                .interfaces
                .get(*id)
                .map(|interface| interface.functions.keys().cloned().collect());
            Some(Interface {
                name,
                functions: functions.unwrap_or_default(),
            })
        }
        WorldItem::Function(_) => Some(Interface {
            name,
            functions: Vec::new(),
        }),
        WorldItem::Type { .. } => None,
    }
}

/// Which world the exports fit.
fn world_of(exports: &[Interface]) -> Option<World> {
    let function = |name: &str| exports.iter().any(|export| export.name == name);
    if exports
        .iter()
        .any(|export| export.name.starts_with("wasi:http/incoming-handler@0.2."))
    {
        Some(World::Module)
    } else if function("execute") {
        Some(World::Command)
    } else if function("on-request") && function("on-response") {
        Some(World::Plugin)
    } else if function("target") && function("apply") {
        Some(World::Projection)
    } else if function("decide") {
        Some(World::Workflow)
    } else {
        None
    }
}

/// Which grants the imports have a use for.
fn grants_used(imports: &[Interface]) -> Grants {
    let imported = |prefix: &str| imports.iter().any(|import| import.name.starts_with(prefix));
    Grants {
        clock: imported("brink:platform/clock@"),
        random: imported("brink:platform/random@"),
        outbound_http: imported("wasi:http/outgoing-handler@"),
        purge: imports.iter().any(|import| {
            import.name.starts_with("brink:platform/cache@")
                && import.functions.iter().any(|name| name == "purge")
        }),
    }
}

/// Of these, those without which a call would trap.
fn grants_needed(used: Grants) -> Grants {
    Grants {
        outbound_http: false,
        purge: false,
        ..used
    }
}

/// The grants that are set, by name.
pub(crate) fn grant_names(grants: Grants) -> Vec<&'static str> {
    [
        ("clock", grants.clock),
        ("random", grants.random),
        ("outbound-http", grants.outbound_http),
        ("purge", grants.purge),
    ]
    .into_iter()
    .filter_map(|(name, set)| set.then_some(name))
    .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(names: &[&str]) -> Vec<Interface> {
        names
            .iter()
            .map(|name| Interface {
                name: (*name).to_owned(),
                functions: Vec::new(),
            })
            .collect()
    }

    #[test]
    fn worlds() {
        for (exports, world) in [
            (
                &["wasi:http/incoming-handler@0.2.3"][..],
                Some(World::Module),
            ),
            (&["execute"], Some(World::Command)),
            (&["on-request", "on-response"], Some(World::Plugin)),
            (&["target", "apply"], Some(World::Projection)),
            (&["decide"], Some(World::Workflow)),
            (&["on-request"], None),
            (&["target"], None),
            (&["wasi:cli/run@0.2.0"], None),
            (&[], None),
        ] {
            assert_eq!(world_of(&names(exports)), world, "{exports:?}");
        }
    }

    #[test]
    fn grants() {
        let mut imports = names(&[
            "brink:platform/clock@0.1.0",
            "wasi:http/outgoing-handler@0.2.3",
            "brink:platform/cache@0.1.0",
        ]);
        assert_eq!(
            grant_names(grants_used(&imports)),
            ["clock", "outbound-http"]
        );
        imports.last_mut().unwrap().functions.push("purge".into());
        assert_eq!(
            grant_names(grants_used(&imports)),
            ["clock", "outbound-http", "purge"]
        );
        assert_eq!(grant_names(grants_needed(grants_used(&imports))), ["clock"]);
    }

    #[test]
    fn what_is_not_a_component_is_named() {
        for (bytes, says) in [
            (&b""[..], "too short"),
            (b"\0asm\x01\0\0\0", "core WebAssembly module"),
            (b"\0asm\x0d\0\x01\0garbage", "not a valid component"),
            (b"\0asm\x02\0\0\0", "version"),
            (b"\x7fELF\x02\x01\x01\0", "native"),
            (b"(component)", "text"),
            (b"#!/bin/sh\n", "not WebAssembly"),
        ] {
            let error = inspect(bytes).unwrap_err();
            assert!(error.contains(says), "{bytes:?}: {error}");
        }
    }
}
