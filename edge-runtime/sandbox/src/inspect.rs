//! Says what a component is and whether it can run here, without compiling its code.

use crate::{
    COMPONENT_BYTES_MAX, Error, Grants, MissingImport, World, engine, host::Host, linkers::Linkers,
};
use std::sync::LazyLock;
use wasmparser::{Chunk, Encoding, Parser, Payload, Validator, WasmFeatures};
use wasmtime::{
    Engine,
    component::{Component, Linker, ResourceType, types::ComponentItem},
};

/// What a component is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Which world it fits.
    pub world: World,
    /// The names of what it imports, sorted.
    pub imports: Vec<String>,
    /// The names of what it exports, sorted.
    pub exports: Vec<String>,
    /// Its size.
    pub size_bytes: u64,
    /// It imports `purge` of `brink:platform/cache`.
    purges: bool,
}

impl Inspection {
    /// The grants without which a call of something it imports would trap: refuse a deployment that lacks one.
    #[must_use]
    pub fn grants_needed(&self) -> Grants {
        Grants {
            clock: self.has("brink:platform/clock@"),
            random: self.has("brink:platform/random@"),
            ..Grants::default()
        }
    }

    /// All grants that it has a use for: those of [`Inspection::grants_needed`], and those without which a call is
    /// answered with an error (outbound HTTP, purges). Toolchains of languages with a large runtime import
    /// outbound HTTP whether the program uses it or not.
    #[must_use]
    pub fn grants_used(&self) -> Grants {
        Grants {
            outbound_http: self.has("wasi:http/outgoing-handler@"),
            purge: self.purges,
            ..self.grants_needed()
        }
    }

    fn has(&self, import: &str) -> bool {
        self.imports.iter().any(|name| name.starts_with(import))
    }
}

/// What a component exports and imports, as its outermost sections say.
#[derive(Debug, Default)]
struct Outline {
    imports: Vec<String>,
    exports: Vec<String>,
    /// Where the first section with code begins; before it there are only types and imports.
    head: usize,
    /// There are imports after the head too.
    scattered: bool,
}

/// Looks at a component: what it is, what it imports and exports. Everything it imports is there and of the right type.
///
/// # Errors
/// It is no component, exports nothing that Brink calls, or imports something that the host does not have. The text
/// says which, and what to do.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, Error> {
    let size_bytes = bytes.len() as u64;
    if size_bytes > COMPONENT_BYTES_MAX {
        return Err(Error::TooLarge {
            actual: size_bytes,
            limit: COMPONENT_BYTES_MAX,
        });
    }
    check_kind(bytes)?;
    let mut features = WasmFeatures::default();
    features.remove(WasmFeatures::CM_ASYNC);
    let outline = outline(bytes).map_err(|error| Error::Invalid(error.to_string()))?;
    let world = world_of(&outline.exports).ok_or_else(|| Error::NoWorld {
        exports: outline.exports.clone(),
    })?;
    Validator::new_with_features(features)
        .validate_all(bytes)
        .map_err(|error| Error::Invalid(error.to_string()))?;
    let purges = check_imports(bytes, &outline, world)?;
    let mut imports = outline.imports;
    imports.sort();
    let mut exports = outline.exports;
    exports.sort();
    Ok(Inspection {
        world,
        imports,
        exports,
        size_bytes,
        purges,
    })
}

/// Refuses what is no component, and says what it is instead.
fn check_kind(bytes: &[u8]) -> Result<(), Error> {
    let not_wasm = |text: &str| Error::NotWasm(text.to_owned());
    if !bytes.starts_with(b"\0asm") {
        let trimmed = bytes.trim_ascii_start();
        return Err(if bytes.is_empty() {
            not_wasm("there are no bytes")
        } else if trimmed.starts_with(b"(component") || trimmed.starts_with(b"(module") {
            not_wasm(
                "it is the text format; `wasm-tools parse FILE.wat -o FILE.wasm` makes the binary",
            )
        } else {
            not_wasm("it does not begin with `\\0asm`")
        });
    }
    match bytes.get(4..8) {
        Some([1, 0, 0, 0]) => Err(Error::CoreModule),
        Some([0x0d, 0, 1, 0]) => Ok(()),
        Some(version) => Err(Error::Invalid(format!(
            "its version {version:?} is not known"
        ))),
        None => Err(not_wasm("it ends after four bytes")),
    }
}

/// Reads the outermost sections.
fn outline(bytes: &[u8]) -> Result<Outline, wasmparser::BinaryReaderError> {
    let mut outline = Outline {
        head: bytes.len(),
        ..Outline::default()
    };
    let mut depth = 0usize;
    let mut in_head = true;
    let mut parser = Parser::new(0);
    parser.set_features(WasmFeatures::all());
    let mut stack = Vec::new();
    let mut rest = bytes;
    let mut position = 0usize;
    loop {
        let (payload, consumed) = match parser.parse(rest, true)? {
            Chunk::Parsed { payload, consumed } => (payload, consumed),
            Chunk::NeedMoreData(_) => return Ok(outline),
        };
        let start = position;
        position += consumed;
        rest = rest.get(consumed..).unwrap_or_default();
        match payload {
            Payload::ModuleSection { parser: inner, .. }
            | Payload::ComponentSection { parser: inner, .. } => {
                if depth == 0 && in_head {
                    in_head = false;
                    outline.head = start;
                }
                depth += 1;
                stack.push(std::mem::replace(&mut parser, inner));
            }
            Payload::End(_) => match stack.pop() {
                Some(outer) => {
                    parser = outer;
                    depth -= 1;
                }
                None => return Ok(outline),
            },
            _ if depth > 0 => {
                if let Payload::CodeSectionStart { size, .. } = payload {
                    parser.skip_section();
                    position += size as usize;
                    rest = rest.get(size as usize..).unwrap_or_default();
                }
            }
            Payload::Version {
                encoding: Encoding::Component,
                ..
            }
            | Payload::ComponentTypeSection(_)
            | Payload::ComponentAliasSection(_)
            | Payload::CustomSection(_) => {}
            Payload::ComponentImportSection(section) => {
                outline.scattered |= !in_head;
                for import in section {
                    outline.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    outline.exports.push(export?.name.name.to_owned());
                }
                if in_head {
                    in_head = false;
                    outline.head = start;
                }
            }
            _ if in_head => {
                in_head = false;
                outline.head = start;
            }
            _ => {}
        }
    }
}

/// Which world something with these exports fits.
pub(crate) fn world_of(exports: &[String]) -> Option<World> {
    let has = |name: &str| exports.iter().any(|export| export == name);
    let handler = |export: &String| {
        export
            .strip_prefix("wasi:http/incoming-handler@0.2.")
            .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()))
    };
    if exports.iter().any(handler) {
        Some(World::Module)
    } else if has("execute") {
        Some(World::Command)
    } else if has("on-request") && has("on-response") {
        Some(World::Plugin)
    } else if has("target") && has("apply") {
        Some(World::Projection)
    } else if has("decide") {
        Some(World::Workflow)
    } else {
        None
    }
}

struct Inspecting {
    engine: Engine,
    linkers: Linkers,
}

static INSPECTING: LazyLock<Result<Inspecting, String>> = LazyLock::new(|| {
    let engine = engine::inspecting().map_err(|error| error.to_string())?;
    let linkers = Linkers::new(&engine).map_err(|error| format!("{error:#}"))?;
    Ok(Inspecting { engine, linkers })
});

/// Checks the types of all imports against the linker of `world`; whether `purge` is among them.
fn check_imports(bytes: &[u8], outline: &Outline, world: World) -> Result<bool, Error> {
    let Inspecting { engine, linkers } = INSPECTING
        .as_ref()
        .map_err(|text| Error::Engine(text.clone()))?;
    // A component that has only the types and imports of this one: nothing of it needs to be compiled.
    let head = if outline.scattered {
        bytes
    } else {
        bytes.get(..outline.head).unwrap_or(bytes)
    };
    let component =
        Component::new(engine, head).map_err(|error| Error::Invalid(format!("{error:#}")))?;
    missing(engine, linkers.of(world), &component)?;
    let cache = component
        .component_type()
        .imports(engine)
        .find_map(|(name, item)| match item.ty {
            ComponentItem::ComponentInstance(instance)
                if name.starts_with("brink:platform/cache@") =>
            {
                Some(instance)
            }
            _ => None,
        });
    Ok(cache.is_some_and(|cache| cache.get_export(engine, "purge").is_some()))
}

/// Asks the linker, import by import: what it lacks is noted and made up, until the rest fits.
fn missing(engine: &Engine, linker: &Linker<Host>, component: &Component) -> Result<(), Error> {
    let mut linker = linker.clone();
    linker.allow_shadowing(true);
    let mut imports: Vec<MissingImport> = Vec::new();
    while let Err(error) = linker.instantiate_pre(component) {
        let text = error.to_string();
        let found = component
            .component_type()
            .imports(engine)
            .map(|(name, item)| (name.to_owned(), item.ty))
            .find(|(name, _)| {
                text.contains(&format!("`{name}`")) && imports.iter().all(|i| i.name != *name)
            });
        let cause = error.root_cause().to_string();
        let Some((name, item)) = found else {
            if imports.is_empty() {
                return Err(Error::Invalid(format!("{error:#}")));
            }
            break;
        };
        // What follows from a made-up import is not the component's fault.
        if imports.is_empty() || !cause.contains("resource type") {
            let reason = explain(&error);
            imports.push(MissingImport {
                name: name.clone(),
                reason,
            });
        }
        if make_up(engine, &mut linker, &name, &item).is_err() {
            break;
        }
    }
    if imports.is_empty() {
        Ok(())
    } else {
        Err(Error::MissingImports { imports })
    }
}

/// What about an import does not fit, from the causes that wasmtime gives.
fn explain(error: &wasmtime::Error) -> String {
    let cause = error.root_cause().to_string();
    let part = error.chain().skip(1).find_map(|cause| {
        let text = cause.to_string();
        let rest = text.strip_prefix("instance export ")?;
        let part = rest.strip_suffix(" has the wrong type")?;
        Some(part.to_owned())
    });
    let missing = cause.ends_with("implementation is missing");
    match (missing, part) {
        (true, Some(part)) => format!("{part} is not there"),
        (true, None) => "not there".into(),
        (false, Some(part)) => format!("{part} has another type: {cause}"),
        (false, None) => cause,
    }
}

/// Defines an import that is not there, so that the others can be checked.
fn make_up(
    engine: &Engine,
    linker: &mut Linker<Host>,
    name: &str,
    item: &ComponentItem,
) -> wasmtime::Result<()> {
    match item {
        ComponentItem::ComponentInstance(instance) => {
            let mut made = linker.instance(name)?;
            for (export, item) in instance.exports(engine) {
                match item.ty {
                    ComponentItem::ComponentFunc(_) => {
                        made.func_new(export, |_, _, _, _| wasmtime::bail!("not there"))?;
                    }
                    ComponentItem::Resource(_) => {
                        made.resource(export, ResourceType::host::<()>(), |_, _| Ok(()))?;
                    }
                    _ => {}
                }
            }
            Ok(())
        }
        ComponentItem::ComponentFunc(_) => linker
            .root()
            .func_new(name, |_, _, _, _| wasmtime::bail!("not there")),
        ComponentItem::Resource(_) => {
            linker
                .root()
                .resource(name, ResourceType::host::<()>(), |_, _| Ok(()))
        }
        _ => wasmtime::bail!("nothing that can be made up"),
    }
}
