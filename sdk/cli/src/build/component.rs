//! From a core module, as rustc writes it, to a component.

use super::Options;
use crate::error::Error;
use std::path::Path;
use wasmparser::{Parser, Payload};

/// Makes a component of the core module at `path`; the WIT it was compiled against is in its custom sections.
///
/// # Errors
/// It cannot be read, or it imports or exports what its WIT does not say.
pub(super) fn of_core_module(path: &Path, options: Options) -> Result<Vec<u8>, Error> {
    let wrong = |cause: String| {
        Error::failed(
            format_args!("{} cannot become a component", path.display()),
            cause,
        )
    };
    let module = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let module = if options.debug || options.names {
        module
    } else {
        without_names(&module).map_err(wrong)?
    };
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| wrong(format!("{error:#}")))
}

/// The module without names, debug information and the list of tools that made it: none of them is needed to run it, and
/// the last would make equal sources unequal bytes.
fn without_names(module: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = wasm_encoder::Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(|error| error.to_string())?;
        if let Payload::CustomSection(section) = &payload {
            let name = section.name();
            if name == "name" || name == "producers" || name.starts_with(".debug") {
                continue;
            }
        }
        if let Some((id, range)) = payload.as_section() {
            let bounds = usize::try_from(range.start)
                .ok()
                .zip(usize::try_from(range.end).ok());
            let data = bounds
                .and_then(|(start, end)| module.get(start..end))
                .ok_or("a section reaches beyond the end of the module")?;
            out.section(&wasm_encoder::RawSection { id, data });
        }
    }
    Ok(out.finish())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_go_and_the_rest_stays() {
        let mut module = wasm_encoder::Module::new();
        let section = |name: &'static str| wasm_encoder::CustomSection {
            name: name.into(),
            data: b"x"[..].into(),
        };
        module.section(&section("name"));
        module.section(&section("component-type:module"));
        module.section(&section(".debug_info"));
        module.section(&section("producers"));
        let bytes = without_names(&module.finish()).unwrap();
        let left: Vec<String> = Parser::new(0)
            .parse_all(&bytes)
            .filter_map(|payload| match payload.unwrap() {
                Payload::CustomSection(section) => Some(section.name().to_owned()),
                _ => None,
            })
            .collect();
        assert_eq!(left, ["component-type:module"]);
        assert!(without_names(b"\0asm\x01\0\0\0\x01\x7f").is_err());
    }
}
