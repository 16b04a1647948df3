//! What `inspect` says; its refusals are read by developers.

use crate::{
    guest,
    host::{sandbox, try_load},
};
use brink_sandbox::{Error, Grants, World, inspect};
use bytes::Bytes;

fn refusal(bytes: &[u8]) -> String {
    inspect(bytes).expect_err("it is refused").to_string()
}

fn wat(text: &str) -> Bytes {
    wat::parse_str(text).unwrap().into()
}

#[test]
fn what_it_is() {
    let module = guest::module(
        r#"(call $print @"x") (call $answer (local.get $out) (i32.const 200) @"hello")"#,
    );
    let inspection = inspect(&module).unwrap();
    assert_eq!(inspection.world, World::Module);
    assert_eq!(inspection.size_bytes, module.len() as u64);
    assert_eq!(inspection.exports, ["wasi:http/incoming-handler@0.2.10"]);
    assert_eq!(
        inspection.imports,
        [
            "brink:platform/log@0.1.0",
            "wasi:http/types@0.2.10",
            "wasi:io/error@0.2.10",
            "wasi:io/streams@0.2.10",
        ]
    );
    assert_eq!(inspection.grants_needed(), Grants::default());

    let command = guest::command("unreachable");
    assert_eq!(inspect(&command).unwrap().world, World::Command);
}

#[test]
fn grants() {
    let grants = |body: &str| {
        let inspection = inspect(&guest::module(body)).unwrap();
        (inspection.grants_needed(), inspection.grants_used())
    };
    let none = Grants::default();
    let clock = Grants {
        clock: true,
        ..none
    };
    let random = Grants {
        random: true,
        ..none
    };
    assert_eq!(grants("(drop (call $now_ms))"), (clock, clock));
    assert_eq!(
        grants("(call $random_bytes (i32.const 1) (i32.const 256))"),
        (random, random)
    );
    let purge = Grants {
        purge: true,
        ..none
    };
    assert_eq!(
        grants("(call $cache_purge (i32.const 0) (i32.const 0) (i32.const 256))"),
        (none, purge)
    );
    assert_eq!(grants("(call $cache_no_store)"), (none, none));
    let outbound = Grants {
        outbound_http: true,
        ..none
    };
    assert_eq!(
        grants("(call $out_handle (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 256))"),
        (none, outbound)
    );
}

#[test]
fn any_minor_version_of_wasi_02() {
    for (version, fits) in [
        ("0.2.0", true),
        ("0.2.3", true),
        ("0.2.10", true),
        ("0.2.99", true),
        ("0.3.0", false),
        ("0.2.0-rc-2023-12-05", false),
        ("1.0.0", false),
    ] {
        let component = wat(&format!(
            r#"(component
                (import "wasi:io/error@0.2.0" (instance (export "error" (type (sub resource)))))
                (component $c) (instance $i (instantiate $c))
                (export "wasi:http/incoming-handler@{version}" (instance $i)))"#
        ));
        let inspection = inspect(&component);
        assert_eq!(inspection.is_ok(), fits, "{version}: {inspection:?}");
    }
}

#[test]
fn refuses_what_is_no_component() {
    for (bytes, expected) in [
        (&b""[..], "this is not WebAssembly: there are no bytes"),
        (
            b"hello",
            r"this is not WebAssembly: it does not begin with `\0asm`",
        ),
        (
            b"\n(component)",
            "this is not WebAssembly: it is the text format; `wasm-tools parse FILE.wat -o FILE.wasm` makes the binary",
        ),
        (
            b"\0asm",
            "this is not WebAssembly: it ends after four bytes",
        ),
        (
            b"\0asm\x01\0\0\0",
            "this is a core WebAssembly module, and Brink runs components. Build it with `brink build`, or make a \
             component of it with `wasm-tools component new MODULE.wasm -o COMPONENT.wasm` (add `--adapt` for a module \
             that imports wasi_snapshot_preview1)",
        ),
        (
            b"\0asm\x0a\0\x01\0",
            "this component is not valid: its version [10, 0, 1, 0] is not known",
        ),
    ] {
        assert_eq!(refusal(bytes), expected);
    }
    let module = guest::module("");
    let cut = refusal(&module[..module.len() / 2]);
    assert!(cut.starts_with("this component is not valid: "), "{cut}");
}

#[test]
fn refuses_what_exports_nothing_that_is_called() {
    const WANTED: &str = "Export one of: `wasi:http/incoming-handler@0.2.x` (a module), `execute` (a command), \
                          `on-request` and `on-response` (a plugin), \
                          `target` and `apply` (a projection), `decide` (a workflow)";
    let exporting = |name: &str| {
        wat(&format!(
            r#"(component (component $c) (instance $i (instantiate $c)) (export "{name}" (instance $i)))"#
        ))
    };
    assert_eq!(
        refusal(&wat("(component)")),
        format!("this component exports nothing, which Brink does not call. {WANTED}")
    );
    assert_eq!(
        refusal(&exporting("wasi:cli/run@0.2.3")),
        format!(
            "this component exports wasi:cli/run@0.2.3, which Brink does not call. It is a command-line program: an \
             HTTP module answers requests instead of having a `main`. {WANTED}"
        )
    );
    assert_eq!(
        refusal(&exporting("wasi:http/handler@0.3.0")),
        format!(
            "this component exports wasi:http/handler@0.3.0, which Brink does not call. It is built for WASI 0.3, which \
             is not supported yet: build it for WASI 0.2. {WANTED}"
        )
    );
}

#[test]
fn refuses_imports_that_are_not_there() {
    let component = wat(r#"(component
            (import "wasi:keyvalue/store@0.2.0" (instance
                (export "bucket" (type (sub resource)))
                (export "open" (func (param "name" string)))))
            (import "wasi:io/error@0.2.0" (instance (export "error" (type (sub resource)))))
            (import "brink:platform/config@0.1.0" (instance
                (export "get" (func (param "name" string) (result u32)))))
            (import "brink:platform/records@0.9.0" (instance (export "get" (func))))
            (import "helper" (func))
            (component $c) (instance $i (instantiate $c))
            (export "wasi:http/incoming-handler@0.2.0" (instance $i)))"#);
    assert_eq!(refusal(&component), IMPORTS);

    // A command reaches nothing but its records.
    let command = guest::command(
        "(call $out_handle (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 256)) unreachable",
    );
    let text = refusal(&command);
    assert!(text.contains("\n  wasi:http/types@0.2.10: "), "{text}");
    assert!(
        text.contains("\n  wasi:http/outgoing-handler@0.2.10: "),
        "{text}"
    );
}

const IMPORTS: &str = "this component imports what Brink does not have:
  wasi:keyvalue/store@0.2.0: `bucket` is not there
  brink:platform/config@0.1.0: `get` has another type: expected `option` found `u32`
  brink:platform/records@0.9.0: `get` is not there
  helper: not there";

#[tokio::test]
async fn load_refuses_the_same() {
    let sandbox = sandbox();
    let error = try_load(&sandbox, &wat("(component)")).await.unwrap_err();
    assert!(matches!(error, Error::NoWorld { .. }), "{error}");

    let wanted = guest::digest(&Bytes::from_static(b"wanted"));
    let error = sandbox
        .load(&wanted, || async { Ok(guest::module("")) })
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with(&format!(
        "component {wanted}: the bytes received are sha256:"
    )));
    let error = sandbox
        .load(&wanted, || async { Err("the core is away".into()) })
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("component {wanted} could not be fetched: the core is away")
    );
}
