//! What a module looks at in the fields of its request: noticed by name, wherever the fields go.

use crate::{
    guest,
    host::{self, context, load, sandbox},
};
use brink_sandbox::{CREDENTIALS, Limits};

const FINISH: &str = "(call $finish (call $respond (local.get $out) (i32.const 200)))";
/// The fields of the request in `$fields`.
const FIELDS: &str = "(local $fields i32) (local $copy i32)
    (local.set $fields (call $request_headers (local.get $request)))";

/// What is noticed of a module that does this, asked with these fields.
async fn noticed(body: &str, fields: &[(&str, &str)]) -> Vec<String> {
    let module = load(&sandbox(), &guest::module(body)).await;
    let (notes, context) = context();
    let mut request = http::Request::get("https://shop.example/");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(host::empty()).unwrap();
    let response = module.handle(request, context, &Limits::default()).await;
    assert_eq!(response.unwrap().status(), 200, "{body}");
    notes.all()
}

const COOKIE: &[(&str, &str)] = &[("cookie", "a=1"), ("accept", "*/*")];
const BOTH: [&str; 2] = ["looks for authorization", "looks for cookie"];

#[tokio::test]
async fn what_is_not_looked_at_is_not_noticed() {
    for body in [
        "",
        r#"(call $fields_get (local.get $fields) @"accept" (i32.const 256))"#,
        r#"(drop (call $fields_has (local.get $fields) @"cookies"))"#,
        "(call $fields_drop (local.get $fields))",
        "(drop (call $fields_clone (local.get $fields)))",
        // Fields of its own, under the number that those of the request had.
        r#"(call $fields_drop (local.get $fields))
            (drop (call $out_request_new (call $fields_new)))
            (call $fields_entries (call $fields_new) (i32.const 256))"#,
    ] {
        let noticed = noticed(&format!("{FIELDS} {body} {FINISH}"), COOKIE).await;
        assert!(noticed.is_empty(), "{body}: {noticed:?}");
    }
}

#[tokio::test]
async fn a_look_by_name_is_noticed_whether_it_finds_or_not() {
    for (body, expected) in [
        (
            r#"(call $fields_get (local.get $fields) @"cookie" (i32.const 256))"#,
            "looks for cookie",
        ),
        (
            r#"(call $fields_get (local.get $fields) @"Authorization" (i32.const 256))"#,
            "looks for authorization",
        ),
        (
            r#"(drop (call $fields_has (local.get $fields) @"COOKIE"))"#,
            "looks for cookie",
        ),
        (
            r#"(call $fields_get (call $fields_clone (call $fields_clone (local.get $fields))) @"cookie" (i32.const 256))"#,
            "looks for cookie",
        ),
    ] {
        for fields in [COOKIE, &[]] {
            let noticed = noticed(&format!("{FIELDS} {body} {FINISH}"), fields).await;
            assert_eq!(noticed, [expected], "{body} {fields:?}");
        }
    }
}

#[tokio::test]
async fn fields_that_are_taken_as_a_whole_are_looked_at() {
    for body in [
        "(call $fields_entries (local.get $fields) (i32.const 256))",
        "(call $fields_entries (call $fields_clone (local.get $fields)) (i32.const 256))",
        "(drop (call $out_request_new (local.get $fields)))",
        "(drop (call $out_request_new (call $fields_clone (local.get $fields))))",
        "(drop (call $response_new (local.get $fields)))",
    ] {
        for fields in [COOKIE, &[]] {
            let noticed = noticed(&format!("{FIELDS} {body} {FINISH}"), fields).await;
            // That a credential is not there is learned too.
            assert_eq!(noticed, BOTH, "{body} {fields:?}");
        }
    }
    assert_eq!(CREDENTIALS.len(), BOTH.len());
}

#[tokio::test]
async fn fields_that_end_a_body_are_looked_at() {
    let finish = |trailers: &str| {
        format!(
            "{FIELDS} (local.set $copy (call $respond (local.get $out) (i32.const 200)))
            (call $body_finish (local.get $copy) (i32.const 1) {trailers} (i32.const 1152))"
        )
    };
    for trailers in [
        "(local.get $fields)",
        "(call $fields_clone (local.get $fields))",
    ] {
        for fields in [COOKIE, &[]] {
            let noticed = noticed(&finish(trailers), fields).await;
            assert_eq!(noticed, BOTH, "{trailers} {fields:?}");
        }
    }
    let own = noticed(&finish("(call $fields_new)"), COOKIE).await;
    assert!(own.is_empty(), "{own:?}");
}

#[tokio::test]
async fn what_was_taken_out_of_a_copy_is_not_learned_from_it() {
    let body = r#"(local.set $copy (call $fields_clone (local.get $fields)))
        (call $fields_delete (local.get $copy) @"cookie" (i32.const 256))
        (drop (call $out_request_new (local.get $copy)))"#;
    let body = format!("{FIELDS} {body} {FINISH}");
    assert_eq!(noticed(&body, COOKIE).await, ["looks for authorization"]);
    assert_eq!(noticed(&body, &[]).await, BOTH);
}

#[tokio::test]
async fn clock_and_chance_have_no_name() {
    for body in [
        "(drop (call $now_ms))",
        "(call $random_bytes (i32.const 1) (i32.const 256))",
    ] {
        assert_eq!(noticed(&format!("{body} {FINISH}"), &[]).await, ["unnamed"]);
    }
}
