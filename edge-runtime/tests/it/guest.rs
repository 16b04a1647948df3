//! Makes components of core WebAssembly text. A body names the imports and helpers that it calls as `$name`; what it
//! names is added to it. `@"text"` stands for the address and length of a text.

use bytes::Bytes;
use std::fmt::Write as _;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// `$name`, module, field, type.
const IMPORTS: &[(&str, &str, &str, &str)] = &[
    (
        "fields_new",
        "wasi:http/types@0.2.10",
        "[constructor]fields",
        "(result i32)",
    ),
    (
        "fields_append",
        "wasi:http/types@0.2.10",
        "[method]fields.append",
        "(param i32 i32 i32 i32 i32 i32)",
    ),
    (
        "request_headers",
        "wasi:http/types@0.2.10",
        "[method]incoming-request.headers",
        "(param i32) (result i32)",
    ),
    (
        "fields_get",
        "wasi:http/types@0.2.10",
        "[method]fields.get",
        "(param i32 i32 i32 i32)",
    ),
    (
        "fields_entries",
        "wasi:http/types@0.2.10",
        "[method]fields.entries",
        "(param i32 i32)",
    ),
    (
        "out_request_new",
        "wasi:http/types@0.2.10",
        "[constructor]outgoing-request",
        "(param i32) (result i32)",
    ),
    (
        "out_request_authority",
        "wasi:http/types@0.2.10",
        "[method]outgoing-request.set-authority",
        "(param i32 i32 i32 i32) (result i32)",
    ),
    (
        "out_request_path",
        "wasi:http/types@0.2.10",
        "[method]outgoing-request.set-path-with-query",
        "(param i32 i32 i32 i32) (result i32)",
    ),
    (
        "out_handle",
        "wasi:http/outgoing-handler@0.2.10",
        "handle",
        "(param i32 i32 i32 i32)",
    ),
    (
        "future_subscribe",
        "wasi:http/types@0.2.10",
        "[method]future-incoming-response.subscribe",
        "(param i32) (result i32)",
    ),
    (
        "future_get",
        "wasi:http/types@0.2.10",
        "[method]future-incoming-response.get",
        "(param i32 i32)",
    ),
    (
        "incoming_status",
        "wasi:http/types@0.2.10",
        "[method]incoming-response.status",
        "(param i32) (result i32)",
    ),
    (
        "poll_block",
        "wasi:io/poll@0.2.10",
        "[method]pollable.block",
        "(param i32)",
    ),
    (
        "cache_no_store",
        "brink:platform/cache@0.1.0",
        "no-store",
        "",
    ),
    (
        "log",
        "brink:platform/log@0.1.0",
        "emit",
        "(param i32 i32 i32 i32 i32)",
    ),
    (
        "response_new",
        "wasi:http/types@0.2.10",
        "[constructor]outgoing-response",
        "(param i32) (result i32)",
    ),
    (
        "set_status",
        "wasi:http/types@0.2.10",
        "[method]outgoing-response.set-status-code",
        "(param i32 i32) (result i32)",
    ),
    (
        "response_body",
        "wasi:http/types@0.2.10",
        "[method]outgoing-response.body",
        "(param i32 i32)",
    ),
    (
        "body_write",
        "wasi:http/types@0.2.10",
        "[method]outgoing-body.write",
        "(param i32 i32)",
    ),
    (
        "body_finish",
        "wasi:http/types@0.2.10",
        "[static]outgoing-body.finish",
        "(param i32 i32 i32 i32)",
    ),
    (
        "outparam_set",
        "wasi:http/types@0.2.10",
        "[static]response-outparam.set",
        "(param i32 i32 i32 i32 i64 i32 i32 i32 i32)",
    ),
    (
        "stream_write",
        "wasi:io/streams@0.2.10",
        "[method]output-stream.blocking-write-and-flush",
        "(param i32 i32 i32 i32)",
    ),
    (
        "stream_drop",
        "wasi:io/streams@0.2.10",
        "[resource-drop]output-stream",
        "(param i32)",
    ),
    ("exit", "wasi:cli/exit@0.2.10", "exit", "(param i32)"),
    (
        "records_get",
        "brink:platform/records@0.1.0",
        "get",
        "(param i32 i32 i32 i32 i32 i32 i32)",
    ),
    (
        "records_put",
        "brink:platform/records@0.1.0",
        "put",
        "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32)",
    ),
    (
        "events_read",
        "brink:platform/events@0.1.0",
        "read",
        "(param i32 i32 i32 i32 i64 i32 i32)",
    ),
    (
        "workflows_start",
        "brink:platform/workflows@0.1.0",
        "start",
        "(param i32 i32 i32 i32 i32 i32 i32)",
    ),
    (
        "workflows_get",
        "brink:platform/workflows@0.1.0",
        "get",
        "(param i32 i32 i32 i32 i32)",
    ),
    (
        "cache_tag",
        "brink:platform/cache@0.1.0",
        "tag",
        "(param i32 i32 i32)",
    ),
    (
        "cache_lifetime",
        "brink:platform/cache@0.1.0",
        "set-lifetime",
        "(param i32)",
    ),
    (
        "commands_execute",
        "brink:platform/commands@0.1.0",
        "execute",
        "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)",
    ),
    (
        "subject",
        "brink:platform/identity@0.1.0",
        "subject",
        "(param i32)",
    ),
];

/// `$name` and text. Return areas lie below 4096, texts above.
const HELPERS: &[(&str, &str)] = &[
    (
        "respond",
        r"(func $respond (param $out i32) (param $status i32) (result i32)
        (local $response i32)
        (local.set $response (call $response_new (call $fields_new)))
        (drop (call $set_status (local.get $response) (local.get $status)))
        (call $set (local.get $out) (local.get $response)))",
    ),
    (
        "set",
        r"(func $set (param $out i32) (param $response i32) (result i32)
        (call $response_body (local.get $response) (i32.const 1024))
        (call $outparam_set (local.get $out) (i32.const 0) (local.get $response) (i32.const 0) (i64.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
        (i32.load (i32.const 1028)))",
    ),
    (
        "open",
        r"(func $open (param $body i32) (result i32)
        (call $body_write (local.get $body) (i32.const 1056))
        (i32.load (i32.const 1060)))",
    ),
    (
        "write",
        r"(func $write (param $body i32) (param $address i32) (param $length i32)
        (local $stream i32)
        (local.set $stream (call $open (local.get $body)))
        (call $stream_write (local.get $stream) (local.get $address) (local.get $length) (i32.const 1088))
        (call $stream_drop (local.get $stream)))",
    ),
    (
        "finish",
        r"(func $finish (param $body i32)
        (call $body_finish (local.get $body) (i32.const 0) (i32.const 0) (i32.const 1152)))",
    ),
    (
        "answer",
        r"(func $answer (param $out i32) (param $status i32) (param $address i32) (param $length i32)
        (local $body i32)
        (local.set $body (call $respond (local.get $out) (local.get $status)))
        (call $write (local.get $body) (local.get $address) (local.get $length))
        (call $finish (local.get $body)))",
    ),
];

const WORLDS: &str = "
    package test:guest;
    world module { include brink:platform/module@0.1.0; }
    world plugin { include brink:platform/plugin@0.1.0; }
";

const FIRST_TEXT: usize = 4096;

/// A component that answers requests: `$out` is its `response-outparam`, `$request` the request; `locals` and `body`
/// are the rest of its handler.
pub(crate) fn module(body: &str) -> Bytes {
    component(
        "module",
        &format!(
            r#"(func (export "wasi:http/incoming-handler@0.2.10#handle") (param $request i32) (param $out i32) {body})"#
        ),
    )
}

/// A plugin; each body leaves its action at 256, zeros are `pass`.
pub(crate) fn plugin(on_request: &str, on_response: &str) -> Bytes {
    component(
        "plugin",
        &format!(
            r#"(func (export "on-request")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                {on_request} (i32.const 256))
            (func (export "on-response")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                {on_response} (i32.const 256))"#
        ),
    )
}

/// A component of world `world` of `test:guest` with these definitions.
pub(crate) fn component(world: &str, definitions: &str) -> Bytes {
    let (definitions, data) = place_texts(definitions);
    let mut parts = vec![definitions];
    let mut helped: Vec<&str> = Vec::new();
    loop {
        let text = parts.concat();
        let wanted = HELPERS
            .iter()
            .find(|(name, _)| !helped.contains(name) && names(&text, name));
        let Some((name, helper)) = wanted else { break };
        helped.push(name);
        parts.push((*helper).to_owned());
    }
    let text = parts.concat();
    let mut wat = String::from("(module\n");
    for (name, module, field, kind) in IMPORTS {
        if names(&text, name) {
            writeln!(
                wat,
                r#"(import "{module}" "{field}" (func ${name} {kind}))"#
            )
            .unwrap();
        }
    }
    wat.push_str(
        r#"(memory (export "memory") 2)
        (global $heap (mut i32) (i32.const 65536))
        (global $count (mut i64) (i64.const 0))
        (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
            (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
            (global.get $heap)
            (global.set $heap (i32.add (global.get $heap) (local.get $size)))
            (block $fits
                (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
                (drop (memory.grow (i32.add (i32.div_u (local.get $size) (i32.const 65536)) (i32.const 1))))))
        "#,
    );
    wat.push_str(&data);
    wat.push_str(&text);
    wat.push(')');
    encode(world, &wat)
}

/// Whether `text` names `$name`, and not something that begins so.
fn names(text: &str, name: &str) -> bool {
    let name = format!("${name}");
    text.match_indices(&name).any(|(at, _)| {
        !text[at + name.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// Puts every `@"text"` into memory.
fn place_texts(definitions: &str) -> (String, String) {
    let (mut text, mut data) = (String::new(), String::new());
    let mut at = FIRST_TEXT;
    let mut rest = definitions;
    while let Some((before, after)) = rest.split_once("@\"") {
        let (literal, after) = after.split_once('"').unwrap();
        let bytes: String = literal.bytes().map(|b| format!("\\{b:02x}")).collect();
        writeln!(data, r#"(data (i32.const {at}) "{bytes}")"#).unwrap();
        write!(
            text,
            "{before}(i32.const {at}) (i32.const {})",
            literal.len()
        )
        .unwrap();
        at += literal.len().next_multiple_of(16).max(16);
        rest = after;
    }
    text.push_str(rest);
    (text, data)
}

fn encode(world: &str, wat: &str) -> Bytes {
    let mut resolve = Resolve::default();
    let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit");
    resolve.push_dir(wit).unwrap();
    let package = resolve.push_str("guest.wit", WORLDS).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut module = wat::parse_str(wat).unwrap_or_else(|error| panic!("{error}\n{wat}"));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .unwrap_or_else(|error| panic!("{error:#}\n{wat}"))
        .into()
}
