//! What `publish` refuses, and what tokens may do.

use crate::{
    clients::Curl,
    harness::{Stack, guest},
};
use serde_json::json;

/// A command that imports what no platform has.
const FOREIGN_IMPORT: &str = r#"(component
  (import "acme:door/lock@1.0.0" (instance (export "open" (func))))
  (core module $m
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
    (func (export "execute") (param i32 i32) (result i32) i32.const 0))
  (core instance $c (instantiate $m))
  (func (export "execute") (param "input" (list u8)) (result (result (list u8) (error (list u8))))
    (canon lift (core func $c "execute") (memory (core memory $c "memory")) (realloc (core func $c "realloc")))))"#;

#[test]
fn what_is_no_module_is_refused() {
    let stack = Stack::empty();
    let folder = stack.folder("components");
    for (name, bytes, says) in [
        ("text", b"hello".to_vec(), "component"),
        ("empty", Vec::new(), "component"),
        (
            "core-module",
            wat::parse_str("(module)").unwrap(),
            "component",
        ),
        (
            "no-export",
            wat::parse_str("(component)").unwrap(),
            "export",
        ),
        (
            "foreign-import",
            wat::parse_str(FOREIGN_IMPORT).unwrap(),
            "acme:door/lock@1.0.0",
        ),
        (
            "cut-off",
            std::fs::read(guest("hello")).unwrap()[..5_000].to_vec(),
            "component",
        ),
    ] {
        let file = folder.join(format!("{name}.wasm"));
        std::fs::write(&file, bytes).unwrap();
        // The control API itself, whatever `brink` would find before it asks.
        let body = format!("@{}", file.display());
        let upload = stack
            .ask(&format!("/v1/modules/{name}/versions"))
            .header("content-type: application/wasm");
        let answer = upload.arg("--data-binary").arg(&body).send();
        assert!(
            [400, 415, 422].contains(&answer.status),
            "{name}: {answer:?}"
        );
        let status = answer.status;
        let answer = answer.problem(status);
        assert!(answer.body.contains(says), "{name}: {answer:?}");
        let error = xtask::samples::brink(
            &stack.site,
            &stack.control,
            &["publish", file.to_str().unwrap(), "--name", name],
        );
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.contains(says), "{name}: {error}");
    }
    let published = stack.control.get("/v1/modules").unwrap().to_string();
    assert!(
        !published.contains("no-export") && !published.contains("foreign-import"),
        "{published}"
    );
}

#[test]
fn versions_are_immutable_and_counted() {
    let stack = Stack::empty();
    let body = format!("@{}", guest("hello").display());
    let publish = || {
        let upload = stack
            .ask("/v1/modules/hello/versions")
            .header("content-type: application/wasm");
        upload.arg("--data-binary").arg(&body).send()
    };
    let first = publish().expect(201).json();
    assert_eq!(first["version"], 1, "{first}");
    let again = publish().expect(200).json();
    assert_eq!(
        (&again["version"], &again["digest"]),
        (&first["version"], &first["digest"])
    );
    let digest = first["digest"].as_str().unwrap();
    let bytes = std::fs::read(guest("hello")).unwrap();
    let component = stack
        .ask(&format!("/v1/components/{digest}"))
        .send()
        .expect(200);
    assert_eq!(component.header("content-length"), bytes.len().to_string());
}

#[test]
fn tokens_allow_what_their_role_says() {
    let stack = Stack::empty();
    let folder = stack.folder("tokens");
    let anonymous =
        |path: &str| Curl::new(&format!("{}{path}", stack.control.url), Some(stack.ca()));
    anonymous("/v1/health").send().expect(200);
    anonymous("/v1/openapi.json").send().expect(200);
    anonymous("/v1/status").send().problem(401);
    anonymous("/v1/status")
        .header("authorization: Bearer nonsense")
        .send()
        .problem(401);
    for (role, allowed) in [
        ("reader", [200, 403, 403, 403]),
        ("publisher", [200, 200, 403, 403]),
        ("operator", [200, 200, 202, 403]),
        ("admin", [200, 200, 202, 200]),
    ] {
        let token = folder.join(role);
        let header = folder.join(format!("{role}.header"));
        stack.brink(&[
            "token",
            "create",
            "--label",
            role,
            "--role",
            role,
            "--out",
            token.to_str().unwrap(),
        ]);
        xtask::curl::write_header_file(&token, &header).unwrap();
        let ask = |path: &str| anonymous(path).header(&format!("@{}", header.display()));
        let route = json!({"path": "/fixed", "target": {"static": {"status": 200, "content_type": "text/plain", "body": "ok"}}});
        let statuses = [
            ask("/v1/status").send().status,
            ask("/v1/routes")
                .arg("--request")
                .arg("PUT")
                .json(&route)
                .send()
                .status,
            ask("/v1/purges")
                .json(&json!({"everything": true}))
                .send()
                .status,
            ask("/v1/tokens").send().status,
        ];
        assert_eq!(statuses, allowed, "{role}");
    }
    let audit = stack.control.get("/v1/audit").unwrap().to_string();
    assert!(audit.contains("purge"), "{audit}");
}
